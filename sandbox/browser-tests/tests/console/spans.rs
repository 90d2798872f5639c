//! A trace with very many spans.

use crate::{
    browser::Page,
    support::{Tested, ensure, start, test},
};
use lambda_lifecycle_sandbox::{console::Console, xray::TraceStore};
use libtest_mimic::Trial;
use serde_json::{Value, json};

const SPANS: usize = 10_000;
const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("of ten thousand spans only the visible ones are in the page", many)]
}

/// One segment with ten groups, a thousand spans in all of each.
fn segment() -> Value {
    let at = 1_795_694_400.0;
    let mut id = 0;
    let mut span = |name: String, from: f64, took: f64, below: Vec<Value>| {
        id += 1;
        json!({ "id": format!("{id:016x}"), "name": name, "start_time": from, "end_time": from + took, "subsegments": below })
    };
    let groups = (0..10).map(|group| {
        let from = at + f64::from(group);
        let spans =
            (0..999).map(|one| span(format!("span {group}.{one}"), from + f64::from(one) / 1e3, 0.0009, vec![])).collect();
        span(format!("group {group}"), from, 1.0, spans)
    });
    let groups: Vec<Value> = groups.collect();
    let mut root = span("many".into(), at, 10.0, groups);
    root["trace_id"] = json!(TRACE);
    root
}

async fn many() -> Tested {
    let traces = TraceStore::new();
    traces.put_fetched(segment());
    let console = start(Console::builder().traces(&traces)).await?;
    let page = Page::open(&console.url()).await?;
    page.wait("document.querySelector('.grid.traces .row')").await?;
    // From the click to the frame that shows the spans.
    let took: f64 = page
        .value(&format!(
            "new Promise((resolve) => {{ const from = performance.now(); location.hash = '#/trace/{TRACE}'; \
             const look = () => document.querySelector('.waterfall .row') ? requestAnimationFrame(() => resolve(performance.now() - from)) \
             : requestAnimationFrame(look); look(); }})"
        ))
        .await?;
    println!("{SPANS} spans are shown after {took:.0} ms");
    let rows: usize = page.value("Number(document.querySelector('.waterfall').ariaRowCount)").await?;
    ensure(rows == SPANS + 1, format!("{rows} rows"))?;
    let in_page = "document.querySelectorAll('.waterfall .row').length";
    let shown: usize = page.value(in_page).await?;
    ensure((5..100).contains(&shown), format!("{shown} rows are in the page"))?;
    // To the end, in steps as a wheel makes them.
    page.run("const list = document.querySelector('.waterfall'); list.scrollTop = list.scrollHeight / 2").await?;
    page.wait("document.querySelector('.waterfall').textContent.includes('span 5.')").await?;
    page.run("const list = document.querySelector('.waterfall'); list.scrollTop = list.scrollHeight").await?;
    page.wait("document.querySelector('.waterfall').textContent.includes('span 9.998')").await?;
    let shown: usize = page.value(in_page).await?;
    ensure(shown < 100, format!("{shown} rows are in the page at the end"))?;
    page.picture("spans-1280").await?;
    page.close().await
}
