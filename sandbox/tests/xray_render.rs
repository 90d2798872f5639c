//! How traces and timelines look in a terminal.

use lambda_lifecycle_sandbox::{
    render::{Color, WIDTH, timeline_in, traces, waterfall_in},
    xray::TraceStore,
};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";
const T0: f64 = 1_700_000_000.0;

/// A subsegment from and to so many milliseconds after `T0`.
fn sub(id: &str, parent: &str, name: &str, from: f64, to: Option<f64>, more: Value) -> Value {
    let mut document = json!({
        "type": "subsegment", "trace_id": TRACE, "id": format!("{id:0>16}"), "parent_id": format!("{parent:0>16}"),
        "name": name, "start_time": T0 + from / 1e3,
    });
    match to {
        Some(to) => document["end_time"] = json!(T0 + to / 1e3),
        None => document["in_progress"] = json!(true),
    }
    let Value::Object(more) = more else { panic!("an object") };
    document.as_object_mut().unwrap().extend(more);
    document
}

fn segment(id: &str, parent: Option<&str>, name: &str, from: f64, to: f64, origin: &str) -> Value {
    let mut document = sub(id, parent.unwrap_or("f"), name, from, Some(to), json!({"origin": origin}));
    document.as_object_mut().unwrap().remove("type");
    if parent.is_none() {
        document.as_object_mut().unwrap().remove("parent_id");
    }
    document
}

fn store(documents: &[Value]) -> TraceStore {
    let store = TraceStore::new();
    for document in documents {
        store.put_platform_segment(document.clone());
    }
    assert!(store.rejected().is_empty(), "{:?}", store.rejected());
    store
}

/// The producer: an API that sends an order to a queue and fails to write a row.
fn producer() -> TraceStore {
    let exception = json!({"exceptions": [{"id": "00000000000000e1", "type": "io::Error", "message": "connection\nrefused"}]});
    store(&[
        segment("1", None, "orders", 0.0, 142.0, "AWS::Lambda"),
        segment("2", Some("1"), "orders", 8.0, 141.0, "AWS::Lambda::Function"),
        sub(
            "3",
            "2",
            "place",
            9.5,
            Some(121.0),
            json!({
                "http": {"request": {"method": "POST", "url": "https://api.example.com/orders/7?token=x"}, "response": {"status": 502}},
                "fault": true,
                "metadata": {"default": {"http.route": "/orders/{id}"}},
                "annotations": {"cold_start": true, "order": 7, "tenant": "acme"},
            }),
        ),
        sub(
            "4",
            "3",
            "SQS",
            14.0,
            Some(28.5),
            json!({
                "namespace": "aws",
                "aws": {"operation": "SendMessage", "queue_url": "https://sqs.eu-west-1.amazonaws.com/1/orders-queue"},
                "links": [{"trace_id": "1-5759e989-0123456789abcdef01234567", "id": "00000000000000aa"}],
            }),
        ),
        sub(
            "5",
            "3",
            "write the order to a table that has a rather long name",
            30.0,
            Some(119.0),
            json!({"fault": true, "cause": exception}),
        ),
        sub(
            "6",
            "5",
            "DynamoDB",
            31.0,
            Some(60.0),
            json!({
                "namespace": "aws", "error": true, "throttle": true,
                "aws": {"operation": "PutItem", "table_name": "orders"}, "http": {"response": {"status": 400}},
            }),
        ),
        sub("7", "3", "audit", 120.0, Some(120.02), json!({})),
        sub("8", "2", "background", 125.0, None, json!({})),
    ])
}

fn assert_lines(shown: &str, expected: &[&str]) {
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "\n{shown}");
}

#[rustfmt::skip]
#[test]
fn a_waterfall_shows_time_failure_and_what_was_done() {
    let store = producer();
    assert_lines(&waterfall_in(&store.trace(TRACE).unwrap(), Color::Off), &[
        "Trace 1-5759e988-bd862e3fe1be46a994272793 · 8 documents · 142 ms",
        "                                               0                               142 ms      start   duration",
        "orders  AWS::Lambda                            ██████████████████████████████████████       0 ms     142 ms",
        "└ orders  AWS::Lambda::Function                  ███████████████████████████████████▌    8.00 ms     133 ms",
        "  ├ place                                        ▐█████████████████████████████▌         9.50 ms     112 ms  ✗ fault",
        "  │ │ POST /orders/{id} → 502",
        "  │ │ cold_start=true  order=7  tenant=acme",
        "  │ ├ SQS                                         ▐███▌                                  14.0 ms    14.5 ms",
        "  │ │     SendMessage · orders-queue",
        "  │ │     → 1-5759e989-…234567",
        "  │ ├ write the order to a table that has a r…         ████████████████████████          30.0 ms    89.0 ms  ✗ fault",
        "  │ │ │ io::Error: connection refused",
        "  │ │ └ DynamoDB                                       ▐███████                          31.0 ms    29.0 ms  ✗ throttle",
        "  │ │       PutItem · orders → 400",
        "  │ └ audit                                                                    ▌          120 ms    0.02 ms",
        "  └ background                                                                  ░░░░░     125 ms unfinished",
    ]);
}

