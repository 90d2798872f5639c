use super::{
    undecodable::{CONSTANT, split_position},
    *,
};
use serde::de::{Error as _, Unexpected};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its decoding is of interest")]
struct Order {
    sku: String,
    #[serde(default, alias = "count")]
    quantity: u8,
    kind: Option<Kind>,
    at: Option<Picky>,
    lines: Option<Vec<Line>>,
    prices: Option<BTreeMap<String, Line>>,
    by_number: Option<BTreeMap<u8, u8>>,
    either: Option<Either>,
    tagged: Option<Tagged>,
    flat: Option<Flat>,
    nothing: Option<Nothing>,
    newtype: Option<Wrapper>,
    pair: Option<(u8, u8)>,
    ip: Option<std::net::IpAddr>,
    raw: Option<Box<serde_json::value::RawValue>>,
    any: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "as above")]
struct Line {
    net: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "as above")]
struct Wrapper(u8);

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "as above")]
enum Kind {
    Gift,
    Sized { width: u8 },
    Numbered(u8, u8),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "as above")]
enum Either {
    Number(u8),
    Line(Line),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
#[allow(dead_code, reason = "as above")]
enum Tagged {
    Line(Line),
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "as above")]
struct Flat {
    own: Option<u8>,
    #[serde(flatten)]
    rest: Line,
}

/// A type whose own errors look like serde's.
#[derive(Debug)]
struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let forms = [
            format!("expected a date, got {text}"),
            format!("invalid number {text}"),
            format!("missing field in {text}"),
            format!("missing field `{text}`"),
            format!("number out of range: {text}"),
            format!("trailing text {text}"),
            format!("invalid value: {text}, expected {text}"),
            format!("invalid type: string \"{text}\", expected {text}"),
            format!("unknown field `x`, expected `{text}`"),
            format!("data did not match any variant of untagged enum {text}"),
            format!("{text} at line 1 column 2"),
            text.clone(),
        ];
        match text.bytes().last().map(|digit| digit - b'a') {
            Some(form) if usize::from(form) < forms.len() => Err(D::Error::custom(&forms[usize::from(form)])),
            Some(12) => Err(D::Error::invalid_value(Unexpected::Str(&text), &format!("no {text}").as_str())),
            _ => Err(D::Error::invalid_value(Unexpected::Str(&text), &"a date")),
        }
    }
}

fn message(order: &str) -> String {
    from_str::<Order>(order).expect_err("no order").to_string()
}

