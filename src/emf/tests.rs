//! The lines contain the recorded values, within CloudWatch's limits.

#[path = "../../tests/emf/mod.rs"]
mod emf;

use super::{Base, Dimensions, Ids, Record, Refused, Resolution, Series, Store, Unit, store::MOST_VALUES};
use crate::xray::{Redaction, Redactor};
use emf::{Metric, parse};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn base() -> Base {
    Base { namespace: "Shop".to_owned(), dimensions: vec![("service".to_owned(), "orders".to_owned())], redactor: None }
}

fn series(name: &str, unit: Unit) -> Series<'_> {
    Series { name, unit, resolution: Resolution::Standard }
}

fn dimensions(pairs: &[(&str, &str)]) -> Dimensions {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn written(store: &Store, base: &Base) -> Vec<Vec<Metric>> {
    let mut out = Vec::new();
    store.write(base, &Ids { request: Some("id".to_owned()), trace: None }, 1_764_000_000_000, &mut out);
    let text = String::from_utf8(out).expect("text");
    text.lines().map(|line| parse(line).expect("a valid line")).collect()
}

#[test]
fn values_of_a_name_are_an_array_and_sets_of_dimensions_have_lines_of_their_own() {
    let (mut store, base) = (Store::default(), base());
    let mut record = |set: &[(&str, &str)], name, value| {
        let series = Series {
            resolution: if name == "High" { Resolution::High } else { Resolution::Standard },
            ..series(name, Unit::Count)
        };
        store.record(&base.dimensions, &dimensions(set), series, value, Record::Sample).expect("valid");
    };
    record(&[], "Orders", 1.0);
    record(&[("plan", "gold")], "Orders", 7.0);
    record(&[], "Orders", 2.5);
    record(&[], "High", 3.0);
    let lines = written(&store, &base);
    let [common, gold] = lines.as_slice() else { panic!("{lines:?}") };
    let [orders, high] = common.as_slice() else { panic!("{common:?}") };
    assert_eq!(
        (orders.name.as_str(), orders.values.as_slice(), orders.unit.as_str()),
        ("Orders", [1.0, 2.5].as_slice(), "Count")
    );
    assert!(high.high_resolution && !orders.high_resolution);
    assert_eq!(orders.dimensions, BTreeMap::from([("service".to_owned(), "orders".to_owned())]));
    assert_eq!(gold[0].dimension("plan"), Some("gold"));
    assert_eq!(gold[0].request_id.as_deref(), Some("id"));
}

#[test]
fn what_cloudwatch_does_not_take_is_refused_and_counted() {
    let (mut store, base) = (Store::default(), base());
    let plan = dimensions(&[("plan", "gold")]);
    let mut record = |name, value| store.record(&base.dimensions, &plan, series(name, Unit::None), value, Record::Sample);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        assert_eq!(record("Orders", value), Err(Refused::Value), "{value}");
    }
    for name in ["", " ", "_aws", "plan", "service"] {
        assert_eq!(record(name, 1.0), Err(Refused::Name), "{name:?}");
    }
    assert_eq!(store.left_out(), 9);
    assert!(!store.has_metrics());
}

#[test]
fn counters_are_summed_and_gauges_keep_the_last_value() {
    let (mut store, base) = (Store::default(), base());
    for value in [1.0, 2.0, 4.0] {
        for (name, record) in [("Sum", Record::Sum), ("Last", Record::Last), ("Each", Record::Sample)] {
            store.record(&base.dimensions, &Dimensions::new(), series(name, Unit::None), value, record).expect("valid");
        }
    }
    let values: Vec<_> = written(&store, &base).concat().into_iter().map(|metric| metric.values).collect();
    assert_eq!(values, [vec![7.0], vec![4.0], vec![1.0, 2.0, 4.0]]);
}

#[test]
fn a_metric_of_two_units_is_in_two_lines() {
    let (mut store, base) = (Store::default(), base());
    for unit in [Unit::Seconds, Unit::Milliseconds] {
        store.record(&base.dimensions, &Dimensions::new(), series("Latency", unit), 1.0, Record::Sample).expect("valid");
    }
    let units: Vec<_> = written(&store, &base).into_iter().map(|line| line[0].unit.clone()).collect();
    assert_eq!(units, ["Seconds", "Milliseconds"]);
}

