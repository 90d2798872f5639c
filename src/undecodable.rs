//! What an error of decoding may say: what was expected and where, never what was found. The events of a function are nobody's
//! business but its own, and serde quotes them.

/// Kinds of error that quote a value, and tell after it what was expected.
const QUOTING: [&str; 5] = ["invalid type", "invalid value", "invalid length", "unknown field", "unknown variant"];

/// Beginnings of what serde and serde_json say without quoting anything but the type's own names.
const PLAIN: [&str; 14] = [
    "missing field",
    "duplicate field",
    "EOF while",
    "expected ",
    "trailing ",
    "control character",
    "invalid escape",
    "invalid number",
    "invalid unicode",
    "number out of range",
    "recursion limit",
    "key must be",
    "lone leading surrogate",
    "unexpected end of hex",
];

/// The error's text without the values in it. The words of a `Deserialize` of the user's own are left out: they may quote too.
pub(crate) fn without_values(error: &str) -> String {
    let (what, place) = error.rfind(" at line ").map_or((error, ""), |at| error.split_at(at));
    let (what, place) = if is_place(place) { (what, place) } else { (error, "") };
    let quoting = QUOTING.iter().find(|kind| what.starts_with(**kind));
    let plain = PLAIN.iter().any(|beginning| what.starts_with(beginning));
    match quoting {
        Some(kind) => format!("{kind}{}{place}", what.rfind(", expected ").map_or("", |at| &what[at..])),
        None if plain => format!("{what}{place}"),
        None => format!("the type refuses a value{place}"),
    }
}

/// ` at line 1 column 2`, and nothing after it.
fn is_place(text: &str) -> bool {
    let Some((line, column)) = text.strip_prefix(" at line ").and_then(|rest| rest.split_once(" column ")) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number(line) && is_number(column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its decoding is of interest")]
    struct Order {
        sku: String,
        quantity: u8,
        kind: Option<Kind>,
        at: Option<Picky>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Gift,
    }

    #[derive(Debug)]
    struct Picky;

    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Err(serde::de::Error::custom(format!("{text} is no date")))
        }
    }

    fn told(order: &str) -> String {
        without_values(&serde_json::from_str::<Order>(order).expect_err("no order").to_string())
    }

    #[test]
    fn no_value_is_told_and_what_was_expected_is() {
        for (order, tells) in [
            (r#"{"sku":"tea","quantity":"SECRET"}"#, "invalid type, expected u8 at line 1 column 32"),
            (r#"{"sku":"tea","quantity":"SECRET, expected SECRET"}"#, "invalid type, expected u8 at line 1 column 49"),
            (r#"{"sku":"tea","quantity":70000}"#, "invalid value, expected u8 at line 1 column 29"),
            (r#"{"SECRET":1}"#, "unknown field, expected one of `sku`, `quantity`, `kind`, `at` at line 1 column 9"),
            (r#"{"sku":"tea","kind":"SECRET"}"#, "unknown variant, expected `Gift` at line 1 column 28"),
            (r#"{"sku":"tea","at":"SECRET at line 1"}"#, "the type refuses a value at line 1 column 37"),
            (r#"{"sku":"SECRET"}"#, "missing field `quantity` at line 1 column 16"),
            (r#"{"sku":"SECRET"#, "EOF while parsing a string at line 1 column 14"),
            (r#"{"sku":"SECRET";"#, "expected `,` or `}` at line 1 column 16"),
        ] {
            assert_eq!(told(order), tells, "{order}");
        }
        assert_eq!(without_values("invalid type: string \"x at line SECRET\", expected u8"), "invalid type, expected u8");
        assert_eq!(without_values("SECRET"), "the type refuses a value");
    }
}
