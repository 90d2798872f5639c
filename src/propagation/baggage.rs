//! W3C's [Baggage](https://www.w3.org/TR/baggage/) within its limits, as a value of OpenTelemetry's context.

use super::names::{BAGGAGE, log_cut};
use opentelemetry::{
    Context,
    baggage::{Baggage, BaggageExt},
    propagation::{Extractor, Injector, TextMapPropagator},
};
use opentelemetry_sdk::propagation::BaggagePropagator;
use std::sync::{Arc, Once};

const LONGEST: usize = 8_192;
const MOST: usize = 64;

/// The baggage of a caller, which is sent on unchanged unless the function's code changes it.
#[derive(Clone, Debug)]
pub(super) struct Received(Arc<str>);

impl Received {
    /// `None` if it is empty.
    pub(super) fn read(text: &str) -> Option<Self> {
        let kept = limited(text);
        (!kept.is_empty()).then(|| Self(kept.into()))
    }

    pub(super) fn in_context(&self, context: &Context) -> Context {
        BaggagePropagator::new().extract_with_context(context, self).with_value(self.clone())
    }
}

impl Extractor for Received {
    fn get(&self, key: &str) -> Option<&str> {
        (key == BAGGAGE).then_some(&*self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![BAGGAGE]
    }
}

/// The baggage that is sent from `context`.
pub(super) fn outgoing(context: &Context) -> Option<String> {
    if context.baggage().is_empty() {
        return None;
    }
    if let Some(received) = context.get::<Received>()
        && is_same(received.in_context(&Context::new()).baggage(), context.baggage())
    {
        return Some(received.0.to_string());
    }
    let mut written = Written(String::new());
    BaggagePropagator::new().inject_context(context, &mut written);
    Some(limited(&written.0)).filter(|text| !text.is_empty())
}

fn is_same(one: &Baggage, other: &Baggage) -> bool {
    one.len() == other.len() && one.iter().all(|(key, value)| other.get_with_metadata(key) == Some(value))
}

struct Written(String);

impl Injector for Written {
    fn set(&mut self, _: &str, value: String) {
        self.0 = value;
    }
}

/// The first members, up to the number that the specification requires implementations to send on. A member that would make a
/// header invalid is left out.
fn limited(text: &str) -> String {
    let (mut kept, mut members, mut cut) = (String::new(), 0, false);
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| is_member(member)) {
        let comma = usize::from(members > 0);
        if members == MOST || kept.len() + comma + member.len() > LONGEST {
            cut = true;
            break;
        }
        if members > 0 {
            kept.push(',');
        }
        kept.push_str(member);
        members += 1;
    }
    if cut {
        static LOGGED: Once = Once::new();
        log_cut(BAGGAGE, &LOGGED);
    }
    kept
}

fn is_member(member: &str) -> bool {
    let named = member.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
    named && member.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{KeyValue, StringValue};

    #[test]
    fn members_are_in_the_context_and_leave_as_they_came() {
        let text = "tenant=a%20b,flag=x=y;property;p=1, order = 7";
        let context = Received::read(text).expect("baggage").in_context(&Context::new());
        assert_eq!(context.baggage().get("tenant").map(StringValue::as_str), Some("a b"));
        assert_eq!(outgoing(&context).as_deref(), Some("tenant=a%20b,flag=x=y;property;p=1,order = 7"));
    }

    #[test]
    fn what_the_function_adds_is_sent() {
        let context = Received::read("tenant=1").expect("baggage").in_context(&Context::new());
        let items = context.baggage().iter().map(|(key, value)| KeyValue::new(key.clone(), value.0.clone()));
        let context = context.with_baggage(items.chain([KeyValue::new("order", "a b")]).collect::<Vec<_>>());
        let sent = outgoing(&context).unwrap_or_default();
        assert!(sent.contains("tenant=1") && sent.contains("order=a%20b"), "{sent}");
        assert_eq!(outgoing(&context.with_baggage(Vec::<KeyValue>::new())), None);
    }

    #[test]
    fn beyond_the_limits_the_first_members_stay() {
        let many: Vec<String> = (0..70).map(|number| format!("k{number}=v")).collect();
        assert_eq!(limited(&many.join(",")), many[..64].join(","));
        let long = format!("a=1,b={},c=1", "x".repeat(9_000));
        assert_eq!(limited(&long), "a=1");
        let all = format!("a={}", "x".repeat(8_190));
        assert_eq!(limited(&all), all);
    }

    #[test]
    fn what_is_no_member_is_left_out() {
        assert_eq!(limited("a=1,,novalue,=1,b=ü,c=\u{7},d=2"), "a=1,d=2");
        assert!(Received::read("nothing").is_none());
    }
}
