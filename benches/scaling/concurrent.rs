//! From one invocation at a time to 64, on an executor of two threads as `lambda_runtime` runs them: a task for each.

use crate::table::Row;
use lambda_lifecycle::Lifecycle;
use lambda_lifecycle_benches::{
    function::{self, Answered, Work},
    measure::{self, Cost},
};
use lambda_runtime::{Error, LambdaEvent, LambdaInvocation, service_fn};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::{task::JoinSet, time::sleep};
use tower::Service;

pub(crate) const COUNTS: &[u32] = &[1, 4, 16, 64];
const WARM_UP: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_millis(400);
/// The time for work that remains after the last response.
const REST: Duration = Duration::from_millis(20);
const ENVIRONMENT: &[(&str, &str)] = &[("AWS_LAMBDA_MAX_CONCURRENCY", "64")];

pub(crate) const ROWS: &[Row] = &[
    Row { name: "concurrent bare", what: "without the library", env: ENVIRONMENT },
    Row { name: "concurrent not sampled", what: "ours, not sampled", env: ENVIRONMENT },
    Row { name: "concurrent sampled", what: "ours, sampled, sent", env: ENVIRONMENT },
];

pub(crate) fn run(name: &str, at_once: u32) -> Option<Result<Cost, Error>> {
    ROWS.iter().any(|row| row.name == name).then(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(measure(name, at_once))
    })
}

async fn measure(name: &str, at_once: u32) -> Result<Cost, Error> {
    let handler = service_fn(wait_and_work);
    if name == "concurrent bare" {
        return cost(function::bare(handler, Answered::default()), 0, at_once).await;
    }
    let _life = Lifecycle::from_env();
    cost(function::ours(handler, Answered::default()), u8::from(name == "concurrent sampled"), at_once).await
}

async fn wait_and_work(event: LambdaEvent<Value>) -> Result<Value, Error> {
    sleep(Duration::from_millis(1)).await;
    function::handle(Work::Spans(10), event).await
}

async fn cost<S>(service: S, sampled: u8, at_once: u32) -> Result<Cost, Error>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    invocations(&service, sampled, at_once, WARM_UP).await?;
    let (began, cpu) = (Instant::now(), measure::process_cpu());
    let count = invocations(&service, sampled, at_once, MEASURED).await?;
    let took = began.elapsed();
    sleep(REST).await;
    let used = measure::process_cpu() - cpu;
    let each = |time: Duration| time.as_nanos() as f64 / count as f64;
    Ok(Cost { answer: each(took) * f64::from(at_once), cpu: each(used) })
}

/// So many at once, for so long; how many they were.
async fn invocations<S>(service: &S, sampled: u8, at_once: u32, lasting: Duration) -> Result<u64, Error>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..at_once {
        let mut service = service.clone();
        let header = format!("Root=1-5759e988-bd862e3fe1be46a994{number:06x};Parent=53995c3f42cd8ad8;Sampled={sampled}");
        let context = function::context(&header);
        tasks.spawn(async move {
            let mut count = 0;
            while began.elapsed() < lasting {
                service.call(function::event(&context)).await?;
                count += 1;
            }
            Ok::<u64, Error>(count)
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done??;
    }
    Ok(count)
}
