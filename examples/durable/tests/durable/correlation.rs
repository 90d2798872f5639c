//! The correlation id of a request, through `lambda:Invoke` from process to process. Here because the SDK of durable executions brings the client
//! of Lambda.

use crate::{
    function::Probe,
    support::{Stage, Tested, XRay, ensure, test, this_program, value, within},
};
use lambda_lifecycle_sandbox::{Event, Invoke as _, function::Function, url::LambdaApi};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    let calls = ["xray", "xray,tracecontext,baggage"].map(|propagators| {
        test(
            format!("a correlation id comes with a call of lambda:Invoke to the function that is called, {propagators}"),
            move || called(propagators),
        )
    });
    calls.into()
}

async fn function(name: &str, probe: Probe, xray: &XRay, variables: &[(&str, &str)]) -> Function {
    let function = Stage::function(name, this_program(), xray).env("PROBE", format!("{probe:?}"));
    let function = variables.iter().fold(function, |function, (name, value)| function.env(*name, *value));
    Stage::build(function.env("LAMBDA_LIFECYCLE_CORRELATION_ID", "header:x-request-id")).await
}

/// The line of a function with this message.
async fn line(function: &Function, message: &str) -> Result<Value, Failed> {
    let mut logs = function.subscribe_logs().from_start();
    let words = format!("\"message\":\"{message}\"");
    let line = within(format!("the line {message:?}"), logs.find(|line| line.text.contains(&words))).await?;
    Ok(serde_json::from_str(&line.text)?)
}

async fn called(propagators: &'static str) -> Tested {
    let xray = XRay::start().await?;
    let propagators = ("OTEL_PROPAGATORS", propagators);
    let callee = function("callee", Probe::Callee, &xray, &[propagators]).await;
    let api = LambdaApi::start([callee.clone()]).await?;
    let caller = function("caller", Probe::Caller, &xray, &[propagators, ("AWS_ENDPOINT_URL_LAMBDA", &api.endpoint())]).await;
    let context = json!({ "custom": { "x-correlation-id": "r-44" } }).to_string();
    let event = Event { payload: "null".into(), client_context: Some(context), ..Event::default() };
    let answer = within("the response of the caller", caller.invoke(event)).await?;
    // The client context that the caller sets is kept.
    let custom = value(&answer)?;
    ensure(custom["x-correlation-id"] == "r-44" && custom["plan"] == "gold", custom.to_string())?;
    for (function, message) in [(&caller, "calls"), (&callee, "is called")] {
        let line = line(function, message).await?;
        ensure(line["correlationId"] == "r-44", line.to_string())?;
        within("the function to be frozen", function.wait_idle()).await?;
    }
    xray.settle().await?;
    let found = xray.traces.find(|document| document.annotation("correlation_id") == Some("r-44"));
    ensure(found.iter().filter(|document| !document.in_progress).count() == 2, format!("{found:#?}"))?;
    xray.is_sound()
}
