//! Tumbling windows: state that Lambda hands from one batch of a shard to the next.

use crate::lenient::{Field, Shape, Text};
use serde::de::MapAccess;
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The tumbling window that a batch belongs to, and its state. Cheap to clone. See
/// [Using tumbling windows](https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html).
///
/// The state is JSON of at most 1 MB. Lambda hands the state of a batch's response to the next batch of the same shard and window. A function
/// that never changes it returns what it got.
///
/// The last batch of a window often has no records, so no handler runs for it. Wrap the service to use the state then:
///
/// ```no_run
/// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, kinesis::{self, KinesisEvent, Record}, service_fn, tower::Service as _};
///
/// async fn count(record: Record<u64>) -> Result<(), Error> {
///     if let Some(window) = &record.window {
///         window.update(|state| *state = (state.as_u64().unwrap_or(0) + record.data).into());
///     }
///     Ok(())
/// }
///
/// # async fn publish(total: serde_json::Value) -> Result<(), Error> { Ok(()) }
/// # async fn example() -> Result<(), Error> {
/// let batch = kinesis::batch(count);
/// let service = service_fn(move |event: LambdaEvent<KinesisEvent>| {
///     let window = event.payload.window.clone();
///     let handled = batch.clone().call(event);
///     async move {
///         let response = handled.await?;
///         if let Some(window) = window.filter(|window| window.is_final()) && response.batch_item_failures.is_empty() {
///             publish(window.state()).await?;
///         }
///         Ok::<_, Error>(response)
///     }
/// });
/// Lifecycle::from_env().run_concurrent(service).await
/// # }
/// ```
#[derive(Clone)]
pub struct Window(Arc<Inner>);

struct Inner {
    start: String,
    end: String,
    shard_id: String,
    is_final: bool,
    is_terminated_early: bool,
    state: Mutex<Value>,
}

impl Window {
    /// When it starts, in ISO 8601.
    pub fn start(&self) -> &str {
        &self.0.start
    }

    /// When it ends, in ISO 8601.
    pub fn end(&self) -> &str {
        &self.0.end
    }

    /// The shard that it aggregates.
    pub fn shard_id(&self) -> &str {
        &self.0.shard_id
    }

    /// True for the last batch of the window, which often has no records.
    pub fn is_final(&self) -> bool {
        self.0.is_final
    }

    /// True if Lambda ended the window before its time, because its state became too large.
    pub fn is_terminated_early(&self) -> bool {
        self.0.is_terminated_early
    }

    /// A copy of the state: null at the start of a window.
    pub fn state(&self) -> Value {
        self.lock().clone()
    }

    /// Changes the state. The change is part of the batch's response, also when a record fails.
    pub fn update<T>(&self, change: impl FnOnce(&mut Value) -> T) -> T {
        change(&mut self.lock())
    }

    /// A panic in `update` leaves the state as it is then.
    fn lock(&self) -> MutexGuard<'_, Value> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("start", &self.0.start)
            .field("end", &self.0.end)
            .field("shard_id", &self.0.shard_id)
            .field("is_final", &self.0.is_final)
            .finish_non_exhaustive()
    }
}

/// The keys of an event that are about its window.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) span: Option<Span>,
    pub(super) state: Option<Value>,
    pub(super) shard_id: Text,
    pub(super) is_final: bool,
    pub(super) is_terminated_early: bool,
}

impl Keys {
    /// `None` in an event without a window.
    pub(super) fn window(self) -> Option<Window> {
        let Self { span, state, shard_id, is_final, is_terminated_early } = self;
        if span.is_none() && state.is_none() {
            return None;
        }
        let Span { start, end } = span.unwrap_or_default();
        let state = Mutex::new(state.unwrap_or_default());
        Some(Window(Arc::new(Inner { start, end, shard_id: shard_id.0, is_final, is_terminated_early, state })))
    }
}

/// `{"start": .., "end": ..}`
#[derive(Default)]
pub(super) struct Span {
    start: String,
    end: String,
}

impl Shape for Span {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut span = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            let text = map.next_value::<Field<String>>()?.or_default("window", &mut None);
            match &*key {
                "start" => span.start = text,
                "end" => span.end = text,
                _ => {}
            }
        }
        Ok(Some(span))
    }
}
