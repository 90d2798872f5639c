//! The tracing header beyond the vectors: conversions, the propagator, and what must not get through.

use std::collections::HashMap;

use lambda_lifecycle::xray::{Propagator, Sampled, TraceHeader};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};

const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";
const FULL: &str =
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1|68fd508a:5;Foo=bar";
const TRACE: u128 = 0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793;

fn extract(header: &str) -> Context {
    Propagator.extract(&HashMap::from([("x-amzn-trace-id".to_owned(), header.to_owned())]))
}

fn inject(context: &Context) -> HashMap<String, String> {
    let mut carrier = HashMap::new();
    Propagator.inject_context(context, &mut carrier);
    carrier
}

fn local(trace: u128, id: u64, sampled: bool) -> SpanContext {
    let state = TraceState::from_key_value([("vendor", "secret")]).unwrap();
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(TraceId::from(trace), SpanId::from(id), flags, false, state)
}

#[test]
fn one_malformed_field_costs_only_itself() {
    for (text, out) in [
        ("Root=1-zz59e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", "Parent=53995c3f42cd8ad8;Sampled=1"),
        ("Root=2-5759e988-bd862e3fe1be46a994272793;Sampled=0", "Sampled=0"),
        ("Root=1-00000000-000000000000000000000000", ""),
        ("Parent=0000000000000000;Sampled=?", "Sampled=?"),
        (
            "root = 1-5759E988-BD862E3FE1BE46A994272793 ;PARENT=53995C3F42CD8AD8",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
        ),
        ("Root=bad;Root=1-5759e988-bd862e3fe1be46a994272793", ROOT),
        ("Root=1-5759e988-bd862e3fe1be46a99427279é", ""),
        ("Root=1-5759e988-+d862e3fe1be46a994272793", ""),
        ("Root=1-05759e988-bd862e3fe1be46a994272793", ""),
        ("Root=1-5759e988-bd862e3fe1be46a99427279", ""),
        ("Root=1--bd862e3fe1be46a994272793", ""),
        ("Root=1-5759e988", ""),
        ("Root=1-", ""),
        ("Lineage=a\r\nX-Evil: 1;=;;Foo=\u{7f};Sampled=1", "Sampled=1"),
        ("A=b=c;Self=1-x;D=", "A=b=c;D="),
    ] {
        assert_eq!(TraceHeader::parse(text).to_string(), out, "{text}");
    }
}

#[test]
fn a_root_whose_time_lacks_leading_zeros_is_the_same_trace() {
    for (short, long) in [("759e988", "0759e988"), ("8", "00000008"), ("0", "00000000"), ("0000A", "0000000a")] {
        let header = TraceHeader::parse(&format!("Root=1-{short}-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"));
        assert_eq!(header.ignored(), None, "{short}");
        let handed_on = format!("Root=1-{long}-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
        assert_eq!(header.to_string(), handed_on);
        assert_eq!(header, TraceHeader::parse(&handed_on));
    }
}

#[test]
fn unknown_keys_are_kept_up_to_256_bytes() {
    let long = format!("Big={};Foo=bar;Huge={}", "x".repeat(240), "y".repeat(100));
    let header = TraceHeader::parse(&long);
    assert_eq!(header.to_string(), format!("Big={};Foo=bar", "x".repeat(240)));
    assert_eq!(header.ignored(), Some("unknown keys beyond 256 bytes"));
    let endless = "k=v;".repeat(1_000_000) + "Lineage=" + &"a".repeat(1_000_000);
    assert!(TraceHeader::parse(&endless).to_string().len() <= 256);
}

#[test]
fn w3c_goes_both_ways() {
    let header = TraceHeader::parse(FULL);
    let traceparent = header.to_traceparent().unwrap();
    assert_eq!(traceparent, "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
    let back = TraceHeader::from_traceparent(&traceparent).unwrap();
    assert_eq!((back.root(), back.parent(), back.sampled()), (header.root(), header.parent(), header.sampled()));
    assert!(TraceHeader::from_traceparent("cc-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-future").is_some());
    for wrong in [
        "",
        "00",
        "ff-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-more",
        "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
        "00-5759e988bd862e3fe1be46a994272793-0000000000000000-01",
        "00-5759E988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        "00-5759e988bd862e3fe1be46a994272793_53995c3f42cd8ad8-01",
        "00-5759e988bd862e3fe1be46a99427279é-53995c3f42cd8ad8-01",
    ] {
        assert_eq!(TraceHeader::from_traceparent(wrong), None, "{wrong}");
    }
    assert_eq!(TraceHeader::parse(ROOT).to_traceparent(), None);
}

#[test]
fn a_call_names_our_span_and_keeps_lineage_but_no_tracestate() {
    let context = extract(FULL).with_span_context(local(TRACE, 7, true));
    let sent = &inject(&context)["x-amzn-trace-id"];
    assert_eq!(sent, &FULL.replace("53995c3f42cd8ad8", "0000000000000007"));
    let other_trace = extract(FULL).with_span_context(local(9, 7, true));
    let expected = "Root=1-00000000-000000000000000000000009;Parent=0000000000000007;Sampled=1;Lineage=a87bd80c:1|68fd508a:5";
    assert_eq!(inject(&other_trace)["x-amzn-trace-id"], expected);
    assert!(extract(FULL).get::<TraceHeader>().unwrap().span_context().unwrap().trace_state().header().is_empty());
}

#[test]
fn what_is_not_recorded_is_passed_on_as_it_came() {
    for came in [ROOT.to_owned(), format!("{ROOT};Sampled=?;Lineage=x"), format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=0")] {
        assert_eq!(inject(&extract(&came))["x-amzn-trace-id"], came);
        let unrecorded = extract(&came).with_span_context(local(TRACE, 7, false));
        assert_eq!(inject(&unrecorded)["x-amzn-trace-id"], came, "an unrecorded span is not a parent");
    }
    let dropped = extract(FULL).with_span_context(local(TRACE, 7, false));
    assert!(inject(&dropped)["x-amzn-trace-id"].contains("Sampled=0"));
}

#[test]
fn without_a_header_nothing_is_invented() {
    assert!(inject(&Context::new()).is_empty());
    assert!(extract("garbage").get::<TraceHeader>().is_none());
    assert!(!extract(ROOT).has_active_span(), "a Root alone is not a span context");
    let own = inject(&Context::new().with_span_context(local(TRACE, 7, true)));
    assert_eq!(own["x-amzn-trace-id"], format!("{ROOT};Parent=0000000000000007;Sampled=1"));
    assert_eq!(Propagator.fields().collect::<Vec<_>>(), ["x-amzn-trace-id"]);
}

#[test]
fn another_parent_keeps_everything_else() {
    let next = TraceHeader::parse(FULL).with_parent(SpanId::from(7), Sampled::No);
    assert_eq!(next.to_string(), FULL.replace("53995c3f42cd8ad8", "0000000000000007").replace("Sampled=1", "Sampled=0"));
    let undecided = TraceHeader::parse("Sampled=?").with_parent(SpanId::INVALID, Sampled::Unknown);
    assert_eq!(undecided.to_string(), "Sampled=?");
}

mod trait_for_tests {
    use opentelemetry::{
        Context,
        trace::{SpanContext, TraceContextExt},
    };

    pub(super) trait WithSpanContext {
        fn with_span_context(&self, span: SpanContext) -> Context;
    }

    impl WithSpanContext for Context {
        /// Stands for an active span: what is injected depends on its span context only.
        fn with_span_context(&self, span: SpanContext) -> Context {
            self.with_remote_span_context(span)
        }
    }
}
use trait_for_tests::WithSpanContext;
