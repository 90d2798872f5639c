//! The stack of `deploy/template.yaml` in the sandbox: real processes, real SDK clients, and a fault where one is asked for.

use crate::{
    assertions::{Assertion, Fault},
    relay::Relay,
    target::{Failure, Named, Target, clients},
};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_lambda::config::{Credentials, SharedCredentialsProvider};
use lambda_lifecycle_sandbox::{
    Answer, Event, Failure as Failed, Invoke,
    cloudwatch_logs::CloudWatchLogs,
    function::{Function, FunctionBuilder},
    sns::Sns,
    sqs::{EventSourceMapping, QueueOptions, Sqs},
    url::LambdaApi,
    wait,
    xray::{Api, Daemon},
};
use serde_json::{Value, json};
use std::{
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

/// Long enough for every invocation on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Of the function that waits for its deadline.
const SHORT: Duration = Duration::from_secs(1);
/// The same where it does everything, as on AWS.
const SERVED: Duration = Duration::from_secs(10);
const REGION: &str = "eu-west-1";

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
    apis: (LambdaApi, CloudWatchLogs, Api),
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
    /// Starts everything, with the fault of one assertion planted.
    pub(crate) async fn start(
        programs: &Programs,
        planted: Option<&Assertion>,
        transaction_search: bool,
    ) -> Result<Self, Failure> {
        Self::with_timeout(programs, planted, transaction_search, SHORT).await
    }

    /// The same, for another program that compares.
    pub(crate) async fn serve(programs: &Programs) -> Result<Self, Failure> {
        Self::with_timeout(programs, None, false, SERVED).await
    }

    /// What this program reads as the stack's outputs on AWS, in the format of `sam list stack-outputs`.
    pub(crate) fn outputs(&self) -> Value {
        let Target { deadline, api, worker, orders_url, .. } = &self.target;
        let named = [("Outcomes", deadline), ("OrderApi", api), ("OrderWorker", worker)];
        let functions = named.map(|(key, named)| (format!("{key}Name"), &named.function));
        let groups = named.map(|(key, named)| (format!("{key}LogGroup"), &named.log_group));
        let all = functions.into_iter().chain(groups).chain([("OrdersUrl".to_owned(), orders_url)]);
        all.map(|(key, value)| json!({ "OutputKey": key, "OutputValue": value })).collect()
    }

    /// The variables that lead the AWS SDKs to this sandbox.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let (lambda, logs, xray) = &self.apis;
        vec![
            ("AWS_ENDPOINT_URL_LAMBDA", lambda.endpoint()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.endpoint()),
            ("AWS_ENDPOINT_URL_XRAY", xray.endpoint()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "sandbox".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
        ]
    }

    async fn with_timeout(
        programs: &Programs,
        planted: Option<&Assertion>,
        transaction_search: bool,
        short: Duration,
    ) -> Result<Self, Failure> {
        let daemon = Daemon::start().await?;
        let (sqs, sns) = (Sqs::start().await?, Sns::start().await?);
        let shipped = sns.create_topic("shipped");
        let queue = sqs.create_queue("orders", QueueOptions::default()).await?;
        let relay = match planted {
            Some(assertion) if assertion.fault == Fault::Relay => {
                Some(Arc::new(Relay::start(assertion.id, daemon.address()).await?))
            }
            _ => None,
        };
        let address = relay.as_ref().map_or_else(|| daemon.address(), |relay| relay.address());
        let builder = |name: &str, program: &str| {
            let builder =
                Function::builder(name, programs.path(program)).xray(&address).trace_store(daemon.store()).log_format("JSON");
            builder.timeout(TIMEOUT).env("LAMBDA_LIFECYCLE_TRACE_PRINT", "on")
        };
        let with_fault = |builder: FunctionBuilder| match planted.map(|assertion| (assertion.id, assertion.fault)) {
            Some((id, Fault::Function)) => builder.env("PLANTED_FAULT", id),
            Some((_, Fault::Variable(key, value))) => builder.env(key, value),
            _ => builder,
        };
        let outcomes = with_fault(builder("outcomes", "outcomes")).build().await;
        // A busy machine responds late: Lambda waits for it, and the watchdog does not take it for a handler that blocks.
        let deadline = with_fault(builder("outcomes-deadline", "outcomes")).env("LAMBDA_LIFECYCLE_WATCHDOG", "off");
        let deadline = deadline.timeout(short).kill_delay(TIMEOUT).build().await;
        let api = builder("order-api", "order_api")
            .env("QUEUE_URL", &queue.url)
            .env("AWS_ENDPOINT_URL_SQS", sqs.endpoint())
            .build()
            .await;
        let worker =
            builder("order-worker", "order_worker").env("TOPIC_ARN", &shipped.arn).env("AWS_ENDPOINT_URL_SNS", sns.endpoint());
        let worker = worker.build().await;

        let id = planted.filter(|assertion| assertion.fault == Fault::Mapping).map_or("", |assertion| assertion.id);
        let polled =
            Polled { worker: worker.clone(), forgets_links: id == "links", fails_first: AtomicBool::new(id == "partial-batch") };
        let mapping = EventSourceMapping::builder(&queue, Arc::new(polled)).report_batch_item_failures(id != "redelivery");
        let mapping = Arc::new(mapping.redelivery_delay(Duration::from_millis(100)).start()?);

        let functions = [outcomes, deadline, api, worker];
        // The endpoints stop when they are dropped.
        let parts = Arc::new((daemon, sqs, sns));
        let lambda_api = LambdaApi::start(functions.clone()).await?;
        let logs_api = CloudWatchLogs::start(functions.clone()).await?;
        let xray_api = Api::start(parts.0.store()).await?;
        let named = |function: &Function| Named {
            function: function.name().to_owned(),
            log_group: format!("/aws/lambda/{}", function.name()),
        };
        let [outcomes, deadline, api, worker] = functions.each_ref().map(named);
        let target = Target {
            region: format!("sandbox ({REGION})"),
            outcomes,
            deadline,
            api,
            worker,
            orders_url: queue.url.clone(),
            transaction_search,
            pause: Duration::ZERO,
            lambda: clients(&config(&lambda_api.endpoint())).0,
            logs: clients(&config(&logs_api.endpoint())).1,
            xray: clients(&config(&xray_api.endpoint())).2,
            settle: Some(Box::new(move || {
                let (functions, mapping, relay) = (functions.clone(), Arc::clone(&mapping), relay.clone());
                let parts = Arc::clone(&parts);
                Box::pin(async move { settle(&functions, &mapping, relay.as_deref(), &parts.0).await })
            })),
        };
        Ok(Self { target, apis: (lambda_api, logs_api, xray_api) })
    }
}

/// Waits until the queue is empty, the functions are frozen and the daemon has read what they sent.
async fn settle(
    functions: &[Function],
    mapping: &EventSourceMapping,
    relay: Option<&Relay>,
    daemon: &Daemon,
) -> Result<(), Failure> {
    wait::within("the queue", mapping.wait_idle()).await?;
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
    fn invoke(&self, mut event: Event) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
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
