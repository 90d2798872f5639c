//! From one span an invocation to ten thousand.

use crate::{rivals, table::Row};
use lambda_lifecycle::{Export, Lifecycle};
use lambda_lifecycle_benches::{
    function::{self, Answered, Work},
    measure::{self, Cost},
};
use lambda_runtime::{Error, LambdaInvocation, service_fn};
use std::time::Duration;
use tower::{Layer, Service};

pub(crate) const COUNTS: &[u32] = &[1, 10, 100, 1_000, 10_000];
/// One after the other: after a rest, how cold the processor's caches are differs from round to round more than the rows do.
const REST: Duration = Duration::ZERO;

/// The row that is the baseline.
pub(crate) const OURS: usize = 2;

pub(crate) const ROWS: &[Row] = &[
    Row { name: "bare", what: "no subscriber", env: &[] },
    Row { name: "not sampled", what: "ours, not sampled", env: &[] },
    Row { name: "sampled", what: "ours, sampled, sent", env: &[] },
    Row { name: "sampled unsent", what: "ours, sampled, thrown away", env: &[("AWS_XRAY_DAEMON_ADDRESS", "nowhere")] },
    Row { name: "exported", what: "ours, X-Ray off, to an exporter, thrown away", env: &[] },
    Row { name: "exported here", what: "the same with `async_exporter`", env: &[] },
    Row { name: "layer batch", what: "OpenTelemetryLayer, batch processor, thrown away", env: &[] },
    Row { name: "layer simple", what: "OpenTelemetryLayer, simple processor, thrown away", env: &[] },
    Row { name: "lite", what: "lambda-otel-lite, thrown away", env: rivals::LITE },
    Row { name: "lite stdout", what: "lambda-otel-lite, its own exporter, to a pipe", env: rivals::LITE },
];

pub(crate) fn run(name: &str, count: u32) -> Option<Result<Cost, Error>> {
    ROWS.iter().any(|row| row.name == name).then(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure(name, count))
    })
}

async fn measure(name: &str, count: u32) -> Result<Cost, Error> {
    let answered = Answered::default();
    let handler = service_fn(move |event| function::handle(Work::Spans(count), event));
    let cost = match name {
        "bare" => cost(function::bare(handler, answered.clone()), 1, count, &answered).await,
        "layer batch" | "layer simple" => {
            let layer = rivals::layer(name == "layer batch")?;
            cost(layer.layer(function::bare(handler, answered.clone())), 1, count, &answered).await
        }
        "exported" => {
            let life = Lifecycle::builder().log(false).export(Export::None).exporter(rivals::Discard).build();
            cost(function::of_lifecycle(handler, answered.clone(), &life), 0, count, &answered).await
        }
        "exported here" => {
            let life = Lifecycle::builder().log(false).export(Export::None).async_exporter(rivals::Discard).build();
            cost(function::of_lifecycle(handler, answered.clone(), &life), 0, count, &answered).await
        }
        "lite" | "lite stdout" => {
            let layer = rivals::lite(name == "lite").await?;
            cost(function::bare(layer.layer(handler), answered.clone()), 1, count, &answered).await
        }
        _ => {
            let _life = Lifecycle::from_env();
            cost(function::ours(handler, answered.clone()), u8::from(name != "not sampled"), count, &answered).await
        }
    }?;
    // The invocation's span counts too. Without it, contenders that record no such span would look cheaper.
    let made = u64::from(times(count) + times(count) / 3) * u64::from(count + 1);
    if matches!(name, "exported" | "exported here" | "layer batch" | "layer simple" | "lite") && rivals::discarded() != made {
        return Err(format!("{} of {made} spans were exported", rivals::discarded()).into());
    }
    Ok(cost)
}

/// The number of measured rounds. A third as many run before them, because the first rounds initialize shared state.
fn times(count: u32) -> u32 {
    match count {
        0..100 => 2_000,
        100..1_000 => 300,
        1_000..10_000 => 30,
        _ => 9,
    }
}

async fn cost<S>(mut service: S, sampled: u8, count: u32, answered: &Answered) -> Result<Cost, Error>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let header = format!("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={sampled}");
    let times = times(count) as usize;
    measure::one_by_one(&mut service, &header, times / 3, answered, REST, measure::process_cpu).await;
    Ok(measure::one_by_one(&mut service, &header, times, answered, REST, measure::process_cpu).await)
}
