//! A stack on AWS: deployed and removed with the SAM CLI, and described by its outputs.

use crate::{
    parts::{CLASSES, Class, ENVIRONMENTS, Part},
    target::{Environment, Failure, Named, Target},
};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    path::Path,
    time::Duration,
};
use tokio::{process::Command, task::JoinHandle};

/// The stack of this name, and where the template is.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) name: String,
}

async fn sam(arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new("sam");
    command.args(arguments).stderr(std::process::Stdio::inherit()).kill_on_drop(false);
    // Ctrl-C in the terminal reaches all of its processes, and what was begun must be finished.
    command.process_group(0);
    let output = command.output().await.map_err(|error| format!("sam: {error}: install it with pip install aws-sam-cli"))?;
    if !output.status.success() {
        return Err(format!("sam {} failed: {}\n{}", arguments[0], output.status, String::from_utf8_lossy(&output.stdout)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Who is calling, and where: what a user wants to know before anything is created.
pub(crate) async fn caller(config: &SdkConfig) -> Result<String, Failure> {
    let region = config.region().ok_or("no region is set: set AWS_REGION")?;
    let identity = aws_sdk_sts::Client::new(config).get_caller_identity().send().await?;
    let (account, arn) = (identity.account().unwrap_or("unknown"), identity.arn().unwrap_or("unknown"));
    Ok(format!("account {account} ({arn}), region {region}"))
}

impl Stack {
    /// Starts to create the stack. It goes on when this is dropped, so it is awaited before the stack is removed.
    pub(crate) fn deploy(&self, architecture: &str) -> JoinHandle<Result<(), Failure>> {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
        let arguments = [
            "deploy",
            "--stack-name",
            &self.name,
            "--template-file",
            &template.to_string_lossy(),
            "--resolve-s3",
            "--capabilities",
            "CAPABILITY_IAM",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
            &format!("Architecture={architecture}"),
            "WithOutcomes=true",
            "WithHttpApi=false",
            // The FIFO queue gives a message up after five of its visibility timeouts.
            "WorkerTimeout=5",
        ]
        .map(str::to_owned);
        tokio::spawn(async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            sam(&arguments).await.map(drop)
        })
    }

    pub(crate) async fn delete(&self) -> Result<(), Failure> {
        sam(&["delete", "--stack-name", &self.name, "--no-prompts"]).await.map(drop)
    }

    pub(crate) async fn target(&self, config: &SdkConfig, transaction_search: bool, pause: Duration) -> Result<Target, Failure> {
        let outputs = outputs(&sam(&["list", "stack-outputs", "--stack-name", &self.name, "--output", "json"]).await?)?;
        let named = |key: &str| {
            let output = |end: &str| outputs.get(&format!("{key}{end}")).cloned();
            Some(Named { function: output("Name")?, log_group: output("LogGroup")? })
        };
        let required =
            |key: &str| named(key).ok_or_else(|| format!("the stack {} has no outputs {key}Name and {key}LogGroup", self.name));
        let plain = required("Outcomes").map_err(|error| format!("{error}: deploy it with the parameter WithOutcomes=true"))?;
        let functions = |part: Part| {
            let of_class = |class: Class| part.output().and_then(|prefix| named(&format!("{prefix}{}", class.output())));
            let with_class = |class: Class| Some((class, of_class(class).or_else(|| of_class(class.otherwise()?))?));
            CLASSES.into_iter().filter(|class| part.has(*class)).filter_map(with_class).collect::<BTreeMap<_, _>>()
        };
        let environment = |part: Part| {
            // What decides about the sampling is the caller.
            let functions = functions(if part == Part::NotSampled { Part::Traced } else { part });
            (!functions.is_empty()).then_some(Environment { part, functions })
        };
        Ok(Target {
            region: config.region().map_or_else(|| "unknown".to_owned(), ToString::to_string),
            environments: ENVIRONMENTS.into_iter().filter_map(environment).collect(),
            plain,
            pass_through: named("OutcomesPassThrough"),
            otlp: named("OutcomesOtlp"),
            api: required("OrderApi")?,
            worker: required("OrderWorker")?,
            orders_url: outputs.get("OrdersUrl").cloned().ok_or("the stack has no output OrdersUrl")?,
            fifo: named("FifoWorker").zip(outputs.get("MovementsUrl").cloned()),
            namespace: outputs
                .get("OutcomesMetricsNamespace")
                .cloned()
                .ok_or("the stack has no output OutcomesMetricsNamespace")?,
            transaction_search,
            pause,
            settle: None,
            cloudwatch: aws_sdk_cloudwatch::Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            xray: aws_sdk_xray::Client::new(config),
        })
    }
}

/// The outputs of a stack, from the JSON of `sam list stack-outputs`.
fn outputs(json: &str) -> Result<BTreeMap<String, String>, Failure> {
    let list: Vec<Value> = serde_json::from_str(json).map_err(|error| format!("sam list stack-outputs: {error}"))?;
    let pair = |output: &Value| Some((output["OutputKey"].as_str()?.to_owned(), output["OutputValue"].as_str()?.to_owned()));
    Ok(list.iter().filter_map(pair).collect())
}

pub(crate) async fn config() -> SdkConfig {
    let https = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest()).http_client(https).load().await
}

/// Asks at the terminal. Anything but `y` is a no.
pub(crate) fn is_agreed(question: &str) -> io::Result<bool> {
    print!("{question} [y/N] ");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "y")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_from_sams_json() {
        let json =
            r#"[{"OutputKey": "OrdersUrl", "OutputValue": "https://sqs.eu-west-1.amazonaws.com/1/q", "Description": "-"}]"#;
        assert_eq!(outputs(json).unwrap()["OrdersUrl"], "https://sqs.eu-west-1.amazonaws.com/1/q");
        assert!(outputs("Stack does not exist").is_err());
    }
}
