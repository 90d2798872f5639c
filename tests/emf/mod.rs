//! Lines in CloudWatch's embedded metric format, checked and read as CloudWatch reads them.
#![allow(dead_code, reason = "each test program uses its part")]

use jsonschema::Validator;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("schema.json")).expect("JSON");
    jsonschema::draft7::new(&schema).expect("a schema")
});

/// CloudWatch's limit of one event.
const LONGEST: usize = 256 * 1024 - 26;

/// One metric of a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) dimensions: BTreeMap<String, String>,
    pub(crate) unit: String,
    pub(crate) high_resolution: bool,
    pub(crate) values: Vec<f64>,
    /// The members of the line that are not metrics.
    pub(crate) request_id: Option<String>,
    pub(crate) line: Value,
}

impl Metric {
    pub(crate) fn dimension(&self, name: &str) -> Option<&str> {
        self.dimensions.get(name).map(String::as_str)
    }
}

/// The metrics of a log line; none where it is another kind of line.
pub(crate) fn parse(text: &str) -> Result<Vec<Metric>, String> {
    if !text.starts_with("{\"_aws\"") {
        return if text.contains("CloudWatchMetrics") { Err(format!("not a whole line: {text}")) } else { Ok(Vec::new()) };
    }
    if text.len() > LONGEST {
        return Err(format!("{} bytes in a line", text.len()));
    }
    let line: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    has_each_member_once(text, &line)?;
    let problems: Vec<String> = SCHEMA.iter_errors(&line).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if !problems.is_empty() {
        return Err(format!("{problems:?} in {text}"));
    }
    let mut metrics = Vec::new();
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
    for directive in directives {
        for set in directive["Dimensions"].as_array().into_iter().flatten() {
            for definition in directive["Metrics"].as_array().into_iter().flatten() {
                metrics.push(metric(&line, directive, set, definition)?);
            }
        }
    }
    // Two targets of one name in one line would be one member.
    let targets: BTreeSet<_> = metrics.iter().map(|metric| &metric.name).collect();
    if targets.len() < metrics.len() {
        return Err(format!("a metric is declared twice: {text}"));
    }
    Ok(metrics)
}

fn metric(line: &Value, directive: &Value, set: &Value, definition: &Value) -> Result<Metric, String> {
    let name = definition["Name"].as_str().unwrap_or_default().to_owned();
    let mut dimensions = BTreeMap::new();
    for dimension in set.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let value = line[dimension].as_str().ok_or_else(|| format!("the dimension {dimension} has no text: {line}"))?;
        let valid = (1..=1024).contains(&value.len()) && value.is_ascii() && !value.trim().is_empty();
        if !valid || dimension == name {
            return Err(format!("the dimension {dimension} is {value:?}, of the metric {name}"));
        }
        dimensions.insert(dimension.to_owned(), value.to_owned());
    }
    let values = match &line[&name] {
        Value::Array(values) if values.len() <= 100 => values.iter().map(Value::as_f64).collect(),
        value => value.as_f64().map(|value| vec![value]),
    };
    let values: Vec<f64> = values.ok_or_else(|| format!("the metric {name} has no numbers, or too many: {line}"))?;
    Ok(Metric {
        namespace: directive["Namespace"].as_str().unwrap_or_default().to_owned(),
        name,
        dimensions,
        unit: definition["Unit"].as_str().unwrap_or("None").to_owned(),
        high_resolution: definition["StorageResolution"] == 1,
        values,
        request_id: line["requestId"].as_str().map(str::to_owned),
        line: line.clone(),
    })
}

/// A second member of a name would be lost without a trace: written again, the line would be shorter.
fn has_each_member_once(text: &str, line: &Value) -> Result<(), String> {
    let commas = |text: &str| text.matches("\":").count();
    if commas(&line.to_string()) == commas(text) { Ok(()) } else { Err(format!("a duplicate member: {text}")) }
}
