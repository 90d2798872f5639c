//! Text that would do harm if it were HTML, or that is very long.

use crate::{
    browser::Page,
    support::{Stage, Tested, ensure, quoted, start, test},
};
use lambda_lifecycle_sandbox::{console::Console, xray::TraceStore};
use libtest_mimic::Trial;
use serde_json::json;

const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";
const MARKUP: &str =
    r#"<img src=x onerror="window.harmed=1"><script>window.harmed=1</script></script><svg onload=window.harmed=1>&lt;"'`${1}"#;
/// The override would turn what follows it around.
const TURNED: &str = "order \u{202e}noitces\u{202c} \u{2067}אבג\u{2069} \u{200f}";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("markup, direction marks and a megabyte in a document are text", document),
        test("markup in what a function logs, annotates and responds with is text", function),
    ]
}

async fn harmless(page: &Page) -> Tested {
    let harmed: bool = page.value("window.harmed !== undefined").await?;
    ensure(!harmed, "a script in the text was run")?;
    let elements: usize =
        page.value("document.querySelectorAll('main img, main script, main [onerror], main svg[onload]').length").await?;
    ensure(elements == 0, format!("{elements} elements were made of the text"))?;
    // What is around a text keeps its place.
    let isolated: bool = page
        .value("[...document.querySelectorAll('bdi')].every((one) => getComputedStyle(one).unicodeBidi.startsWith('isolate'))")
        .await?;
    ensure(isolated, "a text is not isolated from its surroundings")
}

async fn document() -> Tested {
    let megabyte = format!("{MARKUP}{}", "x".repeat(1_000_000));
    let traces = TraceStore::new();
    let nested = |id: &str, name: &str| json!({ "id": id, "name": name, "start_time": 1.2, "end_time": 1.4 });
    traces.put_fetched(json!({
        "trace_id": TRACE, "id": "00000000000000aa", "name": MARKUP, "start_time": 1.0, "end_time": 2.0, "fault": true, "origin": MARKUP,
        "annotations": { "outcome": MARKUP, "turned": TURNED, "long": megabyte, "sku<b>": MARKUP },
        "metadata": { "default": { "long": megabyte, MARKUP: MARKUP }, MARKUP: { "a": "b" } },
        "http": { "request": { "method": MARKUP, "url": "javascript:window.harmed=1" }, "response": { "status": 200 } },
        "cause": { "exceptions": [{ "id": "00000000000000ab", "type": MARKUP, "message": megabyte, "stack": [{ "path": MARKUP, "line": 7, "label": TURNED }] }] },
        "subsegments": [nested("00000000000000bb", TURNED), nested("00000000000000cc", &megabyte)],
    }));
    let console = start(Console::builder().traces(&traces)).await?;
    let page = Page::open(&console.url()).await?;
    page.wait("document.querySelector('.grid.traces .row')").await?;
    let listed: bool = page
        .value(&format!("document.querySelector('.grid.traces .row').textContent.includes({})", quoted(&MARKUP[..40])))
        .await?;
    ensure(listed, "the outcome is not in the list as it is")?;
    harmless(&page).await?;

    page.go(&format!("#/trace/{TRACE}")).await?;
    page.wait("document.querySelectorAll('.waterfall .row').length === 3").await?;
    let name: String = page.value("document.querySelector('.waterfall .text').textContent").await?;
    ensure(MARKUP.starts_with(name.trim_end_matches('…')) && name.len() > 60, name)?;
    page.run("document.querySelector('.waterfall .row').click()").await?;
    page.wait("document.querySelector('.exception')").await?;
    let exception: String = page.value("document.querySelector('.exception strong').textContent").await?;
    ensure(exception == MARKUP, exception)?;
    let frame: String = page.value("document.querySelector('.stack li').textContent").await?;
    ensure(frame.contains(TURNED) && frame.contains(MARKUP), frame)?;
    harmless(&page).await?;
    // Of a long text the start is there, and all of it on demand.
    let length = "document.querySelector('.exception pre').textContent.length";
    let shown: usize = page.value(length).await?;
    ensure(shown < 10_000, format!("{shown} characters"))?;
    page.run("document.querySelector('.exception button').click()").await?;
    page.wait(&format!("{length} === {}", megabyte.encode_utf16().count())).await?;
    harmless(&page).await?;
    page.go("#/map").await?;
    page.wait("document.querySelector('.map')").await?;
    harmless(&page).await?;
    page.close().await
}

async fn function() -> Tested {
    let stage = Stage::start(|function| function).await?;
    // Lines above 256 KB are split by Lambda, and the library keeps them below.
    let text = format!("{MARKUP}{TURNED}{}", "y".repeat(1_000_000));
    let trace = stage.send(&json!({ "text": text, "fail": text }).to_string()).await?;
    harmless(&stage.page).await?;
    stage.page.go(&trace).await?;
    let line = format!(
        "[...document.querySelectorAll('.grid.logs .row')].find((row) => row.textContent.includes({}))",
        quoted(&MARKUP[..40])
    );
    stage.page.wait(&line).await?;
    stage.page.run(&format!("{line}.click()")).await?;
    stage.page.wait("document.querySelector('.details').textContent.includes('onerror')").await?;
    harmless(&stage.page).await?;
    stage.page.go("#/logs").await?;
    stage.page.wait("document.querySelector('.grid.logs .row')").await?;
    harmless(&stage.page).await?;
    stage.daemon.settle().await?;
    stage.end().await
}
