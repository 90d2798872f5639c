//! The stack of `deploy/template.yaml` in the sandbox: real processes, real SDK clients, and a fault where one is asked for.

mod cloudwatch;
mod sts;

use crate::{
    assertions::{Assertion, Fault},
    parts::{CLASSES, Class, ENVIRONMENTS, Part},
    relay::Relay,
    target::{Environment, Failure, Named, Target},
};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_lambda::config::{Credentials, SharedCredentialsProvider};
use cloudwatch::CloudWatch;
use lambda_lifecycle_sandbox::{
    Event, Failure as Failed, FunctionResponse, Invoke,
    cloudwatch_logs::CloudWatchLogs,
    control_groups::ControlGroups,
    function::{Function, FunctionBuilder, TraceMode},
    sns::Sns,
    sqs::{DeadLetter, EventSourceMapping, QueueOptions, Sqs},
    url::LambdaApi,
    wait,
    xray::{Api, Daemon, TraceStore},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env, fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use sts::Sts;
use tokio::task::JoinSet;

/// Long enough for every invocation on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Milliseconds. A second less, so that a deadline passes soon.
const LATER: &str = "59000";
/// Of the function that blocks until Lambda ends it.
const SOON: Duration = Duration::from_secs(1);
const REGION: &str = "eu-west-1";
const NAMESPACE: &str = "Orders";

/// The functions of the stack, built.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds the examples, into the target folder that this program is in.
    pub(crate) fn build() -> Result<Self, Failure> {
        let folder = env::current_exe()?.parent().ok_or("this program is in no folder")?.to_owned();
        let target = folder.parent().ok_or("this program is not in a target folder")?;
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args([
                "build",
                "--locked",
                "--example",
                "outcomes",
                "--example",
                "order_api",
                "--example",
                "order_worker",
                "--example",
                "fifo_worker",
                "--target-dir",
            ])
            .arg(target);
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        // Cargo sets variables for a program that it runs, which would make it build some dependencies again.
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("CARGO_")) {
            if key != "CARGO_SLOT" {
                build.env_remove(key);
            }
        }
        if !build.status()?.success() {
            return Err("the functions did not build".into());
        }
        Ok(Self { folder: folder.join("examples") })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// All that must live as long as the comparison takes.
pub(crate) struct Sandbox {
    pub(crate) target: Target,
    sqs_endpoint: String,
    apis: (LambdaApi, CloudWatchLogs, CloudWatch, Api, Sts),
    /// Ends when this is dropped.
    _ending: JoinSet<()>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

fn config(endpoint: &str) -> SdkConfig {
    // The sandbox checks no signature.
    let anyone = Credentials::new("sandbox", "none", None, None, "verify");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(anyone))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

impl Sandbox {
    /// What this program reads as the stack's outputs on AWS, in the format of `sam list stack-outputs`.
    pub(crate) fn outputs(&self) -> Value {
        let Target { environments, otlp, api, worker, orders_url, fifo, namespace, .. } = &self.target;
        let mut outputs =
            vec![("OrdersUrl".to_owned(), orders_url.clone()), ("OutcomesMetricsNamespace".to_owned(), namespace.clone())];
        let mut add = |key: &str, named: &Named| {
            outputs.push((format!("{key}Name"), named.function.clone()));
            outputs.push((format!("{key}LogGroup"), named.log_group.clone()));
        };
        add("OrderApi", api);
        add("OrderWorker", worker);
        if let Some(named) = otlp {
            add("OutcomesOtlp", named);
        }
        for environment in environments {
            let Some(prefix) = environment.part.output() else { continue };
            environment.functions.iter().for_each(|(class, named)| add(&format!("{prefix}{}", class.output()), named));
        }
        if let Some((worker, queue_url)) = fifo {
            add("FifoWorker", worker);
            outputs.push(("MovementsUrl".to_owned(), queue_url.clone()));
        }
        outputs.into_iter().map(|(key, value)| json!({ "OutputKey": key, "OutputValue": value })).collect()
    }

    /// Lets metrics arrive late, as on AWS.
    pub(crate) fn delay_metrics(&self) {
        self.apis.2.delay(2);
    }

    /// The variables that lead the AWS SDKs to this sandbox.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let (lambda, logs, metrics, xray, sts) = &self.apis;
        vec![
            ("AWS_ENDPOINT_URL_LAMBDA", lambda.endpoint()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.endpoint()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH", metrics.endpoint()),
            ("AWS_ENDPOINT_URL_XRAY", xray.endpoint()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs_endpoint.clone()),
            ("AWS_ENDPOINT_URL_STS", sts.endpoint()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "sandbox".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
        ]
    }

    /// Starts everything, with the fault of one assertion planted.
    pub(crate) async fn start(
        programs: &Programs,
        planted: Option<&Assertion>,
        transaction_search: bool,
    ) -> Result<Self, Failure> {
        let daemon = Daemon::start().await?;
        let (sqs, sns) = (Sqs::start().await?, Sns::start().await?);
        let relay = match planted {
            Some(assertion) if assertion.fault == Fault::Relay => {
                Some(Arc::new(Relay::start(assertion.id, daemon.address()).await?))
            }
            _ => None,
        };
        let address = relay.as_ref().map_or_else(|| daemon.address(), |relay| relay.address());
        let plan = Plan { programs, planted, daemon: &address, store: daemon.store() };

        let mut functions = Vec::new();
        let mut environments = Vec::new();
        let mut ending = JoinSet::new();
        for part in ENVIRONMENTS {
            let mode = if part == Part::PassThrough { TraceMode::PassThrough } else { TraceMode::Active };
            // A process of Managed Instances starts before its first event.
            if part == Part::Managed && planted.is_some_and(|assertion| assertion.part != part) {
                continue;
            }
            let mut named_functions = BTreeMap::new();
            for class in CLASSES.into_iter().filter(|class| part.has(*class)) {
                let Some(function) = plan.function(part, class, mode.clone()).await else { continue };
                if class == Class::Blocking {
                    let store = (part == Part::Traced).then(|| daemon.store());
                    ending.spawn(end_when_blocked(function.clone(), store));
                }
                named_functions.insert(class, named(&function));
                functions.push(function);
            }
            environments.push(Environment { part, functions: named_functions });
        }
        let otlp = plan.builder("outcomes-otlp", "outcomes").env("LAMBDA_LIFECYCLE_TRACE_EXPORT", "otlp-udp").build().await;

        let orders = sqs.create_queue("orders", QueueOptions::default()).await?;
        let shipped = sns.create_topic("shipped");
        let api =
            plan.builder("order-api", "order_api").env("QUEUE_URL", &orders.url).env("AWS_ENDPOINT_URL_SQS", sqs.endpoint());
        let worker = plan.builder("order-worker", "order_worker").env("TOPIC_ARN", &shipped.arn);
        let worker = worker.env("AWS_ENDPOINT_URL_SNS", sns.endpoint()).build().await;
        let api = api.build().await;
        let id = planted.filter(|assertion| assertion.fault == Fault::Mapping).map_or("", |assertion| assertion.id);
        let polled =
            Polled { worker: worker.clone(), forgets_links: id == "links", fails_first: AtomicBool::new(id == "partial-batch") };
        let of_orders = EventSourceMapping::builder(&orders, Arc::new(polled)).report_batch_item_failures(id != "redelivery");
        let of_orders = of_orders.redelivery_delay(Duration::from_millis(100)).start()?;

        let dead = sqs.create_queue("movements-dead.fifo", QueueOptions { fifo: true, ..QueueOptions::default() }).await?;
        let dead_letter = Some(DeadLetter { arn: dead.arn.clone(), max_receive_count: 5 });
        let options = QueueOptions { fifo: true, content_based_deduplication: true, dead_letter, ..QueueOptions::default() };
        let movements = sqs.create_queue("movements.fifo", options).await?;
        let fifo_worker = plan.builder("fifo-worker", "fifo_worker").build().await;
        let of_movements = EventSourceMapping::builder(&movements, Arc::new(fifo_worker.clone()));
        let of_movements = of_movements.report_batch_item_failures(id != "fifo-order");
        let of_movements = of_movements.redelivery_delay(Duration::from_millis(200)).start()?;

        let (otlp_named, api_named, worker_named, fifo_named) = (named(&otlp), named(&api), named(&worker), named(&fifo_worker));
        functions.extend([otlp, api, worker, fifo_worker]);
        let of_class = |part: Part, class| {
            let environment = environments.iter().find(|environment| environment.part == part);
            environment.and_then(|environment| environment.functions.get(&class)).cloned()
        };
        let asked = of_class(Part::Traced, Class::Plain).ok_or("there is no plain function")?;
        let pass_through = of_class(Part::PassThrough, Class::Plain);
        let lambda_api = LambdaApi::start(functions.clone()).await?;
        let logs_api = CloudWatchLogs::start(functions.clone()).await?;
        let metrics_api = CloudWatch::start(functions.clone()).await?;
        let xray_api = Api::start(daemon.store()).await?;
        if transaction_search {
            xray_api.keep_in_transaction_search();
        }
        let sqs_endpoint = sqs.endpoint();
        let sts_api = Sts::start().await?;
        // The endpoints stop when they are dropped.
        let parts = Arc::new((daemon, sqs, sns, [of_orders, of_movements]));
        let target = Target {
            region: format!("sandbox ({REGION})"),
            environments,
            plain: asked,
            pass_through,
            otlp: Some(otlp_named),
            api: api_named,
            worker: worker_named,
            orders_url: orders.url.clone(),
            fifo: Some((fifo_named, movements.url.clone())),
            namespace: NAMESPACE.to_owned(),
            transaction_search,
            pause: Duration::ZERO,
            cloudwatch: aws_sdk_cloudwatch::Client::new(&config(&metrics_api.endpoint())),
            lambda: aws_sdk_lambda::Client::new(&config(&lambda_api.endpoint())),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config(&logs_api.endpoint())),
            sqs: aws_sdk_sqs::Client::new(&config(&sqs_endpoint)),
            xray: aws_sdk_xray::Client::new(&config(&xray_api.endpoint())),
            settle: Some(Box::new(move || {
                let (functions, relay, parts) = (functions.clone(), relay.clone(), Arc::clone(&parts));
                Box::pin(async move { settle(&functions, &parts.3, relay.as_deref(), &parts.0).await })
            })),
        };
        Ok(Self { target, sqs_endpoint, apis: (lambda_api, logs_api, metrics_api, xray_api, sts_api), _ending: ending })
    }
}

fn named(function: &Function) -> Named {
    Named { function: function.name().to_owned(), log_group: format!("/aws/lambda/{}", function.name()) }
}

/// How functions are made.
struct Plan<'a> {
    programs: &'a Programs,
    planted: Option<&'a Assertion>,
    daemon: &'a str,
    store: TraceStore,
}

impl Plan<'_> {
    fn builder(&self, name: &str, program: &str) -> FunctionBuilder {
        let builder = Function::builder(name, self.programs.path(program)).xray(self.daemon).trace_store(self.store.clone());
        builder
            .log_format("JSON")
            .timeout(TIMEOUT)
            .kill_delay(TIMEOUT)
            .env("LAMBDA_LIFECYCLE_TRACE_PRINT", "on")
            .env("LAMBDA_LIFECYCLE_METRICS_NAMESPACE", NAMESPACE)
    }

    /// A function of an environment; `None` where this machine cannot do what its acts need.
    async fn function(&self, part: Part, class: Class, mode: TraceMode) -> Option<Function> {
        let name = format!("outcomes-{part:?}-{class:?}").to_lowercase();
        let mut builder = self.builder(&name, "outcomes").trace_mode(mode);
        if let Some(assertion) = self.planted.filter(|assertion| assertion.part == part) {
            builder = match assertion.fault {
                Fault::Function => builder.env("PLANTED_FAULT", assertion.id),
                Fault::Variable(key, value) => builder.env(key, value),
                Fault::Relay | Fault::Mapping => builder,
            };
        }
        // The deadline of a handler comes soon, and the kill comes a minute later: a busy machine responds late.
        builder = match class {
            Class::Plain => builder,
            Class::Deadline => builder.env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", LATER),
            Class::Hooks => builder.env("OUTCOMES_MODE", "hooks"),
            Class::Stream => builder.env("OUTCOMES_MODE", "stream"),
            Class::StreamDeadline => builder.env("OUTCOMES_MODE", "stream").env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", LATER),
            Class::CleanUp => builder.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", LATER),
            Class::Blocking => builder.timeout(SOON),
            Class::HungWork => builder.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", "100"),
            Class::Memory => builder.memory(128).limit(ControlGroups::find().ok()?),
            Class::InitFails => builder.env("OUTCOMES_MODE", "init_fails"),
            Class::InitHangs => builder.env("OUTCOMES_MODE", "init_hangs").env("LAMBDA_LIFECYCLE_INIT_BUDGET", "100"),
        };
        if part == Part::Managed {
            builder = builder.managed(8);
        }
        Some(builder.build().await)
    }
}

