//! Annotations, links and metadata.

use std::borrow::Cow;

use opentelemetry::{Array, KeyValue, Value, trace::Status};

use super::{
    attributes::{Mapping, Slot},
    cause,
    json::{self, quoted},
    name::{annotation_key, metadata_key},
    render::{Level, Render},
};
use crate::xray::hex;

const MAX_ANNOTATIONS: usize = 50;
const MAX_ANNOTATION: usize = 1_000;
const MAX_LINKS: usize = 20;
const MAX_EVENTS: usize = 128;
const PREFIX: &str = "annotation.";

fn spelling(key: &str) -> Cow<'_, str> {
    annotation_key(key.strip_prefix(PREFIX).unwrap_or(key))
}

impl Render<'_> {
    pub(super) fn annotations(&mut self) {
        let span = self.span;
        let listed = self.get(Slot::Annotations).map(|attribute| &attribute.value);
        let chosen = |key: &str, options: &[Cow<'static, str>]| {
            key.starts_with(PREFIX)
                || !options.is_empty() && options.binary_search_by(|option| option.as_ref().cmp(key)).is_ok()
                || match listed {
                    Some(Value::Array(Array::String(keys))) => keys.iter().any(|listed| listed.as_str() == key),
                    Some(Value::String(listed)) => listed.as_str() == key,
                    _ => false,
                }
        };
        self.mappings.mark_used(Slot::Annotations);
        // The written keys, to find a second one with the same spelling.
        let mut written = Vec::new();
        for (at, attribute) in span.attributes.iter().enumerate() {
            let mapping = self.mappings.of[at];
            if mapping == Mapping::Superseded || !chosen(attribute.key.as_str(), &self.options.annotations) {
                continue;
            }
            let key = attribute.key.as_str();
            let clean = spelling(key);
            let is_moved = written.len() == MAX_ANNOTATIONS || matches!(attribute.value, Value::Array(_));
            if is_moved || written.contains(&clean) {
                self.report.moved += 1;
                continue;
            }
            if written.is_empty() {
                json::key(self.out, quoted!("annotations" "{"));
            }
            json::comma(self.out);
            json::string(self.out, &clean);
            self.out.push(b':');
            let cut = self.report.cut;
            self.value(&attribute.value, MAX_ANNOTATION);
            self.report.sanitized += u32::from(matches!(clean, Cow::Owned(_)));
            written.push(clean);
            // A value that was cut is metadata too.
            if mapping == Mapping::Unmapped && self.report.cut == cut {
                self.mappings.of[at] = Mapping::Annotation;
            }
        }
        if !written.is_empty() {
            self.out.push(b'}');
        }
    }

    pub(super) fn links(&mut self) {
        let before = self.out.len();
        json::key(self.out, quoted!("links" "["));
        let body = self.out.len();
        let mut written = 0;
        for link in &self.span.links.links {
            if !link.span_context.is_valid() || written == MAX_LINKS || self.is_over() {
                self.report.left_out += 1;
                continue;
            }
            written += 1;
            json::comma(self.out);
            self.out.push(b'{');
            json::key(self.out, quoted!("trace_id"));
            json::plain(self.out, &hex::xray_trace_id(link.span_context.trace_id()));
            json::key(self.out, quoted!("id"));
            json::plain(self.out, &hex::span_id(link.span_context.span_id()));
            if self.level < Level::NoAnnotations {
                let attributes = self.open(quoted!("attributes" "{"));
                for attribute in &link.attributes {
                    self.pair(attribute, MAX_ANNOTATION);
                }
                self.close(&attributes);
            }
            self.out.push(b'}');
        }
        if self.out.len() == body {
            self.out.truncate(before);
        } else {
            self.out.push(b']');
        }
    }

    /// `default` has the attributes without a separate field, `otel` the data that only OpenTelemetry has, and `lambda_lifecycle`
    /// the counts of missing data.
    pub(super) fn metadata(&mut self, renamed: bool) {
        // There are fields before it.
        let metadata = self.open_as(quoted!("metadata" "{"));
        if self.level < Level::NoMetadata {
            let default = self.open_as("\"default\":{");
            let span = self.span;
            for (at, attribute) in span.attributes.iter().enumerate() {
                let written = match self.mappings.of[at] {
                    Mapping::Field(slot) => self.mappings.is_used(slot),
                    Mapping::Unmapped => false,
                    Mapping::Annotation | Mapping::Superseded => true,
                };
                if !written && !self.is_over() {
                    self.pair(attribute, self.value_limit());
                }
            }
            self.close(&default);
            self.otel(renamed);
        }
        if self.frame.left_out > 0 || self.level > Level::Full {
            self.ours();
        }
        self.close(&metadata);
    }

    fn ours(&mut self) {
        json::key(self.out, quoted!("lambda_lifecycle" "{"));
        self.count(quoted!("spans_left_out"), self.frame.left_out);
        if self.level > Level::Full {
            let shed: [&[u8]; 6] =
                [b"\"values\"", b"\"metadata\"", b"\"stacks\"", b"\"annotations\"", b"\"links\"", b"\"fields\""];
            json::key(self.out, quoted!("truncated" "["));
            for part in &shed[..self.level as usize] {
                json::comma(self.out);
                self.out.extend_from_slice(part);
            }
            self.out.push(b']');
        }
        self.out.push(b'}');
    }

    fn otel(&mut self, renamed: bool) {
        let span = self.span;
        let valid = span.links.iter().filter(|link| link.span_context.is_valid()).count();
        let dropped_links = span.links.dropped_count.saturating_add(valid.saturating_sub(MAX_LINKS) as u32);
        let dropped = [span.dropped_attributes_count, span.events.dropped_count, dropped_links];
        if !renamed && !self.undescribed_status && span.events.is_empty() && dropped == [0; 3] {
            return;
        }
        let otel = self.open(quoted!("otel" "{"));
        if renamed {
            let name = self.span_name();
            if !name.is_empty() {
                json::key(self.out, quoted!("name"));
                self.report.cut += u32::from(json::cut_string(self.out, &name, self.value_limit()));
            }
        }
        if self.undescribed_status
            && let Status::Error { description } = &span.status
        {
            json::key(self.out, quoted!("status_description"));
            self.report.cut += u32::from(json::cut_string(self.out, description, self.value_limit()));
        }
        self.events();
        for (key, number) in
            [quoted!("dropped_attributes"), quoted!("dropped_events"), quoted!("dropped_links")].into_iter().zip(dropped)
        {
            self.count(key, number);
        }
        self.close(&otel);
    }

    /// Events other than exceptions, and the other attributes of an exception's event.
    fn events(&mut self) {
        let before = self.out.len();
        json::key(self.out, quoted!("events" "["));
        let body = self.out.len();
        let mut written = 0;
        for event in &self.span.events.events {
            let exception = cause::is_exception(event);
            let is_in_cause = |attribute: &&KeyValue| exception && cause::in_exception(event, attribute);
            if cause::is_only_exception(event) {
                continue;
            }
            if written == MAX_EVENTS || self.is_over() {
                self.report.left_out += 1;
                continue;
            }
            written += 1;
            json::comma(self.out);
            self.out.push(b'{');
            json::key(self.out, quoted!("name"));
            self.report.cut += u32::from(json::cut_string(self.out, &event.name, self.value_limit()));
            json::key(self.out, quoted!("time"));
            json::time(self.out, event.timestamp);
            let attributes = self.open(quoted!("attributes" "{"));
            for attribute in event.attributes.iter().filter(|attribute| !is_in_cause(attribute)) {
                self.pair(attribute, self.value_limit());
            }
            self.close(&attributes);
            self.out.push(b'}');
        }
        if self.out.len() == body {
            self.out.truncate(before);
        } else {
            self.out.push(b']');
        }
    }

    fn pair(&mut self, attribute: &KeyValue, limit: usize) {
        self.report.sanitized += u32::from(metadata_key(self.out, attribute.key.as_str()));
        self.value(&attribute.value, limit);
    }

    fn value_limit(&self) -> usize {
        if self.level == Level::Full { super::MAX_DOCUMENT } else { 500 }
    }

    fn count(&mut self, key: &'static str, number: u32) {
        if number > 0 {
            json::key(self.out, key);
            json::unsigned(self.out, u64::from(number));
        }
    }
}
