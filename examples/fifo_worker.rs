//! A worker behind a FIFO queue, as one would deploy it: books the movements of accounts, each account's in order.
//!
//! The queue's message group is the account, so movements of different accounts run side by side, and those of one never overtake each
//! other: its first failure stops the account for this batch, and the later movements of the account are retried with it.
//!
//! Its event source mapping: batch size 10, `FunctionResponseTypes: [ReportBatchItemFailures]`; its queue: content-based
//! deduplication, a dead-letter queue after 5 receives, a visibility timeout of six times the function's timeout.

use lambda_lifecycle::{
    Error, Lifecycle,
    sqs::{self, FailedMessage, Message},
};
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Mutex;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let ledger = life.init("ledger", Ledger::open()).await?;
    let worker = sqs::batch(book).with_state(Arc::new(ledger)).concurrency(4).on_failure(tell);
    life.run_concurrent(worker).await
}

async fn book(ledger: Arc<Ledger>, message: Message<Movement>) -> Result<(), Error> {
    let account = message.message_group_id.as_deref().ok_or("a movement without an account: is the queue a FIFO one?")?;
    // SQS delivers at least once: what is booked already is done.
    let balance = ledger.book(account, &message.id, message.body.cents).await?;
    tracing::info!(account, balance, "booked");
    Ok(())
}

fn tell(message: FailedMessage<'_>) {
    if message.receive_count >= 5 {
        tracing::error!(message_id = message.id, "moved to the dead-letter queue; its account continues: {}", message.failure);
    }
}

#[derive(Deserialize)]
struct Movement {
    cents: i64,
}

/// Stands for a database; a real one keeps the message's id in the same transaction as the balance.
#[derive(Default)]
struct Ledger {
    accounts: Mutex<HashMap<String, (i64, Vec<String>)>>,
}

impl Ledger {
    async fn open() -> Result<Self, Error> {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // in place of a connection
        Ok(Self::default())
    }

    #[tracing::instrument(skip(self, cents), err)]
    async fn book(&self, account: &str, movement: &str, cents: i64) -> Result<i64, Error> {
        let mut accounts = self.accounts.lock().await;
        let (balance, booked) = accounts.entry(account.to_owned()).or_default();
        if !booked.iter().any(|known| known == movement) {
            if *balance + cents < 0 {
                return Err("the account would be overdrawn".into());
            }
            *balance += cents;
            booked.push(movement.to_owned());
        }
        Ok(*balance)
    }
}
