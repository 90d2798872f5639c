//! Removes secrets from URLs in the texts of errors. A client's error quotes the URL that it called, with credentials and query.

use memchr::memmem;
use std::borrow::Cow;

/// The text with each URL cut to scheme, host, port and path.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let text = without_credentials_and_query(text);
    if memmem::find(text.as_bytes(), b"Url {").is_some() { Cow::Owned(without_debug_fields(&text)) } else { text }
}

fn without_credentials_and_query(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    while let Some(found) = memmem::find(&text.as_bytes()[copied..], b"://") {
        let colon = copied + found;
        let rest = colon + 3;
        out.push_str(&text[copied..rest]);
        let end = text[rest..].find(ends_url).map_or(text.len(), |at| rest + at);
        let has_scheme = text.as_bytes()[..colon].last().is_some_and(u8::is_ascii_alphanumeric);
        if has_scheme {
            push_host_and_path(&mut out, &text[rest..end]);
        } else {
            out.push_str(&text[rest..end]);
        }
        copied = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Characters that a URL does not contain, or that quote it.
fn ends_url(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || matches!(letter, '"' | '\'' | '<' | '>' | '`' | '\\')
}

/// Characters that can follow a URL in a sentence.
fn ends_phrase(letter: char) -> bool {
    matches!(letter, ')' | ']' | '}' | ',' | '.' | ';' | ':' | '!')
}

/// Appends host, port and path of `user:password@host:port/path?query#fragment`, and the punctuation after it.
fn push_host_and_path(out: &mut String, url: &str) {
    let url = match url[..authority(url)].rfind('@') {
        Some(at) => &url[at + 1..],
        // A password with a slash or a question mark in it, which should be escaped.
        None if !is_host(&url[..authority(url)]) => match url.rfind('@') {
            Some(at) => &url[at + 1..],
            None => {
                let host = url.find(':').unwrap_or(url.len());
                out.push_str(&url[..host]);
                return;
            }
        },
        None => url,
    };
    let kept = url.find(['?', '#']).unwrap_or(url.len());
    out.push_str(&url[..kept]);
    if kept < url.len() {
        out.push_str(&url[url.trim_end_matches(ends_phrase).len().max(kept)..]);
    }
}

fn authority(url: &str) -> usize {
    url.find(['/', '?', '#']).unwrap_or(url.len())
}

/// True for `host`, `host:port`, `[::1]:port`, and lists of them, which databases use. False for `user:password`.
fn is_host(authority: &str) -> bool {
    authority.trim_end_matches(ends_phrase).split(',').all(|one| {
        let port = match one.rfind(']') {
            Some(bracket) => one[bracket + 1..].strip_prefix(':'),
            None => one.split_once(':').map(|(_, port)| port),
        };
        port.is_none_or(|port| port.trim_end_matches(ends_phrase).bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// The fields that hold secrets in the `Debug` output of a parsed URL.
const DEBUG_FIELDS: [&str; 4] = ["username: \"", "password: Some(\"", "query: Some(\"", "fragment: Some(\""];

fn without_debug_fields(text: &str) -> String {
    let mut text = text.to_owned();
    for field in DEBUG_FIELDS {
        let mut from = 0;
        while let Some(found) = text[from..].find(field) {
            let start = from + found + field.len();
            let mut escaped = false;
            let end = text[start..].find(|letter| {
                let ends = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                ends
            });
            let end = end.map_or(text.len(), |at| start + at);
            text.replace_range(start..end, "");
            from = start;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_a_text_is_cut_to_scheme_host_and_path() {
        for (text, cut) in [
            (
                "error sending request for url (http://user:SECRET@127.0.0.1:1/path?token=SECRET)",
                "error sending request for url (http://127.0.0.1:1/path)",
            ),
            ("https://api.example.com/v1/orders?key=SECRET: timed out", "https://api.example.com/v1/orders: timed out"),
            ("https://api.example.com?key=SECRET", "https://api.example.com"),
            ("https://api.example.com/#SECRET", "https://api.example.com/"),
            ("\"https://SECRET@host/a?b=SECRET\", and 'http://host/?SECRET'", "\"https://host/a\", and 'http://host/'"),
            (
                "postgres://app:SECRET@db.internal:5432/orders?sslmode=require refused",
                "postgres://db.internal:5432/orders refused",
            ),
            ("mongodb://h1:27017,h2:27017/db?x=SECRET", "mongodb://h1:27017,h2:27017/db"),
            ("redis://:SECRET@cache:6379/0", "redis://cache:6379/0"),
            ("amqp://app:SEC/RET@queue/vhost", "amqp://queue/vhost"),
            ("amqp://app:SEC?RET@queue/vhost", "amqp://queue/vhost"),
            ("http://app:SECRET", "http://app"),
            ("http://a:SECRET@b@host/x", "http://host/x"),
            ("https://[2001:db8::1]:8443/x?SECRET", "https://[2001:db8::1]:8443/x"),
            ("two: http://a/?SECRET, http://b/?SECRET.", "two: http://a/, http://b/."),
            ("https://www.npmjs.com/@scope/package", "https://www.npmjs.com/@scope/package"),
            ("http://host:80: connection refused", "http://host:80: connection refused"),
            ("(see http://host:80)", "(see http://host:80)"),
            ("no URL: a://", "no URL: a://"),
            ("a :// b", "a :// b"),
            ("größe://ü?SECRET ü", "größe://ü ü"),
            (
                r#"Url { scheme: "http", username: "SECRET", password: Some("SEC\"RET"), path: "/p", query: Some("a=SECRET") }"#,
                r#"Url { scheme: "http", username: "", password: Some(""), path: "/p", query: Some("") }"#,
            ),
        ] {
            assert_eq!(without_secrets(text), cut, "{text}");
        }
        assert!(matches!(without_secrets("nothing to cut: {} a:b"), Cow::Borrowed(_)));
    }
}
