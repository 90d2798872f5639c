//! Arbitrary batches of a shard, in paused time: what holds for all of them.

use super::{KinesisEvent, KinesisRecord, Record, batch};
use crate::{Error, LambdaEvent};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::Service;

/// What the handler is to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum Plan {
    Succeed,
    /// Succeeds after so many milliseconds.
    Wait(u64),
    Fail,
    Hang,
    Undecodable,
    Malformed,
}

impl Plan {
    fn succeeds(self) -> bool {
        matches!(self, Self::Succeed | Self::Wait(_))
    }
}

#[derive(Clone, Debug, Default)]
struct Seen {
    started: Vec<usize>,
    done: Vec<usize>,
    at_once: usize,
    most_at_once: usize,
}

async fn handle(seen: Arc<Mutex<Seen>>, record: Record<(usize, Plan)>) -> Result<(), Error> {
    let (index, plan) = record.data;
    {
        let mut seen = seen.lock().expect("not poisoned");
        seen.started.push(index);
        seen.at_once += 1;
        seen.most_at_once = seen.most_at_once.max(seen.at_once);
    }
    let handled = match plan {
        Plan::Wait(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
        // Longer than the time limit, and then dropped.
        Plan::Hang => {
            seen.lock().expect("not poisoned").at_once -= 1;
            std::future::pending().await
        }
        Plan::Fail => Err("no stock".into()),
        _ => Ok(()),
    };
    let mut seen = seen.lock().expect("not poisoned");
    seen.at_once -= 1;
    if handled.is_ok() {
        seen.done.push(index);
    }
    handled
}

fn records(plans: &[(u8, Plan)]) -> Vec<KinesisRecord> {
    let record = |(index, (key, plan)): (usize, &(u8, Plan))| {
        let data = match plan {
            Plan::Undecodable => "{".to_owned(),
            plan => serde_json::to_string(&(index, plan)).expect("it is JSON"),
        };
        KinesisRecord {
            sequence_number: index.to_string(),
            partition_key: format!("k{key}"),
            data: STANDARD.encode(data),
            wrong: (*plan == Plan::Malformed).then_some("kinesis.data"),
            ..KinesisRecord::default()
        }
    };
    plans.iter().enumerate().map(record).collect()
}

fn check(plans: &[(u8, Plan)], by_key: bool, concurrency: usize) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let seen = Arc::new(Mutex::new(Seen::default()));
    let service = batch(handle).with_state(Arc::clone(&seen)).concurrency(concurrency).time_limit(Duration::from_secs(1));
    let mut service = if by_key { service.ordered_by_key() } else { service };
    let event = KinesisEvent { records: records(plans), window: None };
    let event = LambdaEvent::new(event, lambda_runtime::Context::default());
    let response = runtime.block_on(async { service.call(event).await }).expect("a response");
    let seen = seen.lock().expect("not poisoned").clone();

    let named = response.batch_item_failures.first().map(|failure| failure.item_identifier.parse::<usize>().expect("an index"));
    prop_assert!(response.batch_item_failures.len() <= 1, "more than the lowest is named");
    let first_failed = plans.iter().position(|(_, plan)| !plan.succeeds());
    // Everything before it is done, and it is never a record that was only not started: each batch makes progress.
    prop_assert_eq!(named, first_failed);
    prop_assert!((0..named.unwrap_or(plans.len())).all(|index| seen.done.contains(&index)));
    let lane = |index: &usize| if by_key { plans[*index].0 } else { 0 };
    for wanted in 0..4 {
        let order: Vec<_> = seen.started.iter().filter(|index| lane(index) == wanted).collect();
        prop_assert!(order.is_sorted(), "out of order: {:?}", order);
        let failed = (0..plans.len()).find(|index| lane(index) == wanted && !plans[*index].1.succeeds());
        prop_assert!(order.iter().all(|index| failed.is_none_or(|failed| **index <= failed)), "overtaken: {:?}", order);
    }
    let most = if by_key { concurrency } else { 1 };
    prop_assert!(seen.most_at_once <= most);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shard_continues_with_the_first_record_that_failed(
        plans in proptest::collection::vec((0_u8..4, prop_oneof![
            30 => Just(Plan::Succeed),
            10 => (0_u64..400).prop_map(Plan::Wait),
            2 => Just(Plan::Fail),
            1 => Just(Plan::Hang),
            1 => Just(Plan::Undecodable),
            1 => Just(Plan::Malformed),
        ]), 0..60),
        by_key in any::<bool>(),
        concurrency in 1_usize..8,
    ) {
        check(&plans, by_key, concurrency)?;
    }
}