#[test]
fn colors_change_no_column() {
    let trace = producer().trace(TRACE).unwrap();
    let colored = waterfall_in(&trace, Color::On);
    assert!(colored.contains("\u{1b}[31m  ✗ fault\u{1b}[0m"), "{colored}");
    assert!(colored.contains("\u{1b}[36m→ 1-5759e989-…234567\u{1b}[0m"), "{colored}");
    let mut plain = colored.clone();
    for code in ["0", "1", "2", "31", "32", "33", "34", "35", "36"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, waterfall_in(&trace, Color::Off));
}

#[rustfmt::skip]
#[test]
fn orphans_and_circles_are_shown_too() {
    let store = store(&[
        sub("1", "9", "orphan", 0.0, Some(10.0), json!({})),
        sub("2", "1", "child", 2.5, Some(5.0), json!({})),
        sub("3", "4", "hen", 5.0, Some(10.0), json!({})),
        sub("4", "3", "egg", 7.5, Some(10.0), json!({})),
    ]);
    let trace = store.trace(TRACE).unwrap();
    assert_lines(&waterfall_in(&trace, Color::Off), &[
        "Trace 1-5759e988-bd862e3fe1be46a994272793 · 4 documents · 10.0 ms",
        "                                               0                              10.0 ms      start   duration",
        "orphan                                         ██████████████████████████████████████       0 ms    10.0 ms",
        "│ parent 0000000000000009 is not in the trace",
        "└ child                                                 ▐█████████                       2.50 ms    2.50 ms",
        "hen                                                               ███████████████████    5.00 ms    5.00 ms",
        "└ egg                                                                      ▐█████████    7.50 ms    2.50 ms",
    ]);
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    let long = "word ".repeat(100);
    let exception = json!({"exceptions": [{"id": "00000000000000e1", "type": "E", "message": long}]});
    let mut documents: Vec<Value> = (2..40)
        .map(|depth: u32| {
            let more = json!({"fault": true, "cause": exception, "annotations": {"a": "x".repeat(300)}});
            sub(&depth.to_string(), &(depth - 1).to_string(), &"注文".repeat(50), 0.0, None, more)
        })
        .collect();
    documents.push(segment("1", None, "root", 0.0, 123_456.7, "AWS::Lambda"));
    let store = store(&documents);
    let shown = waterfall_in(&store.trace(TRACE).unwrap(), Color::Off);
    assert_eq!(shown.lines().count(), 2 + 1 + 38 * 3);
    for line in shown.lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= WIDTH, "{line}");
    }
}

#[test]
fn several_traces_are_shown_one_below_the_other() {
    let shown = traces(&producer(), &[TRACE, "1-00000000-000000000000000000000000"]);
    let parts: Vec<&str> = shown.split("\n\n").collect();
    assert!(parts[0].starts_with("Trace 1-5759e988"), "{shown}");
    assert_eq!(parts[1], "Trace 1-00000000-000000000000000000000000 is not in the store\n");
}

#[rustfmt::skip]
#[test]
fn a_timeline_is_in_the_order_of_time() {
    let at = |ms: u64| UNIX_EPOCH + Duration::from_micros(ms);
    let rows = [
        (at(12_300), "function orders", "GET /next"),
        (at(0), "sandbox", "spawned"),
        (at(12_340), "caller", "event out\nand more"),
        (at(250_000), "function orders", "frozen"),
    ];
    assert_lines(&timeline_in(&rows, Color::Off), &[
        "      0 ms        +0 ms  sandbox          spawned",
        "   12.3 ms     +12.3 ms  function orders  GET /next",
        "   12.3 ms     +0.04 ms  caller           event out and more",
        "    250 ms      +238 ms  function orders  frozen",
    ]);
    assert_eq!(timeline_in::<&str, &str>(&[], Color::Off), "");
}