#[test]
fn a_decode_error_says_what_was_expected_and_where_and_never_what_was_found() {
    for (order, expected) in [
        (r#"{"sku":"tea","quantity":"SECRET"}"#, "`quantity`: invalid type, expected u8"),
        (r#"{"sku":"tea","quantity":"SECRET, expected SECRET"}"#, "`quantity`: invalid type, expected u8"),
        (r#"{"sku":"tea","quantity":70000}"#, "`quantity`: invalid value, expected u8"),
        (r#"{"sku":"tea","count":70000}"#, "`count`: invalid value, expected u8"),
        (r#"{"sku":"tea","qu\u0061ntity":"SECRET"}"#, "`quantity`: invalid type, expected u8"),
        (r#"{"sku":"tea","kind":"SECRET"}"#, "`kind`: unknown variant, expected one of `Gift`, `Sized`, `Numbered`"),
        (r#"{"sku":"tea","kind":{"Sized":{"width":"SECRET"}}}"#, "`kind.width`: invalid type, expected u8"),
        (r#"{"sku":"tea","kind":{"Numbered":[1,"SECRET"]}}"#, "`kind[1]`: invalid type, expected u8"),
        (r#"{"sku":"SECRET","sku":"SECRET"}"#, "duplicate field `sku`"),
        (r#"{"sku":"tea","nothing":{"a, expected SECRET":1}}"#, "`nothing`: unknown field, there are no fields"),
        (r#"{"sku":"tea","lines":[{"net":1},{"net":"SECRET"}]}"#, "`lines[1].net`: invalid type, expected u8"),
        (r#"{"sku":"tea","lines":[{"gross":"SECRET"}]}"#, "`lines[0]`: missing field `net`"),
        (r#"{"sku":"tea","prices":{"SECRET":{"net":"SECRET"}}}"#, "`prices.*.net`: invalid type, expected u8"),
        (r#"{"sku":"tea","by_number":{"SECRET":1}}"#, "`by_number`: invalid value: expected key to be a number in quotes"),
        (r#"{"sku":"tea","either":"SECRET"}"#, "`either`: data did not match any variant of the untagged enum"),
        (r#"{"sku":"tea","tagged":{"type":"SECRET"}}"#, "`tagged.*`: unknown variant, expected `Line`"),
        (r#"{"sku":"tea","tagged":{"type":"Line","net":"SECRET"}}"#, "`tagged`: invalid type, expected u8"),
        (r#"{"sku":"tea","flat":{"net":"SECRET"}}"#, "`flat`: invalid type, expected u8"),
        (r#"{"sku":"tea","newtype":"SECRET"}"#, "`newtype`: invalid type, expected u8"),
        (r#"{"sku":"tea","pair":[1,2,"SECRET"]}"#, "`pair`: trailing characters"),
        (r#"{"sku":"tea","pair":[1]}"#, "`pair`: invalid length, expected a tuple of size 2"),
        (r#"{"sku":"tea","ip":"SECRET"}"#, "`ip`: invalid IP address syntax"),
        (r#"{"sku":"tea"}"SECRET""#, "trailing characters"),
        (r#"{"sku":"SECRET"#, "`sku`: EOF while parsing a string"),
        (r#"{"sku":"SECRET";"#, "expected `,` or `}`"),
        (r#"{"sku":"tea","any":{"SECRET":SECRET"#, "`any.*`: expected value"),
        (r#""SECRET""#, "invalid type, expected struct Order"),
        (r#"{"quantity":1}"#, "missing field `sku`"),
    ] {
        let message = message(order);
        let (what, position) = split_position(&message);
        assert_eq!(what, expected, "{order}");
        assert!(position.starts_with(" at line 1 column "), "{order}: {message}");
    }
    let unknown = message(r#"{"SECRET":1}"#);
    assert!(unknown.starts_with("unknown field, expected one of `sku`, `") && !unknown.contains("SECRET"), "{unknown}");
    let deep = message(&format!(r#"{{"sku":"tea","any":{}"#, "[".repeat(1_000)));
    assert!(deep.contains("recursion limit exceeded"), "{deep}");
}

#[test]
fn the_text_of_a_custom_error_is_left_out_however_it_begins() {
    for form in "abcdefghijklmn".chars() {
        let message = message(&format!(r#"{{"sku":"tea","at":"SECRET{form}"}}"#));
        assert!(
            !message.contains("SECRET") && message.starts_with("`at`: ") && message.ends_with(" at line 1 column 28"),
            "{form}: {message}"
        );
    }
    assert_eq!(message(r#"{"sku":"tea","at":"SECRETa"}"#), "`at`: the type rejects the value at line 1 column 28");
    assert_eq!(message(r#"{"sku":"tea","at":"SECRETz"}"#), "`at`: invalid value, expected a date at line 1 column 28");
}

#[test]
fn what_decodes_decodes_to_the_same_value() {
    let order = r#"{"sku":"t\u00e9","count":3,"kind":{"Sized":{"width":7}},"lines":[{"net":1}],"prices":{"a":{"net":2}},
        "by_number":{"7":8},"either":{"net":1},"tagged":{"type":"Line","net":3},"flat":{"own":1,"net":4},"nothing":{},
        "newtype":5,"pair":[1,2],"ip":"::1","raw":{"a": [1, 2]},"any":{"a":[1,-2,2.5,null,true,"x",{"b":18446744073709551615}]}}"#;
    let expected: Order = serde_json::from_str(order).expect("an order");
    assert_eq!(format!("{:?}", from_str::<Order>(order).expect("an order")), format!("{expected:?}"));
    assert_eq!(from_str::<u128>("340282366920938463463374607431768211455").expect("a number"), u128::MAX);
    assert_eq!(from_str::<i128>("-170141183460469231731687303715884105728").expect("a number"), i128::MIN);
}

#[test]
fn what_lambda_http_says_of_an_event_of_something_else_stays() {
    for constant in CONSTANT {
        assert_eq!(Undecodable::custom(constant).to_string(), constant);
    }
    #[cfg(feature = "http")]
    {
        let error = from_str::<lambda_http::request::LambdaRequest>(r#"{"Records":["SECRET"]}"#).expect_err("no request");
        assert!(error.to_string().starts_with("this function expects a JSON payload from Amazon API Gateway"), "{error}");
    }
}

#[test]
fn a_types_name_is_shown_without_its_modules() {
    assert_eq!(type_name::<Order>(), "Order");
    assert_eq!(type_name::<Option<Vec<BTreeMap<String, Order>>>>(), "Option<Vec<BTreeMap<String, Order>>>");
    assert_eq!(type_name::<(u8, &[Order])>(), "(u8, &[Order])");
}
