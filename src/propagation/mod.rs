#![doc = include_str!("../../docs/propagation.md")]

mod baggage;
mod client_context;
mod correlation;
mod event;
mod names;
mod state;

#[cfg(feature = "aws-sdk")]
pub(crate) use client_context::add_to_client_context;
pub(crate) use client_context::of_client_context;
pub(crate) use correlation::Correlated;
pub use correlation::{CorrelationId, Custom};
pub(crate) use event::{of_detail, of_http, of_notification};
pub(crate) use names::{BAGGAGE, TRACEPARENT, TRACESTATE, X_CORRELATION_ID};

use crate::{
    notice::{self, Data, Warning},
    xray::traceparent,
};
use baggage::Received;
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt},
};
use std::{borrow::Cow, sync::Once};

/// A format of the trace context that services send to each other. See [`Builder::propagators`](crate::Builder::propagators).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Propagator {
    /// X-Ray's [tracing header](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader):
    /// `x-amzn-trace-id`, `AWSTraceHeader` of SQS, `TraceHeader` of EventBridge. `xray` in `OTEL_PROPAGATORS`.
    XRay,
    /// W3C's [Trace Context](https://www.w3.org/TR/trace-context-2/): `traceparent` and `tracestate`. `tracecontext` in
    /// `OTEL_PROPAGATORS`.
    TraceContext,
    /// W3C's [Baggage](https://www.w3.org/TR/baggage/). `baggage` in `OTEL_PROPAGATORS`.
    Baggage,
}

/// The formats in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Propagators {
    pub(crate) xray: bool,
    pub(crate) trace_context: bool,
    pub(crate) baggage: bool,
}

impl Propagators {
    pub(crate) const XRAY: Self = Self { xray: true, trace_context: false, baggage: false };
    pub(crate) const ALL: Self = Self { xray: true, trace_context: true, baggage: true };
    /// Values of `OTEL_PROPAGATORS`.
    pub(crate) const EXPECTED: &str = "xray, tracecontext, baggage or none";

    /// Parses `OTEL_PROPAGATORS`, and passes each unknown value to `unknown`. `None` if no known one is left.
    pub(crate) fn parse(text: &str, mut unknown: impl FnMut(&str)) -> Option<Self> {
        let (mut known, mut found) = (Vec::new(), false);
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let lower = name.to_ascii_lowercase();
            match lower.as_str() {
                // OpenTelemetry's name for the environment's header, which Lambda also sends with each event.
                "xray" | "xray-lambda" => known.push(Propagator::XRay),
                "tracecontext" => known.push(Propagator::TraceContext),
                "baggage" => known.push(Propagator::Baggage),
                "none" => {}
                _ => {
                    unknown(name);
                    continue;
                }
            }
            found = true;
        }
        found.then(|| known.into_iter().collect())
    }

    /// True if W3C's fields are read and written.
    pub(crate) fn has_w3c(self) -> bool {
        self.trace_context || self.baggage
    }
}

impl FromIterator<Propagator> for Propagators {
    fn from_iter<I: IntoIterator<Item = Propagator>>(propagators: I) -> Self {
        let mut set = Self { xray: false, trace_context: false, baggage: false };
        for propagator in propagators {
            match propagator {
                Propagator::XRay => set.xray = true,
                Propagator::TraceContext => set.trace_context = true,
                Propagator::Baggage => set.baggage = true,
            }
        }
        set
    }
}

/// W3C's fields of a carrier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields<'c> {
    pub(crate) traceparent: Option<Cow<'c, str>>,
    pub(crate) tracestate: Option<Cow<'c, str>>,
    pub(crate) baggage: Option<Cow<'c, str>>,
    /// The correlation id, which is sent beside them.
    pub(crate) correlation: Option<Cow<'c, str>>,
}

impl<'c> Fields<'c> {
    /// The values that `get` returns for the names of the fields.
    pub(crate) fn from_names(get: impl Fn(&str) -> Option<&'c str>) -> Self {
        let get = |name| get(name).map(Cow::Borrowed);
        Self { traceparent: get(TRACEPARENT), tracestate: get(TRACESTATE), baggage: get(BAGGAGE), correlation: None }
    }

