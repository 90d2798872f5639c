//! The crates whose types are public here: a major version of one of them is a major version of this library.
//!
//! `.ci/slow` runs the check, because it compiles every dependency for rustdoc:
//! `cargo test --test public_types -- --ignored`.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// Crates whose types or traits may be in a public signature. Those that users have to name are re-exported from the crate root.
const ALLOWED: [&str; 29] = [
    "aws_config",
    // The body of `lambda_http`.
    "aws_lambda_events",
    "aws_sdk_xray",
    "aws_smithy_runtime_api",
    "aws_smithy_types",
    // What `aws_config` re-exports.
    "aws_types",
    "axum",
    // What `axum` re-exports.
    "axum_core",
    "bytes",
    "futures_core",
    "http",
    // The bodies of responses that are streamed.
    "http_body",
    "lambda_http",
    "lambda_runtime",
    // The body of `lambda_runtime`.
    "lambda_runtime_api_client",
    "metrics",
    "once_cell",
    "opentelemetry",
    "opentelemetry_sdk",
    // In the bounds of `Unpin`, which its macro writes.
    "pin_project_lite",
    // What `serde` re-exports.
    "serde_core",
    "serde_json",
    "tokio",
    "tokio_util",
    "tower",
    "tower_layer",
    "tower_service",
    // What `tracing` and `tracing_subscriber` re-export.
    "tracing_core",
    "tracing_subscriber",
];

/// Rust's own.
const STANDARD: [&str; 3] = ["alloc", "core", "std"];

/// The crates that the public items of `document`, rustdoc's JSON, name, each with the items that do.
fn named(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut named = BTreeMap::<String, BTreeSet<String>>::new();
    let (Some(index), Some(paths)) = (document["index"].as_object(), document["paths"].as_object()) else { return named };
    for item in index.values().filter(|item| item["crate_id"] == 0) {
        let implementation = &item["inner"]["impl"];
        // Of every type: the compiler's, and those that a trait has for all.
        if implementation["is_synthetic"] == true || !implementation["blanket_impl"].is_null() {
            continue;
        }
        let mut ids = Vec::new();
        collect(&item["inner"], &mut ids);
        for path in ids.into_iter().filter_map(|id| paths.get(&id.to_string())) {
            let crate_id = path["crate_id"].to_string();
            let name = document["external_crates"][crate_id.as_str()]["name"].as_str();
            if let Some(name) = name.filter(|name| path["crate_id"] != 0 && !STANDARD.contains(name)) {
                named.entry(name.to_owned()).or_default().insert(describe(item));
            }
        }
    }
    named
}

/// The ids of the types and traits in a signature: each is in an object with the path that was written.
fn collect(value: &Value, ids: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            if let (Some(id), Some(_)) = (fields.get("id").and_then(Value::as_u64), fields.get("path").or(fields.get("source"))) {
                ids.push(id);
            }
            fields.values().for_each(|value| collect(value, ids));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}

fn describe(item: &Value) -> String {
    let file = item["span"]["filename"].as_str().unwrap_or("?");
    let name = item["name"].as_str().unwrap_or("impl");
    format!("{file}:{} {name}", item["span"]["begin"][0])
}

/// The crates that are named and not allowed, and the allowed crates that are no longer named.
fn problems(document: &Value, allowed: &[&str]) -> Vec<String> {
    let named = named(document);
    let unlisted = named.iter().filter(|(name, _)| !allowed.contains(&name.as_str()));
    let unlisted = unlisted.map(|(name, items)| format!("`{name}` is not on the list; it is named in {items:?}"));
    let unused = allowed.iter().filter(|name| !named.contains_key(**name)).map(|name| format!("`{name}` is named nowhere"));
    unlisted.chain(unused).collect()
}

#[test]
fn a_crate_that_is_not_on_the_list_is_a_problem() {
    let document = json!({
        "index": {
            "0": { "crate_id": 0, "name": "serve", "inner": { "function": { "sig": {
                "inputs": [["service", { "resolved_path": { "path": "Router", "id": 7, "args": null } }]],
            } } } },
            "1": { "crate_id": 0, "name": null, "inner": { "impl": { "is_synthetic": true, "trait": { "path": "Send", "id": 8 } } } },
            "2": { "crate_id": 0, "name": null, "inner": { "impl": {
                "is_synthetic": false, "blanket_impl": { "generic": "T" }, "trait": { "path": "Instrument", "id": 9 },
            } } },
        },
        "paths": { "7": { "crate_id": 3 }, "8": { "crate_id": 4 }, "9": { "crate_id": 5 } },
        "external_crates": { "3": { "name": "axum" }, "4": { "name": "core" }, "5": { "name": "tracing" } },
    });
    assert_eq!(problems(&document, &["axum"]), Vec::<String>::new());
    assert!(problems(&document, &[]).first().is_some_and(|problem| problem.starts_with("`axum` is not on the list")));
    assert_eq!(problems(&document, &["axum", "hyper"]), ["`hyper` is named nowhere"]);
}

#[test]
#[ignore = "compiles every dependency for rustdoc, which takes minutes: .ci/slow runs it"]
fn public_types_are_of_listed_crates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of its own: the variable below would have cargo compile the usual one again.
    let target = root.join("target/public_types");
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--locked", "--lib", "--all-features", "--target-dir"])
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .current_dir(root)
        // rustdoc's JSON is not stable yet.
        .env("RUSTC_BOOTSTRAP", "1")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "rustdoc failed");
    let document = std::fs::read(target.join("doc/lambda_lifecycle.json")).expect("rustdoc wrote the document");
    let document = serde_json::from_slice(&document).expect("JSON");
    let problems = problems(&document, &ALLOWED);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