#[test]
fn metadata_stands_beside_the_metrics_and_never_in_their_place() {
    let (mut store, base) = (Store::default(), base());
    store.record(&base.dimensions, &Dimensions::new(), series("Orders", Unit::Count), 1.0, Record::Sample).expect("valid");
    for (key, value) in [("order", "7"), ("order", "8"), ("Orders", "x"), ("service", "x"), ("requestId", "x")] {
        store.describe(key, value.into()).expect("valid");
    }
    assert_eq!(store.describe("_aws", 1.into()), Err(Refused::Name));
    let lines = written(&store, &base);
    let line = &lines[0][0].line;
    assert_eq!(
        (&line["order"], &line["Orders"], &line["service"], &line["requestId"]),
        (&"8".into(), &1.into(), &"orders".into(), &"id".into())
    );
    let full = (0..1_000).filter(|key| store.describe(&format!("key {key}"), 1.into()) == Err(Refused::Room)).count();
    assert_eq!(full, 1_000 - 100 + 4);
}

#[test]
fn metadata_of_any_length_leaves_the_line_below_the_limit() {
    let (mut store, base) = (Store::default(), base());
    for number in 0..MOST_VALUES {
        let name = format!("{number} {}", "\"".repeat(250));
        store
            .record(&base.dimensions, &Dimensions::new(), series(&name, Unit::None), -1.0 / 3.0e-50, Record::Sample)
            .expect("valid");
    }
    for number in 0..100 {
        store.describe(&format!("key {number}"), "\u{1}".repeat(9_000).into()).expect("valid");
    }
    let metrics = written(&store, &base).concat();
    assert_eq!(metrics.len(), MOST_VALUES);
    assert!(metrics.iter().all(|metric| metric.line["key 0"].is_string() && metric.line["key 99"].is_null()));
}

#[test]
fn a_redactor_decides_about_dimensions_and_metadata() {
    let redactor = Redactor::new(|key, value| match (key, value) {
        ("plan", _) => Redaction::Remove,
        ("order", _) => Redaction::Replace("(order)".into()),
        ("items", "7") => Redaction::Remove,
        _ => Redaction::Keep,
    });
    let base = Base { redactor: Some(redactor), ..base() };
    let mut store = Store::default();
    let set = dimensions(&[("plan", "gold"), ("shop", "berlin")]);
    store.record(&base.dimensions, &set, series("Orders", Unit::Count), 1.0, Record::Sample).expect("valid");
    store.describe("order", "secret".into()).expect("valid");
    store.describe("items", 7.into()).expect("valid");
    let metric = written(&store, &base).concat().remove(0);
    assert_eq!((metric.dimension("plan"), metric.dimension("shop")), (None, Some("berlin")));
    assert_eq!(
        (&metric.line["order"], &metric.line["items"], &metric.line["plan"]),
        (&"(order)".into(), &serde_json::Value::Null, &serde_json::Value::Null)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All recorded values are found again, once each, in lines that CloudWatch accepts.
    #[test]
    fn nothing_is_lost_in_lines(
        recorded in prop::collection::vec((0..4_usize, "[a-z\"\\\\é ]{1,6}", 0..3_usize, any::<i32>()), 1..600),
    ) {
        let (mut store, base) = (Store::default(), base());
        let sets = [vec![], vec![("plan", "gold")], vec![("plan", "free")], vec![("plan", "gold"), ("shop", "berlin")]];
        let units = [Unit::Count, Unit::None, Unit::BytesPerSecond];
        let mut expected = BTreeMap::<_, Vec<f64>>::new();
        for (set, name, unit, value) in recorded {
            let value = f64::from(value) / 8.0;
            let set = dimensions(&sets[set]);
            let kept = store.record(&base.dimensions, &set, series(&name, units[unit]), value, Record::Sample);
            if kept.is_ok() {
                let name = super::name(&name).expect("a name").into_owned();
                let set: BTreeMap<_, _> = base.dimensions.iter().cloned().chain(set).collect();
                expected.entry((set, name, units[unit].as_str().to_owned())).or_default().push(value);
            }
        }
        let mut found = BTreeMap::<_, Vec<f64>>::new();
        for metric in written(&store, &base).concat() {
            prop_assert_eq!(&metric.namespace, "Shop");
            found.entry((metric.dimensions, metric.name, metric.unit)).or_default().extend(metric.values);
        }
        prop_assert_eq!(found, expected);
    }
}
