//! The reason why a value was not decoded, without the value.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

/// The reason why a value was not decoded, without the value.
#[derive(Debug)]
pub(crate) struct Undecodable(Box<Reason>);

#[derive(Debug)]
struct Reason {
    what: Cow<'static, str>,
    /// From the innermost to the outermost step.
    path: Vec<Segment>,
    /// ` at line 1 column 2`, or nothing.
    position: String,
}

/// A step to the value that was not decoded. Keys of maps are values of the event, so they are not named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Segment {
    Field(&'static str),
    Index(usize),
    Key,
}

impl Undecodable {
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason { what: what.into(), path: Vec::new(), position: String::new() }))
    }

    pub(super) fn within(mut self, segment: Segment) -> Self {
        self.0.path.push(segment);
        self
    }

    pub(super) fn position_if_unknown(&mut self, position: &str) {
        if self.0.position.is_empty() {
            position.clone_into(&mut self.0.position);
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason { what, path, position } = &*self.0;
        if !path.is_empty() {
            f.write_char('`')?;
            for (at, segment) in path.iter().rev().enumerate() {
                match segment {
                    Segment::Index(index) => write!(f, "[{index}]")?,
                    Segment::Field(field) => write!(f, "{}{field}", if at > 0 { "." } else { "" })?,
                    Segment::Key => f.write_str(if at > 0 { ".*" } else { "*" })?,
                }
            }
            f.write_str("`: ")?;
        }
        write!(f, "{what}{position}")
    }
}

impl std::error::Error for Undecodable {}

/// The text for an error that only a type's own code knows. The original text may quote the value.
const REJECTED: &str = "the type rejects the value";

/// Texts that do not depend on the value: lambda_http's, and those that serde itself gives to [`serde::de::Error::custom`].
pub(super) const CONSTANT: [&str; 13] = [
    "this function expects a JSON payload from Amazon API Gateway, Amazon Elastic Load Balancer, or AWS Lambda Function URLs, but the data doesn't match any of those services' events",
    "invalid IP address syntax",
    "invalid IPv4 address syntax",
    "invalid IPv6 address syntax",
    "invalid socket address syntax",
    "invalid IPv4 socket address syntax",
    "invalid IPv6 socket address syntax",
    "overflow deserializing Duration",
    "overflow deserializing SystemTime",
    "overflow deserializing SystemTime epoch offset",
    "can only flatten structs and maps",
    "untagged and internally tagged enums do not support enum input",
    "value is missing",
];

/// Texts of serde's derive, up to a name. A similar text could contain any name, so it is not repeated.
const ALTERNATIVES: [(&str, &str); 2] = [
    ("data did not match any variant of untagged enum ", "data did not match any variant of the untagged enum"),
    ("no variant of enum ", "no variant of the enum was found in the flattened data"),
];

/// The text for an error that was created with [`serde::de::Error::custom`].
pub(super) fn custom_text(text: &str) -> &'static str {
    let constant = CONSTANT.iter().find(|constant| **constant == text).copied();
    let alternative = || ALTERNATIVES.iter().find(|(start, _)| text.starts_with(start)).map(|(_, said)| *said);
    constant.or_else(alternative).unwrap_or(REJECTED)
}

/// The texts of serde_json without a value in them: its `ErrorCode`s.
const SYNTAX: [&str; 22] = [
    "EOF while parsing a list",
    "EOF while parsing an object",
    "EOF while parsing a string",
    "EOF while parsing a value",
    "expected `:`",
    "expected `,` or `]`",
    "expected `,` or `}`",
    "expected ident",
    "expected value",
    "expected `\"`",
    "invalid escape",
    "invalid number",
    "number out of range",
    "invalid unicode code point",
    "control character (\\u0000-\\u001F) found while parsing a string",
    "key must be a string",
    "invalid value: expected key to be a number in quotes",
    "lone leading surrogate in hex escape",
    "trailing comma",
    "trailing characters",
    "unexpected end of hex escape",
    "recursion limit exceeded",
];

/// The text for an error of serde_json itself, with the expectation of the visitor that it called.
pub(super) fn own_text(text: &str, expected: Option<&str>) -> Cow<'static, str> {
    if let Some(constant) = SYNTAX.iter().find(|constant| **constant == text) {
        return Cow::Borrowed(constant);
    }
    let kind = ["invalid type", "invalid value", "invalid length"].into_iter().find(|kind| text.starts_with(kind));
    match (kind, expected) {
        (Some(kind), Some(expected)) => Cow::Owned(format!("{kind}, expected {expected}")),
        (Some(kind), None) => Cow::Borrowed(kind),
        (None, _) => Cow::Borrowed(REJECTED),
    }
}

/// Splits off ` at line 1 column 2`.
pub(super) fn split_position(text: &str) -> (&str, &str) {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let position = text.rfind(" at line ").filter(|at| {
        let numbers = text[*at..].strip_prefix(" at line ").and_then(|rest| rest.split_once(" column "));
        numbers.is_some_and(|(line, column)| is_number(line) && is_number(column))
    });
    position.map_or((text, ""), |at| text.split_at(at))
}
