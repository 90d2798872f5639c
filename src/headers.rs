//! The headers of an event.

use http::{HeaderMap, HeaderValue};

/// The first header of that name, in lower case. An event has few headers, and comparing all of them takes a fifth of the
/// instructions of a lookup, which checks and hashes the name.
pub(crate) fn first<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h HeaderValue> {
    headers.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_as_a_lookup_finds_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("content-type", "json"), ("lambda-runtime-trace-id", "first"), ("lambda-runtime-trace-id", "second")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        for name in ["content-type", "lambda-runtime-trace-id", "lambda-runtime-deadline-ms"] {
            assert_eq!(first(&headers, name), headers.get(name), "{name}");
        }
    }
}
