//! Functions run, and everything that left them.

use crate::{
    calls::Call,
    function::Probe,
    support::{Stage, XRay, this_program, within},
};
use lambda_lifecycle_sandbox::{
    Failure, Invoke,
    function::{EventKind, Function, FunctionBuilder, Output as Written},
};
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Where something may leave a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Output {
    Datagrams,
    /// OTLP in datagrams, decoded.
    Otlp,
    /// Documents on standard output.
    Stdout,
    Exporter,
    LogText,
    LogJson,
    ErrorResponse,
    InitError,
}

impl Output {
    pub(crate) const ALL: [Self; 8] = [
        Self::Datagrams,
        Self::Otlp,
        Self::Stdout,
        Self::Exporter,
        Self::LogText,
        Self::LogJson,
        Self::ErrorResponse,
        Self::InitError,
    ];
}

/// How functions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A text log, documents to the daemon.
    Plain,
    /// A JSON log, documents to standard output.
    Structured,
    /// A text log, OTLP to the daemon.
    Otlp,
}

impl Way {
    pub(crate) fn has(self, output: Output) -> bool {
        match output {
            Output::Datagrams => self == Self::Plain,
            Output::Otlp => self == Self::Otlp,
            Output::LogText => self != Self::Structured,
            Output::Stdout | Output::LogJson => self == Self::Structured,
            _ => true,
        }
    }
}

/// All that left, as text.
#[derive(Default)]
pub(crate) struct Outputs(BTreeMap<Output, Vec<String>>);

impl Outputs {
    /// Makes the calls, the functions side by side, and collects what leaves them until their processes have ended.
    pub(crate) async fn of(
        calls: Vec<Call>,
        way: Way,
        change: impl Fn(FunctionBuilder) -> FunctionBuilder,
    ) -> Result<Self, Failed> {
        let (xray, service) = (XRay::start().await?, echo().await?);
        let mut functions: Vec<(Probe, Vec<_>, Function)> = Vec::new();
        let mut outputs = Self::default();
        for Call { probe, event, variables } in calls {
            let known = functions.iter().find(|(name, with, _)| *name == probe && (variables.is_empty() || *with == variables));
            let function = match known {
                Some((.., function)) => function.clone(),
                None => {
                    let mut builder = Stage::function("orders", this_program(), &xray)
                        .env("PROBE", format!("{probe:?}"))
                        .env("AWS_ENDPOINT_URL", &service)
                        .log_format(if way == Way::Structured { "JSON" } else { "Text" });
                    for (key, value) in &variables {
                        builder = builder.env(key, value);
                    }
                    builder = builder.env(
                        "LAMBDA_LIFECYCLE_TRACE_EXPORT",
                        match way {
                            Way::Plain => "udp",
                            Way::Structured => "stdout",
                            Way::Otlp => "otlp-udp",
                        },
                    );
                    let function = Stage::build(change(builder)).await;
                    functions.push((probe, variables, function.clone()));
                    function
                }
            };
            if let Err(Failure::Function { error_type, error_message }) =
                within("an answer", function.invoke(event)).await?.result
            {
                let is_init = probe.is_init();
                // The sandbox reports a failed Init phase with the posted error.
                let output = if is_init { Output::InitError } else { Output::ErrorResponse };
                outputs.add(output, format!("{error_type}: {error_message}"));
            }
        }
        for (.., function) in functions {
            within("the function to be frozen", function.wait_idle()).await?;
            // Lines of a process that has ended are complete.
            within("the shutdown", function.shutdown()).await?;
            outputs.read(&function, way);
        }
        xray.settle().await?;
        xray.documents_are_valid()?;
        if way == Way::Otlp {
            xray.traces.otlp_spans().iter().for_each(|span| outputs.add(Output::Otlp, format!("{span:?}")));
            return Ok(outputs);
        }
        for datagram in xray.traces.datagrams() {
            outputs.add(Output::Datagrams, String::from_utf8_lossy(&datagram).into_owned());
        }
        Ok(outputs)
    }

    fn read(&mut self, function: &Function, way: Way) {
        for event in function.timeline() {
            if let EventKind::InitError { error_type, error_message } = event.kind {
                self.add(Output::InitError, format!("{error_type}: {error_message}"));
            }
        }
        let log = if way == Way::Structured { Output::LogJson } else { Output::LogText };
        for line in function.logs().into_iter().filter(|line| line.output != Written::Platform) {
            let is_document = line.text.starts_with("{\"name\":") && line.text.contains("\"trace_id\":");
            let output = match line.text.starts_with("EXPORTED ") {
                true => Output::Exporter,
                false if is_document => Output::Stdout,
                false => log,
            };
            self.add(output, line.text);
        }
    }

    fn add(&mut self, output: Output, text: String) {
        self.0.entry(output).or_default().push(text);
    }

    /// The outputs that hold a text.
    pub(crate) fn with(&self, part: &str) -> BTreeSet<Output> {
        let holds = |texts: &Vec<String>| texts.iter().any(|text| text.contains(part));
        self.0.iter().filter(|(_, texts)| holds(texts)).map(|(output, _)| *output).collect()
    }

    /// For the message of a test that fails.
    pub(crate) fn example(&self, part: &str) -> &str {
        self.0.values().flatten().find(|text| text.contains(part)).map_or("", String::as_str)
    }
}

/// A service that refuses every call and repeats what it was sent: in JSON where it was asked in JSON, otherwise in XML.
async fn echo() -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(refuse(connection));
        }
    });
    Ok(address)
}

async fn refuse(mut connection: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() < length.unwrap_or(0_usize) {
            continue;
        }
        let answer = match serde_json::from_str::<serde_json::Value>(body) {
            Ok(body) => serde_json::json!({
                "__type": "com.amazonaws.sqs#InvalidMessageContents", "message": format!("cannot send {body}"),
            })
            .to_string(),
            Err(_) => format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameter</Code><Message>cannot send {}</Message></Error></ErrorResponse>",
                body.replace('&', "&amp;")
            ),
        };
        let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(answer.as_bytes()).await?;
        return connection.shutdown().await;
    }
}
