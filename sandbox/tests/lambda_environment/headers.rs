//! The headers of an event.

use crate::support::{Outcome, SHORT, ensure, ensure_eq, event, invoke, printed, probe, trial, value};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{Function, TraceMode},
    xray::TraceStore,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("the_context_is_lambdas", context),
        trial("the_deadline_is_the_timeout_from_now", deadline),
        trial("the_trace_header_is_as_the_mode_says", trace_modes),
        trial("an_absent_or_malformed_trace_header_reaches_the_function_as_it_is", odd_trace_headers),
        trial("lambdas_segments_are_valid_whatever_the_ending", segments),
        trial("a_header_value_that_cannot_be_sent_is_left_out", unsendable),
    ]
}

async fn describe(function: &Function, event: Event) -> Result<Value, Failed> {
    value(&function.invoke(Event { payload: r#"{"context":true}"#.into(), ..event }).await)
}

async fn context() -> Outcome {
    let function = probe("").memory(256).build().await;
    let event = Event {
        client_context: Some(r#"{"custom":{"key":"value"}}"#.to_owned()),
        tenant_id: Some("tenant-7".to_owned()),
        ..Event::default()
    };
    let first = describe(&function, event).await?;
    ensure_eq(first["arn"].as_str(), Some("arn:aws:lambda:us-east-1:123456789012:function:probe"))?;
    ensure_eq(&first["tenant"], &json!("tenant-7"))?;
    ensure_eq(&first["client"], &json!({ "key": "value" }))?;
    ensure_eq(&first["function"], &json!("probe"))?;
    ensure_eq(&first["memory"], &json!(256))?;
    ensure_eq(&first["version"], &json!("$LATEST"))?;
    let second = describe(&function, Event::default()).await?;
    ensure_eq((&second["tenant"], &second["client"]), (&Value::Null, &Value::Null))?;
    ensure(first["request_id"] != second["request_id"], "a request id each")
}

async fn deadline() -> Outcome {
    let timeout = Duration::from_secs(20);
    let function = probe("").timeout(timeout).build().await;
    function.warm_up().await?;
    let millis = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let earliest = millis() + timeout.as_millis();
    let context = describe(&function, Event::default()).await?;
    let latest = millis() + timeout.as_millis();
    let deadline = u128::from(context["deadline"].as_u64().unwrap_or_default());
    ensure((earliest..=latest).contains(&deadline), format!("{earliest} <= {deadline} <= {latest}"))
}

async fn trace_modes() -> Outcome {
    let incoming = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1|b:2";
    for (mode, keys, continued) in [
        (TraceMode::Active, "Root Parent Sampled=1 Lineage", "Root Parent Sampled=1 Lineage"),
        (TraceMode::NotSampled, "Root Parent Sampled=0 Lineage", "Root Parent Sampled=0 Lineage"),
        (TraceMode::PassThrough, "Root Lineage", "Root Parent Sampled=1 Lineage"),
        (TraceMode::PassThroughNotSampled, "Root Parent Sampled=0 Lineage", "Root Parent Sampled=1 Lineage"),
    ] {
        let function = probe("").trace_mode(mode).build().await;
        let answer = invoke(&function, json!({ "context": true })).await;
        let header = value(&answer)?["trace"].as_str().unwrap_or_default().to_owned();
        ensure_eq(fields(&header), keys)?;
        ensure(header.starts_with(&format!("Root={};", answer.trace_id)), &header)?;

        let event = Event { trace_header: Some(incoming.to_owned()), ..Event::default() };
        let header = describe(&function, event).await?["trace"].as_str().unwrap_or_default().to_owned();
        ensure_eq(fields(&header), continued)?;
        ensure(header.starts_with(&incoming[..40]) && header.ends_with(";Lineage=a:1|b:2"), &header)?;
    }
    Ok(())
}

/// The keys, and the value of `Sampled`.
fn fields(header: &str) -> String {
    let field = |field: &str| {
        let key = field.split('=').next().unwrap_or_default();
        if key == "Sampled" { field.to_owned() } else { key.to_owned() }
    };
    header.split(';').map(field).collect::<Vec<_>>().join(" ")
}

async fn odd_trace_headers() -> Outcome {
    let malformed = "Root=;;Parent==x,Sampled";
    for (mode, expected) in [(TraceMode::Absent, "-"), (TraceMode::Raw(malformed.to_owned()), malformed)] {
        let function = probe("raw:headers").trace_mode(mode).build().await;
        ensure_eq(value(&invoke(&function, json!({ "a": 1 })).await)?, json!({ "a": 1 }))?;
        ensure_eq(printed(&function, "trace:").await, expected)?;
        ensure_eq(printed(&function, "type:").await, "application/json")?;
    }
    Ok(())
}

async fn unsendable() -> Outcome {
    let function = probe("").build().await;
    let event = Event { tenant_id: Some("two\nlines".to_owned()), ..Event::default() };
    ensure_eq(&describe(&function, event).await?["tenant"], &Value::Null)
}

async fn segments() -> Outcome {
    let store = TraceStore::new();
    let function = probe("").trace_store(store.clone()).build().await;
    for (task, (fault, error)) in [
        (json!({ "answer": 1 }), (false, false)),
        (json!({ "stream": ["one"] }), (false, false)),
        (json!({ "error": "no" }), (false, true)),
        (json!({ "panic": true }), (false, true)),
        (json!({ "exit": 3 }), (true, false)),
        (json!({ "hang": true }), (true, false)),
        (json!({ "answer": 1, "after": { "hang": true } }), (true, false)),
    ] {
        // Only what hangs is to time out.
        let hangs = task.to_string().contains("hang");
        let timeout = hangs.then_some(SHORT * 5);
        let answer = function.invoke(Event { timeout, ..event(&task) }).await;
        function.wait_idle().await;
        let trace = store.trace(&answer.trace_id).ok_or("a trace")?;
        let own: Vec<_> = trace.documents.iter().filter(|document| !document.nested).collect();
        ensure_eq((&task, own.len()), (&task, 2))?;
        for document in own {
            let seen = (document.in_progress, document.fault, document.error);
            ensure_eq((&task, seen), (&task, (false, fault, error)))?;
        }
    }
    ensure(store.rejected().is_empty() && store.check().is_empty(), format!("{:?} {:?}", store.rejected(), store.check()))
}
