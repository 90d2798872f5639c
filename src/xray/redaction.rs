//! The values of a span that a redactor sees, and its decisions.

use super::document::as_text;
use crate::{
    notice::{self, Data, Warning},
    panics,
};
use opentelemetry::{Array, KeyValue, StringValue, Value, trace::Status};
use opentelemetry_sdk::trace::SpanData;
use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A redactor's decision about one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// The value is sent unchanged.
    Keep,
    /// This value is sent instead.
    Replace(Cow<'static, str>),
    /// Neither the key nor the value is sent.
    Remove,
}

type Decide = dyn Fn(&str, &str) -> Redaction + Send + Sync;

/// A user's function that decides about every value.
#[derive(Clone)]
pub(crate) struct Redactor(Arc<Decide>);

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    pub(crate) fn new(redactor: impl Fn(&str, &str) -> Redaction + Send + Sync + 'static) -> Self {
        Self(Arc::new(redactor))
    }

    /// The decision of the user's function. A value for which it panics is not sent, because a panic while spans are sent would
    /// end the process.
    ///
    /// A value that the function itself logs or records is not sent either, because the function would be called for it without
    /// end.
    pub(crate) fn ask(&self, key: &str, value: &str) -> Redaction {
        static REPORTED: AtomicBool = AtomicBool::new(false);
        thread_local! { static ASKING: Cell<bool> = const { Cell::new(false) }; }
        if ASKING.replace(true) {
            return Redaction::Remove;
        }
        let decided = panics::catch(|| (self.0)(key, value));
        ASKING.set(false);
        decided.unwrap_or_else(|_| {
            // Not `Once`: the line itself is redacted, so the redactor may panic again.
            if !REPORTED.swap(true, Ordering::Relaxed) {
                notice::log(Warning::RedactorPanicked, Data::name(key));
            }
            Redaction::Remove
        })
    }

    /// The redacted text; `None` if it must not be sent.
    pub(crate) fn text<'v>(&self, key: &str, text: Cow<'v, str>) -> Option<Cow<'v, str>> {
        match self.ask(key, &text) {
            Redaction::Keep => Some(text),
            Redaction::Replace(other) => Some(other),
            Redaction::Remove => None,
        }
    }

    /// The redacted type of an error. It is never empty, because Lambda requires a type.
    pub(crate) fn error_type(&self, error_type: String) -> String {
        match self.ask("exception.type", &error_type) {
            Redaction::Keep => error_type,
            Redaction::Replace(other) => other.into_owned(),
            Redaction::Remove => "Error".to_owned(),
        }
    }

    /// Redacts attributes in place.
    pub(crate) fn attributes(&self, attributes: &mut Vec<KeyValue>) {
        Pass { redactor: self, changed: 0 }.attributes(attributes, false);
    }

    /// Redacts a span in place: its name, status, attributes, events and links. Returns the number of changed values.
    pub(crate) fn span(&self, span: &mut SpanData) -> u32 {
        let mut pass = Pass { redactor: self, changed: 0 };
        pass.name("span.name", &mut span.name);
        pass.attributes(&mut span.attributes, false);
        for event in &mut span.events.events {
            let is_exception = event.attributes.iter().any(|attribute| attribute.key.as_str().starts_with("exception."));
            pass.name("event.name", &mut event.name);
            pass.attributes(&mut event.attributes, is_exception);
        }
        for link in &mut span.links.links {
            pass.attributes(&mut link.attributes, false);
        }
        if let Status::Error { description } = &mut span.status
            && !description.is_empty()
        {
            pass.name("status.description", description);
        }
        pass.changed
    }
}

/// One span's redaction.
struct Pass<'r> {
    redactor: &'r Redactor,
    changed: u32,
}

impl Pass<'_> {
    /// A required text. If it must not be sent, it becomes empty.
    fn name(&mut self, key: &str, name: &mut Cow<'static, str>) {
        match self.redactor.ask(key, name) {
            Redaction::Keep => {}
            Redaction::Replace(other) => {
                self.changed += 1;
                *name = other;
            }
            Redaction::Remove => {
                self.changed += 1;
                *name = Cow::Borrowed("");
            }
        }
    }

    fn attributes(&mut self, attributes: &mut Vec<KeyValue>, of_exception: bool) {
        attributes.retain_mut(|attribute| {
            let key = attribute.key.as_str();
            // The messages of an error's causes, as `tracing-opentelemetry` writes them.
            let is_chain =
                matches!(attribute.value, Value::Array(_)) && (key == "exception.stacktrace" || key.ends_with(".chain"));
            let key = if of_exception && is_chain { "exception.message" } else { key };
            match self.value(key, &attribute.value) {
                Changed::No => true,
                Changed::To(value) => {
                    attribute.value = value;
                    true
                }
                Changed::Gone => false,
            }
        });
    }

    fn value(&mut self, key: &str, value: &Value) -> Changed {
        let Value::Array(array) = value else {
            let text = match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                other => Cow::Owned(as_text(other)),
            };
            return match self.redactor.ask(key, &text) {
                Redaction::Keep => Changed::No,
                Redaction::Replace(other) => {
                    self.changed += 1;
                    Changed::To(Value::String(other.into()))
                }
                Redaction::Remove => {
                    self.changed += 1;
                    Changed::Gone
                }
            };
        };
        let texts: Vec<String> = match array {
            Array::Bool(values) => values.iter().map(|value| as_text(&Value::Bool(*value))).collect(),
            Array::I64(values) => values.iter().map(|value| as_text(&Value::I64(*value))).collect(),
            Array::F64(values) => values.iter().map(|value| as_text(&Value::F64(*value))).collect(),
            Array::String(values) => values.iter().map(|value| value.as_str().to_owned()).collect(),
            other => vec![other.to_string()],
        };
        let before = self.changed;
        let kept = texts.into_iter().filter_map(|text| match self.redactor.ask(key, &text) {
            Redaction::Keep => Some(StringValue::from(text)),
            Redaction::Replace(other) => {
                self.changed += 1;
                Some(StringValue::from(other))
            }
            Redaction::Remove => {
                self.changed += 1;
                None
            }
        });
        let kept: Vec<StringValue> = kept.collect();
        match self.changed == before {
            // An unchanged array keeps its type.
            true => Changed::No,
            false if kept.is_empty() => Changed::Gone,
            false => Changed::To(Value::Array(Array::String(kept))),
        }
    }
}

enum Changed {
    No,
    To(Value),
    Gone,
}
