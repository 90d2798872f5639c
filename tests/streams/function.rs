//! The functions under test.

use crate::support::function_main;
use lambda_lifecycle::{
    Error, LambdaEvent, Lifecycle,
    batch::{DeadLetter, permanent},
    dynamodb::{self, Change},
    kafka::{self, KafkaRecord},
    kinesis::{self, KinesisRecord, Record, StreamEvent, StreamResponse, Window},
    service_fn,
    tower::Service,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::HashSet,
    fs::OpenOptions,
    future::pending,
    io::Write,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::Builder;

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// The records of a shard one by one.
    Kinesis,
    /// With a tumbling window, whose total it notes at the end.
    KinesisWindow,
    DynamoDbWindow,
    /// The keys of a shard at once.
    KinesisByKey,
    /// With a hook for dead letters.
    KinesisDeadLetters,
    DynamoDb,
    /// Fails the whole batch.
    Kafka,
    /// Names what failed.
    KafkaPartial,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    function_main(Builder::new_current_thread(), run(probe))
}

/// Longer than any handler that does something, and shorter than one that hangs.
const TIME_LIMIT: Duration = Duration::from_millis(100);

async fn run(probe: Probe) -> Result<(), Error> {
    let life = Lifecycle::from_env();
    match probe {
        Probe::Kinesis => life.run_concurrent(kinesis::batch(reading).time_limit(TIME_LIMIT)).await,
        Probe::KinesisByKey => {
            life.run_concurrent(kinesis::batch(reading).ordered_by_key().concurrency(16).time_limit(TIME_LIMIT)).await
        }
        Probe::KinesisDeadLetters => {
            let batch = kinesis::batch(reading).time_limit(TIME_LIMIT).dead_letter(async |letter: DeadLetter<KinesisRecord>| {
                note(&letter.record.partition_key, &letter.id, "dead");
                Ok::<_, Error>(())
            });
            life.run_concurrent(batch).await
        }
        Probe::KinesisWindow => {
            let batch = kinesis::batch(async |record: Record<Order>| {
                work(&record.shard_id, &record.data).await?;
                count(record.window.as_ref(), &record.data)
            });
            run_window(life, batch).await
        }
        Probe::DynamoDbWindow => {
            let batch = dynamodb::batch(async |change: Change<Order>| {
                let order = change.new_image.as_ref().ok_or("no image")?;
                work(&change.table, order).await?;
                count(change.window.as_ref(), order)
            });
            run_window(life, batch).await
        }
        Probe::DynamoDb => life.run_concurrent(dynamodb::batch(change)).await,
        Probe::Kafka => life.run_concurrent(kafka::batch(payment).time_limit(TIME_LIMIT)).await,
        Probe::KafkaPartial => {
            let batch = kafka::batch(payment).partial_responses().time_limit(TIME_LIMIT);
            let batch = batch.dead_letter(async |letter: DeadLetter<KafkaRecord>| {
                note(&letter.record.topic_partition, &letter.record.offset.unwrap_or_default().to_string(), "dead");
                Ok::<_, Error>(())
            });
            life.run_concurrent(batch).await
        }
    }
}

/// A batch of any stream whose window is noted at its end.
async fn run_window<R, S>(life: Lifecycle, batch: S) -> Result<(), Error>
where
    R: Send + 'static,
    StreamEvent<R>: DeserializeOwned,
    S: Service<LambdaEvent<StreamEvent<R>>, Response = StreamResponse, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Error>,
{
    life.run_concurrent(service_fn(move |event: LambdaEvent<StreamEvent<R>>| {
        let window = event.payload.window.clone();
        let handled = batch.clone().call(event);
        async move {
            let response = handled.await.map_err(Into::into)?;
            end(window.as_ref());
            Ok::<_, Error>(response)
        }
    }))
    .await
}

/// What is to become of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plan {
    #[default]
    Succeed,
    FailOnce,
    Fail,
    PanicOnce,
    Panic,
    HangOnce,
    Hang,
    Permanent,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) number: usize,
    pub(crate) plan: Plan,
}

/// Notes what has happened: `<shard> <number> <what>`, one line a write.
fn note(shard: &str, number: &str, what: &str) {
    let Some(ledger) = std::env::var_os("LEDGER") else { return };
    let mut ledger = OpenOptions::new().append(true).open(ledger).expect("the ledger exists");
    let line = format!("{} {number} {what}\n", shard.replace(' ', "_"));
    ledger.write_all(line.as_bytes()).expect("the ledger can be written");
}

/// True for the first time that this process sees a record.
fn is_first(shard: &str, number: usize) -> bool {
    static SEEN: Mutex<Option<HashSet<(String, usize)>>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get_or_insert_default().insert((shard.to_owned(), number))
}

async fn work(shard: &str, order: &Order) -> Result<(), Error> {
    let first = is_first(shard, order.number);
    match order.plan {
        Plan::Fail => return Err("no stock".into()),
        Plan::FailOnce if first => return Err("no stock yet".into()),
        Plan::Panic => panic!("planned"),
        Plan::PanicOnce if first => panic!("planned"),
        Plan::Hang => pending().await,
        Plan::HangOnce if first => pending().await,
        Plan::Permanent => {
            note(shard, &order.number.to_string(), "permanent");
            return Err(permanent("never in stock"));
        }
        _ => {}
    }
    note(shard, &order.number.to_string(), "done");
    Ok(())
}

/// Adds the number of a record to the total of its window.
fn count(window: Option<&Window>, order: &Order) -> Result<(), Error> {
    let window = window.ok_or("no window")?;
    window.update(|state| *state = (state.as_u64().unwrap_or_default() + order.number as u64).into());
    Ok(())
}

/// Notes the total of a window that ends.
fn end(window: Option<&Window>) {
    if let Some(window) = window.filter(|window| window.is_final()) {
        note(window.shard_id(), &window.state().to_string(), "total");
    }
}

async fn reading(record: Record<Order>) -> Result<(), Error> {
    record.annotate("number", record.data.number);
    work(&record.shard_id, &record.data).await
}

async fn change(change: Change<Order>) -> Result<(), Error> {
    let order = change.new_image.as_ref().or(change.old_image.as_ref()).ok_or("no image")?;
    work(&change.table, order).await
}

async fn payment(record: kafka::Record<Order>) -> Result<(), Error> {
    work(&format!("{}-{}", record.topic, record.partition), &record.value).await
}
