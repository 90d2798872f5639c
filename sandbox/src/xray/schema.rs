//! AWS's published schema of segment documents, compiled once.

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Value, json};
use std::sync::LazyLock;

const OFFICIAL: &str = include_str!("../../schema/xray-segmentdocument-schema-v1.0.0.json");

/// The name pattern alone takes longer to compile than a document takes to send, so only a receiver compiles it.
static VALIDATORS: LazyLock<Result<Validators, String>> = LazyLock::new(Validators::compile);

struct Validators {
    document: Validator,
    /// The schema's `definitions.subsegment`, which it applies to nested subsegments only.
    subsegment: Validator,
}

impl Validators {
    fn compile() -> Result<Self, String> {
        let official: Value = serde_json::from_str(OFFICIAL).map_err(|error| error.to_string())?;
        let subsegment = json!({
            "$schema": official["$schema"],
            "$ref": "#/definitions/subsegment",
            "definitions": official["definitions"],
        });
        let compile = |schema| jsonschema::draft4::new(schema).map_err(|error| error.to_string());
        Ok(Self { document: compile(&official)?, subsegment: compile(&subsegment)? })
    }
}

/// Compiles the schema, if it is not yet: with a debug build that takes a quarter of a second.
pub(crate) fn compile() {
    LazyLock::force(&VALIDATORS);
}

/// Adds a reason for everything in `document` that the schema forbids.
///
/// A document with `"type": "subsegment"` must satisfy both the document schema and the one of nested subsegments: the former does
/// not know `aws.operation`, `namespace` or `sql`.
pub(super) fn validate(document: &Value, reasons: &mut Vec<String>) {
    let validators = match &*VALIDATORS {
        Ok(validators) => validators,
        Err(error) => {
            reasons.push(format!("the schema of segment documents cannot be compiled: {error}"));
            return;
        }
    };
    let mut add = |error: ValidationError<'_>| {
        let reason = describe(&error);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    validators.document.iter_errors(document).for_each(&mut add);
    if document["type"] == "subsegment" {
        validators.subsegment.iter_errors(document).for_each(&mut add);
    }
}

fn describe(error: &ValidationError<'_>) -> String {
    let path = error.instance_path().as_str();
    let place = if path.is_empty() { "the document" } else { path };
    match error.kind() {
        // `cause` is an id or an object: report the errors of the variant with the deepest one, which is the intended variant.
        ValidationErrorKind::OneOfNotValid { context } => context
            .iter()
            .flatten()
            .max_by_key(|inner| inner.instance_path().as_str().len())
            .map_or_else(|| format!("schema: {place}: not valid"), describe),
        // The pattern of names is eight kilobytes long.
        ValidationErrorKind::Pattern { .. } => {
            format!("schema: {place}: {} does not match the pattern", brief(error.instance()))
        }
        _ => format!("schema: {place}: {}", error.masked_with(brief(error.instance()))),
    }
}

fn brief(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
