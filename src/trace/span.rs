//! The invocation's own span. It is attached by context, so that it depends neither on filters nor on the runtime's endless
//! `worker` span.

use super::{
    Trigger,
    blocked::report_begun_late,
    tracer::{self, Span, TRACER, exception},
};
use crate::{
    Environment, Invocation, durable,
    invocation::{Notes, Outcome},
};
use opentelemetry::{
    Context, KeyValue,
    trace::{Event, Link, SpanBuilder, SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::trace::SpanData;
use std::time::SystemTime;

/// The context of an invocation that is recorded, with its span started in it.
///
/// Names and attributes follow OpenTelemetry's conventions for
/// [FaaS](https://opentelemetry.io/docs/specs/semconv/faas/faas-spans/) and
/// [AWS Lambda](https://opentelemetry.io/docs/specs/semconv/faas/aws-lambda/).
pub(crate) fn begin(invocation: &Invocation, trigger: Trigger, event: &[u8]) -> Context {
    let environment = Environment::current();
    let mut attributes = Vec::with_capacity(12);
    attributes.push(KeyValue::new("faas.invocation_id", invocation.request_id().to_owned()));
    attributes.push(KeyValue::new("faas.trigger", trigger.as_faas_trigger()));
    attributes.push(KeyValue::new("faas.coldstart", invocation.is_cold_start()));
    attributes.push(KeyValue::new("aws.lambda.invoked_arn", invocation.invoked_function_arn().to_owned()));
    // The prefix marks an attribute as an annotation.
    attributes.push(KeyValue::new("annotation.cold_start", invocation.is_cold_start()));
    if invocation.is_restored() {
        attributes.push(KeyValue::new("annotation.restored", true));
    }
    attributes.push(KeyValue::new("annotation.trigger", trigger.as_str()));
    attributes.push(KeyValue::new("annotation.version", environment.function_version.as_str()));
    if let Some(alias) = alias(invocation.invoked_function_arn(), &environment.function_version) {
        attributes.push(KeyValue::new("annotation.alias", alias.to_owned()));
    }
    if let Some(tenant) = invocation.tenant_id() {
        attributes.push(KeyValue::new("annotation.tenant", tenant.to_owned()));
    }
    if let Some(id) = invocation.correlation_id() {
        attributes.push(KeyValue::new("annotation.correlation_id", id));
    }

    if trigger == Trigger::DurableExecution {
        durable::of_event(event, &mut attributes);
        invocation.set_durable();
    }

    let parent = invocation.context_without_span();
    let span = SpanBuilder::from_name(name(environment)).with_kind(SpanKind::Server).with_attributes(attributes);
    let links = invocation.linked().map(|caller| Link::with_context(caller.clone())).into_iter().collect();
    let wanted = invocation.wanted();
    let span = TRACER.prepare(span.with_links(links), &parent, wanted);
    let shared = invocation.shared();
    // Sent before the handler, not when it first waits: a handler that aborts or runs out of memory without waiting would leave
    // nothing. It is not sent from another thread either, because with `panic = "abort"` a handler that panics at once would be
    // faster.
    if shared.settings.in_progress && wanted.xray {
        shared.destinations.documents().announce(&span, &invocation.frame(span.span_context.trace_id()));
    }
    let span = Span::open(invocation, span, wanted);
    if shared.is_cut_off() {
        // Only this reports how it ended.
        report_begun_late(shared);
    }
    parent.with_span(span)
}

/// Ends the invocation's span with all recorded facts.
pub(crate) fn finish(context: &Context, invocation: &Invocation) {
    let mut notes = invocation.notes();
    invocation.spans().change_own(|span| notes.conclude(span));
    // If the span was already reported, nothing else can use the notes.
    notes.concluded = true;
    drop(notes);
    context.span().end();
}

impl Notes {
    /// How many calls that sent messages carried a trace that is not sampled, since this was last asked.
    #[cfg(feature = "aws-sdk")]
    pub(crate) fn take_unsampled_sends(&mut self) -> Option<KeyValue> {
        self.sends.take_beyond().map(|sends| KeyValue::new("annotation.sends_not_sampled", sends))
    }

    #[cfg(not(feature = "aws-sdk"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) fn take_unsampled_sends(&mut self) -> Option<KeyValue> {
        None
    }

    /// Adds the notes to the invocation's span, once.
    pub(super) fn describe(&mut self, span: &mut SpanData) {
        for attribute in self.attributes.drain(..) {
            tracer::set(span, attribute);
        }
        if let Some(status) = self.http_status.take() {
            tracer::set(span, KeyValue::new("http.response.status_code", i64::from(status)));
        }
        for annotation in self.annotations.drain(..) {
            tracer::set(span, annotation);
        }
    }

    /// Adds the outcome and the notes to the invocation's span, once.
    pub(super) fn conclude(&mut self, span: &mut SpanData) {
        if std::mem::replace(&mut self.concluded, true) {
            return;
        }
        let status = self.http_status;
        let word = self.outcome_word();
        if let Some(word) = word {
            tracer::set(span, KeyValue::new("annotation.outcome", word));
        }
        self.describe(span);
        if let Some(sends) = self.take_unsampled_sends() {
            tracer::set(span, sends);
        }
        if let Some(diagnostic) = self.outcome.as_ref().and_then(Outcome::diagnostic) {
            let event = exception(diagnostic.error_type.clone(), diagnostic.error_message.clone());
            // First, so that logged errors leave room for it in the document.
            span.events.events.insert(0, Event::new("exception", SystemTime::now(), event, 0));
            tracer::set(span, KeyValue::new("error.type", diagnostic.error_type.clone()));
        }
        match self.outcome {
            Some(Outcome::Responded) if status.is_some_and(|status| status >= 500) => tracer::set_status(span, Status::error("")),
            Some(Outcome::Responded) if self.execution_failed => tracer::set_status(span, Status::error("")),
            Some(Outcome::Responded) => {}
            _ => tracer::set_status(span, word.map_or(Status::Unset, Status::error)),
        }
    }
}

fn name(environment: &'static Environment) -> &'static str {
    if environment.function_name.is_empty() { "invocation" } else { &environment.function_name }
}

/// The qualifier of the invoked ARN, if it is an alias and not a version.
fn alias<'arn>(arn: &'arn str, version: &str) -> Option<&'arn str> {
    let (seventh, _) = arn.bytes().enumerate().filter(|(_, byte)| *byte == b':').nth(6)?;
    let qualifier = arn.starts_with("arn:").then(|| &arn[seventh + 1..])?;
    let alias = qualifier != version && qualifier != "$LATEST" && !qualifier.is_empty();
    alias.then_some(qualifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_told_from_a_version() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:orders";
        assert_eq!(alias(arn, "7"), None);
        assert_eq!(alias(&format!("{arn}:live"), "7"), Some("live"));
        assert_eq!(alias(&format!("{arn}:7"), "7"), None);
        assert_eq!(alias(&format!("{arn}:$LATEST"), "$LATEST"), None);
        assert_eq!(alias("nonsense", "7"), None);
    }
}
