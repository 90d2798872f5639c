//! One start of a contender, with two invocations.

use crate::{contender::Contender, error::Error, service::Service};
use bench_report::process::Usage;
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    control_groups::ControlGroups,
    function::{EventKind, Function, Output, TimelineEvent},
};
use nix::{time::clock_getcpuclockid, unistd::Pid};
use std::{net::UdpSocket, path::Path, thread, time::Duration};

const EVENT: &str = r#"{"order":7}"#;
/// Nothing here is about deadlines.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the contenders run.
pub(crate) struct Stage {
    groups: ControlGroups,
    /// A daemon that takes everything and does nothing.
    xray: String,
    variables: [(&'static str, String); 2],
}

/// The measurements of one process.
#[derive(Debug)]
pub(crate) struct Sample {
    /// From the start of the process to its first request for an event.
    pub(crate) init: Duration,
    /// From the event to its response.
    pub(crate) first: Duration,
    pub(crate) second: Duration,
    /// CPU time of all threads, to the end of the second invocation.
    pub(crate) cpu: Duration,
    /// At the end of the second invocation, in bytes.
    pub(crate) resident: f64,
}

impl Stage {
    pub(crate) fn new(service: &Service, groups: ControlGroups) -> Result<Self, Error> {
        let daemon = UdpSocket::bind("127.0.0.1:0")?;
        let xray = daemon.local_addr()?.to_string();
        thread::spawn(move || while daemon.recv(&mut [0; 65_536]).is_ok() {});
        let variables = [("AWS_ENDPOINT_URL", service.url()), ("SSL_CERT_FILE", service.bundle().to_string_lossy().into_owned())];
        Ok(Self { groups, xray, variables })
    }

    pub(crate) async fn sample(&self, contender: &Contender, program: &Path, mb: u32) -> Result<Sample, Error> {
        // `cargo run` names its own folders there, and the loader of a contender would look into each.
        let mut function = Function::builder("orders", program).env("LD_LIBRARY_PATH", "");
        for (key, value) in &self.variables {
            function = function.env(key, value);
        }
        let function = function.memory(mb).limit(self.groups.clone()).timeout(TIMEOUT).xray(&self.xray).build().await;
        let incomplete = |what| Error::Incomplete { contender: contender.name, mb, what };
        let (first, second) = (invoke(&function, contender, mb).await?, invoke(&function, contender, mb).await?);
        let took = |kind: &EventKind| if let EventKind::InitDone { took } = kind { Some(*took) } else { None };
        let init = first.iter().find_map(|event| took(&event.kind)).ok_or_else(|| incomplete("the end of its Init phase"))?;
        if !first.iter().any(|event| matches!(event.kind, EventKind::CpuLimited { .. })) {
            return Err(incomplete("its CPU share"));
        }
        let pid = function.pid().ok_or_else(|| incomplete("its second response"))?;
        let sample = Sample {
            init,
            first: response(&first).ok_or_else(|| incomplete("its first response"))?,
            second: response(&second).ok_or_else(|| incomplete("its second response"))?,
            cpu: cpu_time(pid)?,
            resident: Usage::of(pid)?.resident,
        };
        function.shutdown().await;
        Ok(sample)
    }
}

/// One invocation, to the freeze after it, and what happened in it.
async fn invoke(function: &Function, contender: &Contender, mb: u32) -> Result<Vec<TimelineEvent>, Error> {
    let seen = function.timeline().len();
    let answer = function.invoke(Event { payload: EVENT.into(), ..Event::default() }).await;
    function.wait_frozen().await;
    match answer.result {
        Ok(body) if body.starts_with(br#"{"message":"1""#) => Ok(function.timeline().split_off(seen)),
        other => {
            let own = function.logs().into_iter().filter(|line| line.output != Output::Platform);
            let logs = own.map(|line| line.text).collect::<Vec<_>>().join("\n");
            Err(Error::Failed { contender: contender.name, mb, failure: format!("{other:?}"), logs })
        }
    }
}

fn response(events: &[TimelineEvent]) -> Option<Duration> {
    let out = events.iter().find(|event| matches!(event.kind, EventKind::EventOut { .. }))?;
    let answered = events.iter().find(|event| matches!(event.kind, EventKind::ResponseIn { error: false, .. }))?;
    answered.offset.checked_sub(out.offset)
}

/// Of all threads there are and were.
fn cpu_time(pid: u32) -> Result<Duration, Error> {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap_or_default());
    let now = clock_getcpuclockid(pid).and_then(nix::time::ClockId::now).map_err(std::io::Error::from)?;
    Ok(Duration::from(now))
}
