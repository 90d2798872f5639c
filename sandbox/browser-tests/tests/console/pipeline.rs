//! The example of the README with `--console`.

use crate::{
    browser::Page,
    support::{Tested, ensure, test, within},
};
use libtest_mimic::{Failed, Trial};
use std::{path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("the pipeline's traces are listed, drawn as a map, and linked", pipeline),
        test("the page is usable with the keyboard", keyboard),
    ]
}

/// The example, and the URL of its console, when all orders are through.
pub(crate) async fn start() -> Result<(Child, String), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--example", "order_pipeline", "--", "--console"]);
    // Cargo sets variables for a test that would make it build some dependencies again.
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(key);
        }
    }
    let mut child = command.current_dir(root).stdout(Stdio::piped()).kill_on_drop(true).process_group(0).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    // It is built first, for which no bound is known.
    let mut url = None;
    while let Some(line) = lines.next_line().await? {
        if let Some(found) = line.trim().strip_prefix("console ") {
            url = Some(found.trim().to_owned());
        }
        if line.contains("Ctrl-C") {
            return Ok((child, url.ok_or("no URL")?));
        }
    }
    Err("the example ended".into())
}

/// Ctrl-C, which it and cargo get.
pub(crate) async fn end(mut child: Child) -> Tested {
    let group = child.id().ok_or("it has ended")?;
    Command::new("kill").args(["-s", "INT", "--", &format!("-{group}")]).status().await?;
    within("the end of the example", child.wait()).await??;
    Ok(())
}