/// Lets Lambda end a process as soon as its handler was reported as blocked.
async fn end_when_blocked(function: Function, store: Option<TraceStore>) {
    let mut lines = function.subscribe_logs().from_start();
    loop {
        while !lines.next().await.text.contains("\"outcome\":\"blocked\"") {}
        if let Some(store) = &store {
            // A missing document shows in the comparison.
            let _ = store.wait_for(1, |document| document.annotation("outcome") == Some("blocked")).await;
        }
        function.expire();
    }
}

/// Waits until the queue is empty, the functions are frozen and the daemon has read what they sent.
async fn settle(
    functions: &[Function],
    mappings: &[EventSourceMapping],
    relay: Option<&Relay>,
    daemon: &Daemon,
) -> Result<(), Failure> {
    for mapping in mappings {
        wait::within("a queue", mapping.wait_idle()).await?;
    }
    for function in functions {
        wait::within("a function's freeze", function.wait_frozen()).await?;
    }
    if let Some(relay) = relay {
        wait::within("the relay", relay.settle()).await??;
    }
    wait::within("the daemon", daemon.settle()).await??;
    Ok(())
}

/// The worker, as Lambda's pollers invoke it.
struct Polled {
    worker: Function,
    forgets_links: bool,
    fails_first: AtomicBool,
}

impl Invoke for Polled {
    fn invoke(&self, mut event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        Box::pin(async move {
            if self.forgets_links {
                event.linked.clear();
            }
            let mut answer = self.worker.invoke(event).await;
            if self.fails_first.swap(false, Ordering::Relaxed) {
                answer.result = Err(Failed::Exited("planted".to_owned()));
            }
            answer
        })
    }
}
