//! The event of a stream, and its response.

use super::window::{Keys, Span, Window};
use crate::{
    batch::{BatchItemFailure, Progress},
    lenient::{Field, Shape},
};
use lambda_runtime::Diagnostic;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::Value;
use std::{
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An event of the mapping of a stream, or the bare array of its records that EventBridge Pipes sends.
///
/// A field of another type than the service's affects only its own record. The type of `aws_lambda_events` refuses the whole event for it.
#[derive(Clone, Debug, Default)]
pub struct StreamEvent<R> {
    /// The records of one shard, in its order.
    pub records: Vec<R>,
    /// The tumbling window, in a mapping that has one.
    pub window: Option<Window>,
}

impl<'de, R: Shape + Default> Deserialize<'de> for StreamEvent<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventVisitor(PhantomData))
    }
}

struct EventVisitor<R>(PhantomData<R>);

/// A value that is not an object has no sequence number, and no other field.
fn records<R: Shape + Default>(records: Vec<Field<R>>) -> Vec<R> {
    records.into_iter().map(|record| record.or_default("", &mut None)).collect()
}

impl<'de, R: Shape + Default> Visitor<'de> for EventVisitor<R> {
    type Value = StreamEvent<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event of a stream")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StreamEvent<R>, A::Error> {
        let (mut found, mut window) = (None, Keys::default());
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "Records" => found = Some(map.next_value::<Vec<Field<R>>>()?),
                "window" => window.span = map.next_value::<Field<Span>>()?.present(),
                "state" => window.state = Some(map.next_value::<Value>()?).filter(|state| !state.is_null()),
                "shardId" => window.shard_id = map.next_value::<Field<_>>()?.or_default("shardId", &mut None),
                "isFinalInvokeForWindow" => window.is_final = map.next_value::<Field<bool>>()?.present().unwrap_or_default(),
                "isWindowTerminatedEarly" => {
                    window.is_terminated_early = map.next_value::<Field<bool>>()?.present().unwrap_or_default();
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let found = found.ok_or_else(|| A::Error::missing_field("Records"))?;
        Ok(StreamEvent { records: records(found), window: window.window() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<StreamEvent<R>, A::Error> {
        let found = Vec::<Field<R>>::deserialize(SeqAccessDeserializer::new(elements))?;
        Ok(StreamEvent { records: records(found), window: None })
    }
}

/// The response to a batch of a stream: where Lambda continues, and the state of the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamResponse {
    /// The first record that is not done, or nothing. Lambda continues with it, and sends everything after it again.
    #[serde(rename = "batchItemFailures")]
    pub batch_item_failures: Vec<BatchItemFailure>,
    /// The state of the tumbling window, in a mapping that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
}

/// A batch that failed at a record without a sequence number, and has no record before it that the response could name. All of it is sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the first record of the batch has no sequence number ({service}), so the response cannot name it: \
     give the function a mapping of {service}, or the mapping an on-failure destination and `BisectBatchOnFunctionError`"
)]
pub struct UnidentifiedRecord {
    service: &'static str,
}

impl From<UnidentifiedRecord> for Diagnostic {
    fn from(error: UnidentifiedRecord) -> Self {
        Self { error_type: "Lifecycle.UnidentifiedRecord".to_owned(), error_message: error.to_string() }
    }
}

/// The response for the results of the records.
pub(crate) fn respond(
    service: &'static str,
    records: &[Progress<'_>],
    window: Option<&Window>,
) -> Result<StreamResponse, UnidentifiedRecord> {
    let state = window.map(Window::state);
    let Some(first) = records.iter().position(|record| !record.done) else {
        return Ok(StreamResponse { batch_item_failures: Vec::new(), state });
    };
    // A record without a sequence number cannot be named. The one before it is sent again with it.
    let named = records[..=first].iter().rev().find(|record| !record.id.is_empty()).ok_or(UnidentifiedRecord { service })?;
    Ok(StreamResponse { batch_item_failures: vec![BatchItemFailure { item_identifier: named.id.to_owned() }], state })
}

/// The time since a moment in seconds since 1970.
pub(crate) fn age(seconds: Option<f64>, now: SystemTime) -> Option<Duration> {
    let at = Duration::try_from_secs_f64(seconds?).ok()?;
    now.duration_since(UNIX_EPOCH.checked_add(at)?).ok()
}