    /// The fields to send from `span` in `context`.
    pub(crate) fn outgoing(propagators: Propagators, context: &Context, span: Option<&SpanContext>) -> Fields<'static> {
        let mut fields = Fields::default();
        if propagators.trace_context {
            let active = context.span();
            let caller = span.unwrap_or_else(|| active.span_context());
            if caller.is_valid() {
                fields.traceparent = Some(traceparent::format(caller).into());
                fields.tracestate = Some(caller.trace_state().header()).filter(|state| !state.is_empty()).map(Cow::Owned);
            }
        }
        if propagators.baggage {
            fields.baggage = baggage::outgoing(context).map(Cow::Owned);
        }
        fields
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.traceparent.is_none() && self.tracestate.is_none() && self.baggage.is_none() && self.correlation.is_none()
    }

    /// Each field with its name, the most important first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let id = (X_CORRELATION_ID, &self.correlation);
        let fields = [(TRACEPARENT, &self.traceparent), id, (TRACESTATE, &self.tracestate), (BAGGAGE, &self.baggage)];
        fields.into_iter().filter_map(|(name, value)| Some((name, &**value.as_ref()?)))
    }

    /// The contents of the fields, for these propagators.
    pub(crate) fn read(&self, propagators: Propagators) -> Option<Box<Remote>> {
        let parent = self.traceparent.as_deref().filter(|_| propagators.trace_context).and_then(|text| self.parent(text));
        let baggage = self.baggage.as_deref().filter(|_| propagators.baggage).and_then(Received::read);
        (parent.is_some() || baggage.is_some()).then(|| Box::new(Remote { parent, baggage }))
    }

    fn parent(&self, traceparent: &str) -> Option<SpanContext> {
        let Some(parent) = traceparent::parse(traceparent) else {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| {
                notice::log(Warning::TraceHeaderIgnored, Data { error: Some(&"not valid"), ..Data::name(TRACEPARENT) });
            });
            return None;
        };
        let Some(state) = self.tracestate.as_deref().and_then(state::read) else { return Some(parent) };
        Some(SpanContext::new(parent.trace_id(), parent.span_id(), parent.trace_flags(), true, state))
    }
}

/// The context that a caller sent in W3C's fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    /// The caller's span.
    pub(crate) parent: Option<SpanContext>,
    baggage: Option<Received>,
}

impl Remote {
    /// The same context with the caller's baggage.
    pub(crate) fn with_baggage(&self, context: Context) -> Context {
        match &self.baggage {
            Some(baggage) => baggage.in_context(&context),
            None => context,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_variable_of_opentelemetry_is_read() {
        let read = |text| {
            let mut unknown = Vec::new();
            let known = Propagators::parse(text, |name| unknown.push(name.to_owned()));
            (known, unknown.join(" "))
        };
        let none = Propagators { xray: false, trace_context: false, baggage: false };
        assert_eq!(read("xray"), (Some(Propagators::XRAY), String::new()));
        assert_eq!(read("tracecontext,baggage,xray,tracecontext"), (Some(Propagators::ALL), String::new()));
        assert_eq!(read(" TraceContext , "), (Some(Propagators { trace_context: true, ..none }), String::new()));
        assert_eq!(read("xray-lambda,baggage").0, Some(Propagators { xray: true, baggage: true, ..none }));
        assert_eq!(read("none"), (Some(none), String::new()));
        assert_eq!(read("b3,xray,jaeger"), (Some(Propagators::XRAY), "b3 jaeger".to_owned()));
        assert_eq!(read("b3"), (None, "b3".to_owned()));
    }

    #[test]
    fn only_what_is_wanted_is_read() {
        let fields = Fields::from_names(|name| match name {
            TRACEPARENT => Some(PARENT),
            TRACESTATE => Some("vendor=1"),
            _ => Some("tenant=1"),
        });
        let read = |propagators| fields.read(propagators).map(|remote| (remote.parent.is_some(), remote.baggage.is_some()));
        assert_eq!(read(Propagators::ALL), Some((true, true)));
        assert_eq!(read(Propagators { baggage: false, ..Propagators::ALL }), Some((true, false)));
        assert_eq!(read(Propagators { trace_context: false, ..Propagators::ALL }), Some((false, true)));
        assert_eq!(read(Propagators::XRAY), None);
    }

    #[test]
    fn what_came_is_handed_on() {
        let fields = Fields {
            traceparent: Some(PARENT.into()),
            tracestate: Some("a=1,b=2".into()),
            baggage: Some("k=v;p".into()),
            correlation: None,
        };
        let remote = fields.read(Propagators::ALL).expect("a caller");
        let context = remote.with_baggage(Context::new());
        assert_eq!(Fields::outgoing(Propagators::ALL, &context, remote.parent.as_ref()), fields);
        assert_eq!(Fields::outgoing(Propagators::XRAY, &context, remote.parent.as_ref()), Fields::default());
        assert_eq!(Fields::outgoing(Propagators::ALL, &Context::new(), None), Fields::default());
    }

    #[test]
    fn a_state_that_is_not_valid_costs_no_parent() {
        for state in ["", ",", "no member", "a=1,=2", "A=1", &"x".repeat(600)] {
            let fields = Fields { traceparent: Some(PARENT.into()), tracestate: Some(state.into()), ..Fields::default() };
            let parent = fields.read(Propagators::ALL).and_then(|remote| remote.parent).expect("a parent");
            assert_eq!(parent.trace_state().header(), "", "{state}");
        }
        let fields = Fields { traceparent: Some("nonsense".into()), tracestate: Some("a=1".into()), ..Fields::default() };
        assert!(fields.read(Propagators::ALL).is_none());
    }
}
