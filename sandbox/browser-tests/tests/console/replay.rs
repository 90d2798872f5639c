//! What the page does to a function, and what comes of it, live.

use crate::support::{Stage, Tested, ensure, test};
use libtest_mimic::Trial;
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("the culprit of a blocked handler is marked", blocked),
        test("an invocation is repeated with a fault, and ends otherwise", faults),
        test("several events at once share an environment of Managed Instances", several),
    ]
}

async fn blocked() -> Tested {
    let stage = Stage::start(|function| function.timeout(Duration::from_secs(2)).kill_delay(Duration::from_secs(3600))).await?;
    stage.page.go("#/send").await?;
    stage.page.wait("document.querySelector('#sample')?.length > 1").await?;
    stage
        .page
        .run(r#"document.querySelector('#payload').value = '{"block":true}'; document.querySelector('#send').click()"#)
        .await?;
    let trace = stage.page.text("document.querySelector('.results [data-request] a')?.hash").await?;
    stage.page.go(&trace).await?;
    stage.page.wait("document.querySelector('.waterfall .row.culprit')").await?;
    let culprit: String = stage.page.value("document.querySelector('.waterfall .row.culprit .text').textContent").await?;
    ensure(culprit == "blocking query", culprit)?;
    // The platform kills it when the watchdog has reported.
    stage.function.expire();
    stage.page.wait("document.querySelector('.lane .moment.killed')").await?;
    stage.page.run("document.querySelector('.waterfall .row.culprit').click()").await?;
    stage.page.wait("document.querySelector('.details').textContent.includes('blocked its thread')").await?;
    stage.page.picture("blocked-1280").await?;
    stage.end().await
}

async fn faults() -> Tested {
    let stage = Stage::start(|function| function).await?;
    let trace = stage.send(r#"{"wait_ms":1500}"#).await?;
    stage.page.go(&trace).await?;
    stage.page.wait("document.querySelector('.trace-head .badge')?.textContent === 'responded'").await?;
    for (fault, outcome) in [
        ("kill", "Runtime.ExitError"),
        ("timeout", "deadline_exceeded"),
        ("not_sampled", "responded"),
        ("duplicate", "responded"),
    ] {
        stage.page.go(&trace).await?;
        stage.page.wait("document.querySelector('#again')").await?;
        stage
            .page
            .run(&format!("document.querySelector('#again').click(); document.querySelector('[data-fault={fault}]').click()"))
            .await?;
        let again = stage.page.text("document.querySelector('#repeated')?.hash").await?;
        ensure(again != trace, "it is the same trace")?;
        stage.page.go(&again).await?;
        // `unfinished` is beside an outcome of which the documents are still on their way.
        stage
            .page
            .wait(&format!("[...document.querySelectorAll('.trace-head .badge')].some((one) => one.textContent === '{outcome}')"))
            .await?;
    }
    // Of the ones that were delivered twice each is a trace, as on AWS.
    stage.page.go("#/traces").await?;
    stage.page.wait("Number(document.querySelector('.grid.traces').ariaRowCount) === 6").await?;
    stage.end().await
}

async fn several() -> Tested {
    let stage = Stage::start(|function| function.managed(8)).await?;
    stage.page.go("#/send").await?;
    stage.page.wait("document.querySelector('#sample')?.length > 1").await?;
    stage
        .page
        .run(r#"document.querySelector('#payload').value = '{"wait_ms":300}'; document.querySelector('#times').value = 8; document.querySelector('#send').click()"#)
        .await?;
    stage.page.wait("document.querySelectorAll('.results [data-request]').length === 8 && !document.querySelector('.results').textContent.includes('running')").await?;
    stage.page.go("#/environments").await?;
    stage
        .page
        .wait("document.querySelectorAll('.lane').length === 1 && document.querySelectorAll('.lane .phase.invoke').length === 8")
        .await?;
    stage.page.picture("managed-1280").await?;
    stage.end().await
}
