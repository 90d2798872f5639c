//! The metrics that functions write as lines of their log, and what CloudWatch has of them.

use crate::target::{Failure, Named, Target};
use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Dimension, Metric as Asked, MetricDataQuery, MetricStat},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};
use time::OffsetDateTime;

/// The period of the values, in seconds. CloudWatch aligns what it returns to it.
const PERIOD: i32 = 60;
/// The most metrics of one call of `GetMetricData`.
const ASKED_AT_ONCE: usize = 500;

/// What CloudWatch charges for: a name, and the values of its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) dimensions: BTreeMap<String, String>,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.name, self.dimensions)
    }
}

/// The values that one line has for one metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) namespace: String,
    pub(crate) metric: Metric,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) values: Vec<f64>,
}

/// What CloudWatch makes of a log line. A line in another format has no metrics.
pub(crate) fn written(line: &Value) -> Vec<Written> {
    let Some(at) = line["_aws"]["Timestamp"].as_i64() else { return Vec::new() };
    let mut found = Vec::new();
    for directive in array(&line["_aws"]["CloudWatchMetrics"]) {
        let Some(namespace) = directive["Namespace"].as_str() else { continue };
        for set in array(&directive["Dimensions"]) {
            let dimension = |key: &Value| Some((key.as_str()?.to_owned(), line[key.as_str()?].as_str()?.to_owned()));
            // A set with a dimension that the line has no value for makes no metric.
            let Some(dimensions) = array(set).iter().map(dimension).collect::<Option<BTreeMap<_, _>>>() else { continue };
            for name in array(&directive["Metrics"]).iter().filter_map(|metric| metric["Name"].as_str()) {
                let value = &line[name];
                let values: Vec<f64> = value.as_f64().into_iter().chain(array(value).iter().filter_map(Value::as_f64)).collect();
                let metric = Metric { name: name.to_owned(), dimensions: dimensions.clone() };
                found.push(Written { namespace: namespace.to_owned(), metric, at, values });
            }
        }
    }
    found
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How many values of each metric functions wrote, and how many CloudWatch has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) written: BTreeMap<Metric, u64>,
    pub(crate) found: BTreeMap<Metric, u64>,
    /// The metrics that CloudWatch was asked for, each time counted again, because each is charged.
    pub(crate) asked: usize,
}

impl Counted {
    /// Whether CloudWatch has what was written.
    pub(crate) fn is_whole(&self) -> bool {
        !self.written.is_empty() && self.written == self.found
    }
}

/// The beginning of the minute, in seconds since 1970.
pub(crate) fn minute() -> i64 {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    now - now.rem_euclid(PERIOD.into())
}

/// Counts what these functions wrote since `from`, and what CloudWatch has of it, until both are the same or time is up: metrics arrive minutes
/// after the lines.
pub(crate) async fn count(target: &Target, functions: &[&Named], from: i64) -> Result<Counted, Failure> {
    let asked = AtomicUsize::new(0);
    let ask = || async {
        let mut counted = Counted::default();
        for function in functions {
            for line in target.lines_since(function, "CloudWatchMetrics", from - i64::from(PERIOD)).await? {
                for written in written(&line).into_iter().filter(|written| written.at >= from * 1000) {
                    *counted.written.entry(written.metric).or_default() += written.values.len() as u64;
                }
            }
        }
        let metrics: Vec<&Metric> = counted.written.keys().collect();
        let to = minute() + i64::from(PERIOD);
        for metrics in metrics.chunks(ASKED_AT_ONCE) {
            asked.fetch_add(metrics.len(), Ordering::Relaxed);
            counted.found.extend(found(target, metrics, from, to).await?);
        }
        Ok(counted)
    };
    let counted = target.ask(ask, Counted::is_whole, false).await?;
    Ok(Counted { asked: asked.into_inner(), ..counted })
}

/// How many values CloudWatch has of these metrics.
async fn found(target: &Target, metrics: &[&Metric], from: i64, to: i64) -> Result<BTreeMap<Metric, u64>, Failure> {
    let query = |(number, metric): (usize, &&Metric)| {
        let dimensions = metric.dimensions.iter().map(|(name, value)| Dimension::builder().name(name).value(value).build());
        let asked = Asked::builder().namespace(&target.namespace).metric_name(&metric.name);
        let asked = asked.set_dimensions(Some(dimensions.collect())).build();
        let stat = MetricStat::builder().metric(asked).period(PERIOD).stat("SampleCount").build();
        MetricDataQuery::builder().id(format!("m{number}")).metric_stat(stat).build()
    };
    let call = target.cloudwatch.get_metric_data().start_time(DateTime::from_secs(from)).end_time(DateTime::from_secs(to));
    let call = call.set_metric_data_queries(Some(metrics.iter().enumerate().map(query).collect()));
    let mut pages = call.into_paginator().send();
    let mut counts = BTreeMap::new();
    while let Some(page) = pages.next().await {
        for result in page?.metric_data_results() {
            let number: usize =
                result.id().and_then(|id| id.strip_prefix('m')?.parse().ok()).ok_or("CloudWatch returned no id")?;
            let metric = *metrics.get(number).ok_or("CloudWatch returned another id")?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is a whole number")]
            let count = result.values().iter().sum::<f64>() as u64;
            if count > 0 {
                *counts.entry(metric.clone()).or_default() += count;
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_its_values_for_each_set_of_dimensions() {
        let line = json!({
            "_aws": { "Timestamp": 5, "CloudWatchMetrics": [
                { "Namespace": "Shop", "Dimensions": [["service"], ["service", "absent"]], "Metrics": [{ "Name": "Items" }] },
                { "Namespace": "Shop", "Dimensions": [["service", "outcome"]], "Metrics": [{ "Name": "Invocations" }] },
            ] },
            "service": "orders", "outcome": "failed", "Items": [1, 2.5], "Invocations": 1,
        });
        let found: Vec<(String, Vec<f64>)> =
            written(&line).into_iter().map(|written| (written.metric.to_string(), written.values)).collect();
        let wanted = [
            ("Items of {\"service\": \"orders\"}".to_owned(), vec![1.0, 2.5]),
            ("Invocations of {\"outcome\": \"failed\", \"service\": \"orders\"}".to_owned(), vec![1.0]),
        ];
        assert_eq!(found, wanted);
        assert_eq!(written(&json!({ "message": "hello" })), []);
    }
}
