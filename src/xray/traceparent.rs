//! W3C's [`traceparent`](https://www.w3.org/TR/trace-context-2/#traceparent-header).

use super::hex;
use opentelemetry::{
    TraceId,
    trace::{SpanContext, SpanId, TraceFlags, TraceState},
};

/// The length of version 00, and of the start of later versions.
const LENGTH: usize = 55;

/// `sampled`, and `random-trace-id` of level 2. Other flags are unknown, and are not sent on.
const KNOWN_FLAGS: u8 = 0b11;

/// Parses the caller; `None` unless the text is valid. A later version may have more fields after a dash.
pub(crate) fn parse(text: &str) -> Option<SpanContext> {
    let (head, tail) = text.trim_matches([' ', '\t']).as_bytes().split_at_checked(LENGTH)?;
    if head.iter().any(u8::is_ascii_uppercase) || [head[2], head[35], head[52]] != [b'-'; 3] {
        return None;
    }
    let version = hex::parse(&head[..2])?;
    let ends = tail.is_empty() || (version > 0 && tail[0] == b'-');
    if version == 0xff || !ends {
        return None;
    }
    let trace = TraceId::from(hex::parse(&head[3..35])?);
    let span = SpanId::from(hex::parse(&head[36..52])? as u64);
    let flags = hex::parse(&head[53..])? as u8;
    // Of a later version only this flag is known.
    let known = if version == 0 { KNOWN_FLAGS } else { 1 };
    let context = SpanContext::new(trace, span, TraceFlags::new(flags & known), true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// The `traceparent` that names `context` as the caller, in version 00.
pub(crate) fn format(context: &SpanContext) -> String {
    let mut out = String::with_capacity(LENGTH);
    out.push_str("00-");
    out.push_str(hex::text(&hex::trace_id(context.trace_id())));
    out.push('-');
    out.push_str(hex::text(&hex::span_id(context.span_id())));
    out.push_str("-0");
    out.push(char::from(b'0' + (context.trace_flags().to_u8() & KNOWN_FLAGS)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn what_is_valid_is_read() {
        for (version, flags, tail, sampled) in [
            ("00", "01", "", true),
            ("00", "00", "", false),
            ("00", "ff", "", true),
            ("00", "02", "", false),
            ("cc", "01", "", true),
            ("cc", "01", "-what-the-future-will-be-like", true),
            ("cc", "01", "-", true),
            ("fe", "0b", "", true),
        ] {
            let text = format!("{version}-{TRACE}-{SPAN}-{flags}{tail}");
            for text in [text.clone(), format!(" \t{text}\t ")] {
                let context = parse(&text).unwrap_or_else(|| panic!("{text}"));
                assert_eq!((context.trace_id().to_string(), context.span_id().to_string()), (TRACE.into(), SPAN.into()));
                assert_eq!((context.is_sampled(), context.is_remote()), (sampled, true), "{text}");
            }
        }
    }

    /// Includes cases of W3C's test suite.
    #[test]
    fn what_is_not_valid_is_nothing() {
        let zeros = "0".repeat(32);
        let valid = format!("00-{TRACE}-{SPAN}-01");
        for text in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01.future"),
            format!("cc-{TRACE}-{SPAN}-01.future"),
            format!("cc-{TRACE}-{SPAN}-010"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-01"),
            format!(".0-{TRACE}-{SPAN}-01"),
            format!("0.-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}{SPAN}-01-0000"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0."),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{}ü-{SPAN}-01", &TRACE[..30]),
            format!("{valid},{valid}"),
            format!("{valid}\n"),
            format!("\u{a0}{valid}"),
        ] {
            assert_eq!(parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for flags in ["00", "01", "02", "03"] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            assert_eq!(parse(&text).map(|context| format(&context)).as_deref(), Some(text.as_str()));
        }
    }
}
