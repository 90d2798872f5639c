//! Errors for Lambda: the headers that describe them, without the characters that a header cannot hold.

use crate::urls;
use http::HeaderValue;
use lambda_runtime::{Diagnostic, Error};
use serde::Serialize;
use std::fmt::Write as _;

pub(crate) const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
pub(crate) const ERROR_BODY: &str = "lambda-runtime-function-error-body";
pub(crate) const ERROR_CAUSE: &str = "lambda-runtime-function-xray-error-cause";

/// Lambda refuses an error of more than 6 MB, and the caller would not see it.
const LONGEST_MESSAGE: usize = 128 * 1024;

/// From a cause of more than 64 KB, Lambda keeps the working directory and drops the exception.
const LARGEST_CAUSE: usize = 64 * 1024;

pub(crate) fn panic(error_message: String) -> Diagnostic {
    Diagnostic { error_type: "Lifecycle.Panic".to_owned(), error_message }
}

/// The type of a boxed error is unknown.
pub(crate) fn of_error(error: &Error) -> Diagnostic {
    let error_message = urls::without_secrets(&error.to_string()).into_owned();
    Diagnostic { error_type: "Error".to_owned(), error_message }
}

/// The diagnostic with a message that Lambda accepts.
pub(crate) fn bounded(mut diagnostic: Diagnostic) -> Diagnostic {
    if let Some(cut) = cut(&diagnostic.error_message, LONGEST_MESSAGE) {
        diagnostic.error_message = cut;
    }
    diagnostic
}

/// The start of a text that is too long, with its length.
fn cut(text: &str, longest: usize) -> Option<String> {
    (text.len() > longest).then(|| format!("{}… ({} bytes)", &text[..text.floor_char_boundary(longest)], text.len()))
}

/// Type names of closures and generics contain characters that are invalid in a header.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).ok().filter(|value| value.to_str().is_ok()).unwrap_or_else(|| {
        let ascii: String = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '_' }).collect();
        HeaderValue::from_str(&ascii).unwrap_or(HeaderValue::from_static("Runtime.Unknown"))
    })
}

#[derive(Serialize)]
struct Cause<'a> {
    working_directory: String,
    exceptions: [Exception<'a>; 1],
    paths: [&'a str; 0],
}

#[derive(Serialize)]
struct Exception<'a> {
    r#type: &'a str,
    message: &'a str,
    stack: [&'a str; 0],
}

/// The error as X-Ray shows it in Lambda's segment, in the form that AWS's runtimes use.
pub(crate) fn xray_cause(diagnostic: &Diagnostic) -> Option<HeaderValue> {
    // Escapes make a text up to six times as long.
    for longest in [LARGEST_CAUSE, LARGEST_CAUSE / 2, LARGEST_CAUSE / 4, LARGEST_CAUSE / 8] {
        let cut = cut(&diagnostic.error_message, longest);
        let cause = Cause {
            working_directory: std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
            exceptions: [Exception {
                r#type: &diagnostic.error_type,
                message: cut.as_deref().unwrap_or(&diagnostic.error_message),
                stack: [],
            }],
            paths: [],
        };
        let cause = ascii(&serde_json::to_string(&cause).ok()?);
        if cause.len() < LARGEST_CAUSE {
            return HeaderValue::from_str(&cause).ok();
        }
    }
    None
}

/// JSON in ASCII, for a header. Control characters are already escaped.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn diagnostic(error_type: &str, message: &str) -> Diagnostic {
        Diagnostic { error_type: error_type.to_owned(), error_message: message.to_owned() }
    }

    fn cause(message: &str) -> Value {
        let cause = xray_cause(&diagnostic("orders::NoStock", message)).expect("a cause");
        assert!(cause.len() < LARGEST_CAUSE);
        serde_json::from_str(cause.to_str().expect("ASCII")).expect("JSON")
    }

    #[test]
    fn the_cause_has_the_form_of_aws_runtimes() {
        let directory = std::env::current_dir().expect("a directory");
        let expected = json!({
            "working_directory": directory,
            "exceptions": [{ "type": "orders::NoStock", "message": "no stock", "stack": [] }],
            "paths": [],
        });
        assert_eq!(cause("no stock"), expected);
    }

    #[test]
    fn a_header_holds_any_message() {
        for message in ["zwölf Stück\r\nfehlen", "\u{0}\u{7f}\u{2028}", "🦀", ""] {
            assert_eq!(cause(message)["exceptions"][0]["message"], message);
        }
    }

    #[test]
    fn a_long_message_is_cut_until_lambda_keeps_it() {
        for message in ["x".repeat(7_000_000), "🦀".repeat(100_000), "\u{1}".repeat(70_000)] {
            let cut = cause(&message)["exceptions"][0]["message"].as_str().expect("a message").to_owned();
            assert!(cut.len() > 5_000 && cut.contains("bytes)"), "{}", cut.len());
        }
        let bounded = bounded(diagnostic("Error", &"ü".repeat(4_000_000)));
        assert!(bounded.error_message.len() < LONGEST_MESSAGE + 40);
    }

    #[test]
    fn any_type_name_fits_into_a_header() {
        assert_eq!(header_value("orders::NoStock"), "orders::NoStock");
        assert_eq!(header_value("a<dyn Fn(), [T; 3]>"), "a<dyn Fn(), [T; 3]>");
        assert_eq!(header_value("Größe\n"), "Gr__e_");
    }
}
