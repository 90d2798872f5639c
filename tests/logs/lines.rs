//! Log lines as fields, whichever subscriber writes them in whichever format.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The fields of one line, flat: of those with the same name the innermost counts. Values are shown as text.
pub(crate) type Fields = BTreeMap<String, String>;

pub(crate) fn fields(line: &str) -> Fields {
    match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(line) => of_json(&line),
        Err(_) => of_text(line),
    }
}

/// The members of a line of JSON, its own among them.
pub(crate) fn whole(line: &str) -> Fields {
    let mut fields = Fields::new();
    add(&mut fields, &serde_json::from_str(line).unwrap_or_default());
    fields
}

fn of_json(line: &Map<String, Value>) -> Fields {
    let mut fields = Fields::new();
    // `lambda_runtime` has the spans in a list, from the outside in.
    for span in line.get("spans").and_then(Value::as_array).into_iter().flatten() {
        add(&mut fields, span);
        fields.remove("name");
    }
    add(&mut fields, &Value::Object(line.clone()));
    add(&mut fields, line.get("fields").unwrap_or(&Value::Null));
    for own in ["spans", "span", "fields", "timestamp", "level", "target"] {
        fields.remove(own);
    }
    fields
}

fn add(fields: &mut Fields, object: &Value) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fields.insert(key.clone(), text);
    }
}

/// Every `key=value` of a line, whose values have no space unless they are in quotes.
fn of_text(line: &str) -> Fields {
    let mut fields = Fields::new();
    let mut rest = line;
    while let Some(at) = rest.find('=') {
        let key = rest[..at].rsplit([' ', '{', ':']).next().unwrap_or_default();
        let value = &rest[at + 1..];
        let (value, end) = match value.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').unwrap_or(quoted.len());
                (&quoted[..end], end + 2)
            }
            None => {
                let end = value.find([' ', '}']).unwrap_or(value.len());
                (&value[..end], end)
            }
        };
        fields.insert(key.to_owned(), value.to_owned());
        rest = rest.get(at + 1 + end..).unwrap_or_default();
    }
    fields
}
