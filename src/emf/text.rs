//! Names and values in the characters that CloudWatch accepts.

use std::borrow::Cow;

/// The most characters of a metric's or a dimension's name.
const NAME: usize = 255;
/// The most characters of a dimension's value.
const VALUE: usize = 1024;

/// The name of a metric or a dimension. CloudWatch accepts ASCII, so other characters become `_`. `None` for an empty name, and
/// for one that the format itself uses.
pub(crate) fn name(text: &str) -> Option<Cow<'_, str>> {
    let name = ascii(text.trim(), NAME);
    let taken = name.is_empty() || name == "_aws";
    // A name may not begin with a colon.
    let name = if name.starts_with(':') { Cow::Owned(name.replacen(':', "_", 1)) } else { name };
    (!taken).then_some(name)
}

/// The value of a dimension. `None` if it is empty.
pub(crate) fn value(text: &str) -> Option<Cow<'_, str>> {
    let value = ascii(text.trim(), VALUE);
    (!value.is_empty()).then_some(value)
}

/// True for a namespace that CloudWatch accepts from its customers.
pub(crate) fn is_namespace(text: &str) -> bool {
    let is_valid = |letter: u8| letter.is_ascii_alphanumeric() || b".-_/#: ".contains(&letter);
    (1..=NAME).contains(&text.len())
        && text.bytes().all(is_valid)
        && text.bytes().any(|letter| letter != b' ')
        && !text.starts_with("AWS/")
        && !text.starts_with(':')
}

fn ascii(text: &str, most: usize) -> Cow<'_, str> {
    let is_printable = |letter: char| letter.is_ascii() && !letter.is_ascii_control();
    if text.len() <= most && text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(most).map(|letter| if is_printable(letter) { letter } else { '_' }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_what_cloudwatch_takes() {
        assert_eq!(name("Orders Placed"), Some("Orders Placed".into()));
        assert_eq!(name(" Größe\n:x "), Some("Gr__e_:x".into()));
        assert_eq!(name(":colon"), Some("_colon".into()));
        assert_eq!(name("€".repeat(300).as_str()).map(|name| name.len()), Some(255));
        assert_eq!((name(""), name("  \t"), name("_aws"), value("\n")), (None, None, None, None));
        assert_eq!(value("x".repeat(3_000).as_str()).map(|value| value.len()), Some(1024));
    }

    #[test]
    fn namespaces_of_aws_and_empty_ones_are_refused() {
        for valid in ["Shop", "my.shop/orders-eu_1#a b:c", "AWSome"] {
            assert!(is_namespace(valid), "{valid}");
        }
        let long = "x".repeat(256);
        for invalid in ["", " ", "AWS/Lambda", ":shop", "Läden", "a\nb", &long] {
            assert!(!is_namespace(invalid), "{invalid}");
        }
    }
}
