//! The time from an event to its response, with work after the response and with exporters that are slow, refuse or hang, as ratios to a function with neither.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench response`. Real processes run interleaved in the sandbox. This program is the
//! bench, and the function where `PROBE` is set.

use lambda_lifecycle::{Error, Export, Invocation, LambdaEvent, Lifecycle, service_fn};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{EventKind, Function},
};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use serde_json::Value;
use std::time::Duration;

const SLOW: Duration = Duration::from_millis(500);
const ROUNDS: usize = 21;
/// A backend far away.
const FAR: Duration = Duration::from_millis(100);
/// The time for which the exporters of `opentelemetry-otlp` retry an endpoint that refuses connections.
const RETRIES: Duration = Duration::from_millis(850);
const ROWS: [(&str, &str); 6] = [
    ("plain", "neither"),
    ("work", "500 ms of work after the response"),
    ("exporter", "an exporter that takes 500 ms"),
    ("far", "an exporter 100 ms away"),
    ("refusing", "an exporter that fails after 850 ms"),
    ("hanging", "an exporter that hangs"),
];

fn main() {
    match std::env::var("PROBE") {
        Ok(probe) => function(&probe),
        Err(_) => bench(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn function(probe: &str) {
    let life = match probe {
        "exporter" | "far" | "refusing" | "hanging" => {
            Lifecycle::builder().export(Export::None).exporter(Exporter(probe.to_owned())).build()
        }
        _ => Lifecycle::from_env(),
    };
    let works = probe == "work";
    let handler = service_fn(move |event: LambdaEvent<Value>| async move {
        if works {
            Invocation::current().after_response(tokio::time::sleep(SLOW));
        }
        Ok::<_, Error>(event.payload)
    });
    if let Err(error) = life.run(handler).await {
        eprintln!("{error:?}");
    }
}

#[derive(Debug)]
struct Exporter(String);

impl SpanExporter for Exporter {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        match self.0.as_str() {
            "far" => tokio::time::sleep(FAR).await,
            "refusing" => {
                tokio::time::sleep(RETRIES).await;
                return Err(OTelSdkError::InternalFailure("refused".to_owned()));
            }
            "hanging" => std::future::pending().await,
            _ => tokio::time::sleep(SLOW).await,
        }
        Ok(())
    }
}

#[tokio::main]
async fn bench() {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut functions = Vec::new();
    for (probe, _) in ROWS {
        let function = Function::builder(probe, &program).env("PROBE", probe).timeout(Duration::from_secs(10));
        functions.push(function.build().await);
    }
    for _ in 0..=ROUNDS {
        for function in &functions {
            let event = Event { payload: "1".into(), ..Event::default() };
            assert!(function.invoke(event).await.result.is_ok(), "an invocation failed");
            function.wait_frozen().await;
        }
    }
    let medians: Vec<[Duration; 2]> = functions.iter().map(medians).collect();
    println!("{:36} {:>12} {:>7} {:>14}", "warm, median of 21", "to the post", "ratio", "post to /next");
    for ((_, name), [response, after]) in ROWS.iter().zip(&medians) {
        let ratio = response.as_secs_f64() / medians[0][0].as_secs_f64();
        println!("{name:36} {:>9.0} µs {ratio:>7.2} {:>11.1} ms", response.as_secs_f64() * 1e6, after.as_secs_f64() * 1e3);
    }
}

/// The times from the event to the post of its response, and from there to the next `/next`, without the cold invocation.
fn medians(function: &Function) -> [Duration; 2] {
    let (mut responses, mut afters) = (Vec::new(), Vec::new());
    let (mut out, mut posted) = (Duration::ZERO, Duration::ZERO);
    for event in function.timeline() {
        match event.kind {
            EventKind::EventOut { .. } => out = event.offset,
            EventKind::ResponseIn { .. } => {
                posted = event.offset;
                responses.push(posted - out);
            }
            EventKind::NextCalled if event.request_id.is_some() => afters.push(event.offset - posted),
            _ => {}
        }
    }
    [responses, afters].map(|mut times| {
        times.remove(0);
        times.sort_unstable();
        times[times.len() / 2]
    })
}
