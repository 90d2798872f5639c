//! Functions with custom metrics.

use crate::{behavior::Do, support::wait_at};
use lambda_lifecycle::{
    Error, Invocation, Lifecycle,
    metrics::{Unit, facade},
    sqs::Message,
};

/// A lifecycle whose metrics the facade's macros record too.
pub(super) fn lifecycle() -> Result<Lifecycle, Error> {
    let life = Lifecycle::builder().metrics_dimensions([("environment", "test")]).build();
    facade::set_global_recorder(life.metrics_recorder())?;
    facade::describe_histogram!("Wait", facade::Unit::Nanoseconds, "time in the queue");
    facade::counter!("Starts").increment(1);
    Ok(life)
}

pub(super) async fn act(act: Do) -> Result<(), Error> {
    let invocation = Invocation::current();
    match act {
        Do::Measure { values } => measure(&invocation, values).await?,
        Do::MeasureBadly => {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                invocation.metric("Orders", value, Unit::Count);
            }
            invocation.metric("service", 1, Unit::Count);
            invocation.metric("environment", 1, Unit::Count);
            let crowd = (0..40).fold(invocation.metrics(), |metrics, number| metrics.dimension(&format!("d{number}"), "v"));
            crowd.record("Crowded", 1, Unit::Count);
            invocation.metrics().dimension("", "v").dimension("plan", "").record("Bare", 1, Unit::Count);
            invocation.metrics_metadata("_aws", 1);
        }
        Do::MeasureLate { gate } => drop(invocation.spawn(async move {
            wait_at(&gate).await;
            Invocation::current().metric("Late", 1, Unit::Count);
        })),
        Do::MeasureALot => (0..2_500).for_each(|number| invocation.metric("Many", number, Unit::None)),
        act => panic!("{act} is not for this function"),
    }
    Ok(())
}

/// Yields between the values, so that other invocations record theirs meanwhile.
async fn measure(invocation: &Invocation, values: Vec<i32>) -> Result<(), Error> {
    invocation.metrics_metadata("values", values.len());
    for value in &values {
        invocation.metric("Own", *value, Unit::Count);
        facade::counter!("Sum").increment(value.unsigned_abs().into());
        facade::gauge!("Last", "plan" => "gold").set(*value);
        facade::histogram!("Wait").record(*value);
        tokio::task::yield_now().await;
    }
    let in_task = values.clone();
    let task = invocation.spawn(async move {
        let metrics = Invocation::current().metrics().dimension("where", "task").high_resolution();
        for value in in_task {
            metrics.record("Own", value, Unit::Count);
            tokio::task::yield_now().await;
        }
    });
    task.await?;
    invocation.after_response(async move {
        for value in values {
            Invocation::current().metric("AfterResponse", value, Unit::Count);
            tokio::task::yield_now().await;
        }
    });
    Ok(())
}

/// Fails if the message asks for it.
pub(super) async fn message(message: Message<String>) -> Result<(), Error> {
    match message.body.as_str() {
        "fail" => Err("no stock".into()),
        "hang" => Ok(message.invocation.within(std::future::pending::<()>()).await?),
        _ => Ok(()),
    }
}
