//! The loop's contract with Lambda and with handlers, in addition to the byte-for-byte tests in memory.

use crate::{
    api::Fake,
    function::{Do, Failing, FailingHook, Hook, Probe, Resource},
    stage::{Stage, Tested, WORKERS, code_is, ensure, listen, test},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        test("SnapStart: hooks run around the restore, foundations first after it", || hooks(None, None)),
        test("SnapStart: two restores of one snapshot make different ids", two_restores),
        test("an error and its cause for X-Ray pass the redactor", redacted_cause),
        test("_X_AMZN_TRACE_ID follows the invocation", trace_variable),
        test("_X_AMZN_TRACE_ID is left alone where a variable says so", || {
            trace_variable_off(Probe::Serve, &[("LAMBDA_LIFECYCLE_TRACE_VARIABLE", "off")])
        }),
        test("_X_AMZN_TRACE_ID is left alone where the builder says so", || trace_variable_off(Probe::NoVariable, &[])),
    ];
    for (resource, hook, how, endpoint, kind) in [
        (Resource::House, Hook::BeforeSnapshot, Failing::Fails, "/init/error", "Runtime.InitError"),
        (Resource::Ground, Hook::BeforeSnapshot, Failing::Panics, "/init/error", "Runtime.InitError"),
        (Resource::Ground, Hook::AfterRestore, Failing::Panics, "/restore/error", "Runtime.AfterRestoreError"),
        (Resource::Foundation, Hook::BeforeSnapshot, Failing::Panics, "/init/error", "Runtime.InitError"),
        (Resource::Foundation, Hook::AfterRestore, Failing::Fails, "/restore/error", "Runtime.AfterRestoreError"),
        (Resource::House, Hook::AfterRestore, Failing::Panics, "/restore/error", "Runtime.AfterRestoreError"),
    ] {
        let name = format!("SnapStart: {hook:?} of {resource:?} {how:?}: the error is posted, and the process ends");
        tests.push(test(name, move || hooks(Some((resource, hook, how)), Some((endpoint, kind)))));
    }
    for workers in WORKERS {
        tests
            .push(test(format!("a client context and an identity of any form are there as they came × {workers}"), move || {
                raw(workers)
            }));
    }
    tests
}

async fn hooks(failing: FailingHook, failed: Option<(&'static str, &'static str)>) -> Tested {
    let failing = json!(failing).to_string();
    let env = [("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start"), ("SNAPSTART", &*failing)];
    let mut stage = Stage::start(Probe::Serve, 1, Fake::default(), &env).await?;
    let Some((endpoint, kind)) = failed else {
        let id = stage.event(0, "1");
        ensure(stage.api.posted(&id).await.text() == "1", "it was not served")?;
        let ran: Vec<Value> = stage.output.with("hook").iter().map(|line| line["hook"].clone()).collect();
        let all = [
            (Resource::House, Hook::BeforeSnapshot),
            (Resource::Foundation, Hook::BeforeSnapshot),
            (Resource::Ground, Hook::BeforeSnapshot),
            (Resource::Ground, Hook::AfterRestore),
            (Resource::Foundation, Hook::AfterRestore),
            (Resource::House, Hook::AfterRestore),
        ];
        return ensure(ran == all.map(|hook| json!(hook)), format!("{ran:?}"));
    };
    let exit = stage.exit().await?;
    ensure(exit.code() == Some(1), format!("{exit}"))?;
    let posted = stage.api.request(|request| request.line.ends_with(endpoint)).await;
    ensure(posted.header("lambda-runtime-function-error-type") == Some(kind), format!("{posted:?}"))?;
    let body: Value = serde_json::from_str(&posted.text())?;
    let message = body["errorMessage"].as_str().unwrap_or_default();
    ensure(message.contains("no new connection") || message.contains("fuse was lit"), message)?;
    stage.output.wait_for(1, |line| code_is(line, "serving_failed") && line.contains(message)).await
}

async fn two_restores() -> Tested {
    let (one, two) = (Fake::default(), Fake::default());
    let second = listen(&two).await?;
    let env = [("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start"), ("SECOND_API", &*second)];
    let stage = Stage::start(Probe::TwoRestores, 1, one.clone(), &env).await?;
    let mut headers = Vec::new();
    for api in [&one, &two] {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        api.event("sampled", &[("lambda-runtime-trace-id", header)], &Do::TraceHeader.to_string());
        headers.push(api.posted("sampled").await.text());
    }
    drop(stage);
    // The parent in it is the span of the invocation.
    ensure(headers[0].contains("Parent=") && !headers[0].contains("53995c3f42cd8ad8"), headers[0].clone())?;
    ensure(headers[0] != headers[1], format!("{headers:?}"))
}

async fn redacted_cause() -> Tested {
    let stage = Stage::start(Probe::Redacting, 1, Fake::default(), &[]).await?;
    let id = stage.event(0, &Do::Fail.to_string());
    let posted = stage.api.posted(&id).await;
    for sent in [posted.header("lambda-runtime-function-xray-error-cause").unwrap_or_default(), &posted.text()] {
        ensure(sent.contains("(redacted)") && !sent.contains("no stock"), sent)?;
    }
    Ok(())
}

async fn trace_variable() -> Tested {
    let stage = Stage::start(Probe::Serve, 1, Fake::default(), &[]).await?;
    for (number, header) in [(0, Some("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0")), (1, None), (2, Some("Root=1-2"))] {
        let id = format!("variable-{number}");
        let headers: Vec<_> = header.map(|header| ("lambda-runtime-trace-id", header)).into_iter().collect();
        stage.api.event(&id, &headers, &Do::Variable.to_string());
        let posted = stage.api.posted(&id).await.text();
        let expected = json!(header).to_string();
        ensure(posted == expected, posted)?;
    }
    Ok(())
}

async fn trace_variable_off(probe: Probe, env: &[(&str, &str)]) -> Tested {
    for inherited in [None, Some("Root=1-0")] {
        let inherited_env = inherited.map(|value| ("_X_AMZN_TRACE_ID", value));
        let env: Vec<_> = env.iter().copied().chain(inherited_env).collect();
        let stage = Stage::start(probe, 1, Fake::default(), &env).await?;
        for number in 0..2 {
            let id = stage.event(number, &Do::Variable.to_string());
            let posted = stage.api.posted(&id).await.text();
            let expected = json!(inherited).to_string();
            ensure(posted == expected, posted)?;
        }
    }
    Ok(())
}

async fn raw(workers: u32) -> Tested {
    let stage = Stage::start(Probe::Serve, workers, Fake::default(), &[]).await?;
    for (number, raw) in [r#"{"custom":{"n":1}}"#, "warm", r#"{"custom":{"a":"b"}}"#].into_iter().enumerate() {
        let id = format!("raw-{number}");
        let headers = [("lambda-runtime-client-context", raw), ("lambda-runtime-cognito-identity", raw)];
        stage.api.event(&id, &headers, &Do::Raw.to_string());
        let posted: Value = serde_json::from_str(&stage.api.posted(&id).await.text())?;
        ensure(posted == json!({ "client": raw, "identity": raw }), posted.to_string())?;
    }
    stage.api.event("none", &[], &Do::Raw.to_string());
    let posted: Value = serde_json::from_str(&stage.api.posted("none").await.text())?;
    ensure(posted == json!({ "client": null, "identity": null }), posted.to_string())
}