async fn pipeline() -> Tested {
    let (example, url) = start().await?;
    let page = Page::open(&url).await?;

    page.wait("document.querySelectorAll('.grid.traces .row').length === 6").await?;
    let titles: Vec<String> =
        page.value("[...document.querySelectorAll('.grid.traces .what a')].map((one) => one.textContent)").await?;
    ensure(titles.iter().filter(|title| *title == "POST /orders").count() == 4, format!("{titles:?}"))?;
    ensure(titles.iter().filter(|title| title.starts_with("process orders")).count() == 2, format!("{titles:?}"))?;

    // X-Ray's filter expressions, and an error in one.
    for (filter, count) in [
        (r#"annotation[sku] = "kettle""#, 1),
        (r#"service("order-worker")"#, 2),
        (r#"service("order-api") AND !error"#, 3),
        ("http.status = 422", 1),
        ("fault OR error", 2),
        ("kettle", 1),
        ("duration > 100", 0),
    ] {
        let quoted = crate::support::quoted(filter);
        page.run(&format!(
            "const f = document.querySelector('#filter'); f.value = {quoted}; f.dispatchEvent(new Event('input'))"
        ))
        .await?;
        let shown: usize = page
            .value(
                "document.querySelector('.grid.traces').hidden ? 0 : Number(document.querySelector('.grid.traces').ariaRowCount)",
            )
            .await?;
        ensure(shown == count, format!("{filter}: {shown} traces instead of {count}"))?;
    }
    page.run("const f = document.querySelector('#filter'); f.value = 'annotation[sku'; f.dispatchEvent(new Event('input'))")
        .await?;
    page.wait("document.querySelector('#filter').ariaInvalid === 'true' || document.querySelector('#filter').getAttribute('aria-invalid') === 'true'").await?;

    // The map: three services and the caller, with their counts.
    page.go("#/map").await?;
    page.wait("document.querySelectorAll('[data-node] > rect, .node').length >= 4").await?;
    for (node, count) in [("client", 4), ("function order-api", 4), ("queue orders", 3), ("function order-worker", 2)] {
        let shown: Option<String> =
            page.value(&format!("document.querySelector('.node[data-node=\"{node}\"]')?.dataset.count ?? null")).await?;
        ensure(shown == Some(count.to_string()), format!("{node}: {shown:?} instead of {count}"))?;
    }
    let edges: Vec<(String, String, String)> = page
        .value("[...document.querySelectorAll('.edge')].map((edge) => [edge.dataset.from, edge.dataset.to, edge.dataset.count])")
        .await?;
    for (from, to, count) in [
        ("client", "function order-api", "4"),
        ("function order-api", "queue orders", "3"),
        // The message that failed was delivered twice.
        ("queue orders", "function order-worker", "4"),
    ] {
        ensure(edges.contains(&(from.into(), to.into(), count.into())), format!("no edge {from} → {to} of {count}: {edges:?}"))?;
    }
    page.picture("map-1280").await?;

    // The failed message: its link leads to the span that sent it.
    page.go("#/traces").await?;
    page.run("const one = [...document.querySelectorAll('.grid.traces .row')].find((row) => row.querySelector('.badge.fault')); location.hash = one.querySelector('a').hash").await?;
    page.wait("document.querySelector('.waterfall .row.fault')").await?;
    page.run("[...document.querySelectorAll('.waterfall .row.fault')].find((row) => row.textContent.includes('⇢')).click()")
        .await?;
    page.wait("document.querySelector('.details').textContent.includes('no kettle in stock')").await?;
    // Its log line is marked beside it.
    page.wait("document.querySelector('.grid.logs .row[aria-selected=\"true\"]')?.textContent.includes('a message failed')")
        .await?;
    page.picture("trace-1280").await?;
    let worker: String = page.value("location.hash").await?;
    page.run("document.querySelector('.details a.link').click()").await?;
    page.wait(
        "document.querySelector('.waterfall .row.aws[aria-selected=\"true\"]')?.textContent.includes('SendMessage · orders')",
    )
    .await?;
    let producer: String = page.value("location.hash").await?;
    ensure(producer.split('?').next() != worker.split('?').next(), format!("{producer} is the trace of the message itself"))?;
    page.wait("document.querySelector('.trace-head h1').textContent === 'POST /orders'").await?;
    // The environment on the same time axis, with the work after the response.
    for kind in ["invoke", "after"] {
        page.wait(&format!("document.querySelector('.lane .phase.{kind}:not(.other)')")).await?;
    }
    // A line leads to its span.
    page.run(
        "[...document.querySelectorAll('.grid.logs .row')].find((row) => row.textContent.includes('order accepted')).click()",
    )
    .await?;
    page.wait("document.querySelector('.waterfall .row.own[aria-selected=\"true\"]')?.textContent.includes('order-api')").await?;
    // All linked traces as one picture.
    page.run("document.querySelector('#linked').click()").await?;
    page.wait("document.querySelectorAll('.lane').length === 2").await?;

    page.go("#/messages").await?;
    page.wait("document.querySelectorAll('.grid.messages .row').length === 3").await?;
    let received: Vec<String> =
        page.value("[...document.querySelectorAll('.grid.messages .received')].map((one) => one.textContent)").await?;
    ensure(received.iter().filter(|count| *count == "2×").count() == 1, format!("{received:?}"))?;
    page.picture("messages-1280").await?;

    // Nothing comes from elsewhere.
    let foreign: Vec<String> =
        page.requests().into_iter().filter(|request| !request.starts_with(&url) && !request.starts_with("about:")).collect();
    ensure(foreign.is_empty(), format!("{foreign:?}"))?;
    page.close().await?;
    end(example).await
}

async fn keyboard() -> Tested {
    let (example, url) = start().await?;
    let page = Page::open(&url).await?;
    page.wait("document.querySelectorAll('.grid.traces .row').length === 6").await?;
    // To the list, with the tabulator key alone.
    let mut reached = false;
    for _ in 0..30 {
        page.press("Tab").await?;
        reached = page.value("document.activeElement.matches('.grid.traces')").await?;
        if reached {
            break;
        }
    }
    ensure(reached, "the list is not reached with the tabulator key")?;
    page.press("ArrowDown").await?;
    page.press("ArrowDown").await?;
    page.wait("document.querySelector('.grid.traces [aria-selected=\"true\"]')?.ariaRowIndex === '2' && document.activeElement.getAttribute('aria-activedescendant')").await?;
    page.press("Enter").await?;
    page.wait("location.hash.startsWith('#/trace/') && document.querySelector('.waterfall .row')").await?;
    page.run("document.querySelector('.waterfall').focus()").await?;
    page.press("ArrowDown").await?;
    page.wait("document.querySelector('.details h2').textContent === document.querySelector('.waterfall [aria-selected=\"true\"] .text').textContent").await?;
    // Left folds what is below a span, right unfolds it.
    let rows = "Number(document.querySelector('.waterfall').ariaRowCount)";
    let before: usize = page.value(rows).await?;
    page.press("ArrowLeft").await?;
    page.wait(&format!("{rows} === 1")).await?;
    page.press("ArrowRight").await?;
    page.wait(&format!("{rows} === {before}")).await?;
    page.press("End").await?;
    page.wait(&format!("document.querySelector('.waterfall [aria-selected=\"true\"]').ariaRowIndex === '{before}'")).await?;
    page.close().await?;
    end(example).await
}
