//! An order as a durable execution: it is charged, waits for an hour, and is shipped. Each step runs once, whatever happens in between.

/// The page whose code needs the SDK, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/durable-functions.md")]
pub struct Page;

use aws_durable_execution_sdk::{BoxError, DurableContext};
use lambda_lifecycle::Invocation;
use serde::{Deserialize, Serialize};
use std::{future::Future, time::Duration};

/// How long an order can be cancelled.
const CANCELLABLE: Duration = Duration::from_secs(3600);

/// The event.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// Its price, in cents.
    pub cents: u64,
}

/// The handler. It starts again from the top each time it is resumed, and steps that are done return their recorded results.
pub async fn fulfill(order: Order, execution: DurableContext) -> Result<String, BoxError> {
    // The SDK runs some operations in tasks in which `Invocation::current` finds nothing, so it is taken here.
    let invocation = Invocation::current();
    tracing::info!(order.id, "accepted");
    let (cents, in_time) = (order.cents, invocation.clone());
    let payment = execution.step(move |_| within(in_time, charge(cents))).name("charge").await?;
    execution.wait(CANCELLABLE).name("cancellable").await?;
    tracing::info!(payment, "not cancelled");
    let parcel = execution.step(move |_| within(invocation, ship(order.id))).name("ship").await?;
    Ok(parcel)
}

/// Fails a step shortly before the function's timeout, so that the SDK records the failure and the step's retry policy counts it. After a
/// timeout nothing is recorded, and the step would start again with every invocation.
async fn within<T>(invocation: Invocation, work: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    invocation.within(work).await?
}

/// A span with a name: the SDK's spans around steps are all called `durable_operation`.
#[tracing::instrument]
async fn charge(cents: u64) -> Result<String, BoxError> {
    if cents == 0 {
        return Err("there is nothing to charge".into());
    }
    Ok(format!("payment of {cents}"))
}

#[tracing::instrument]
async fn ship(order: u64) -> Result<String, BoxError> {
    Ok(format!("parcel of order {order}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_durable_execution_sdk::test_util::LocalRunner;

    #[tokio::test]
    async fn an_order_is_charged_and_shipped_in_two_invocations() {
        let executed = LocalRunner::new().run(fulfill, Order { id: 7, cents: 100 }).await;
        assert_eq!(executed.output().map(String::as_str), Some("parcel of order 7"));
        assert_eq!(executed.invocation_count(), 2);
        let names: Vec<_> = executed.operations().iter().map(|operation| operation.name().unwrap_or_default()).collect();
        assert_eq!(names, ["charge", "cancellable", "ship"]);
    }

    #[tokio::test]
    async fn an_order_that_costs_nothing_fails_when_all_attempts_are_used_up() {
        let executed = LocalRunner::new().run(fulfill, Order { id: 8, cents: 0 }).await;
        assert!(executed.is_failure());
        assert_eq!(executed.operations().len(), 1);
    }
}
