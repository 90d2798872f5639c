//! A stack on AWS: deployed and removed with the SAM CLI, and described by its outputs.

use crate::target::{Failure, Named, Target, clients};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    path::Path,
    time::Duration,
};
use tokio::process::Command;

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

impl Stack {
    pub(crate) async fn deploy(&self, architecture: &str) -> Result<(), Failure> {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
        let architecture = format!("Architecture={architecture}");
        let arguments = ["deploy", "--stack-name", &self.name, "--template-file", &template.to_string_lossy(), "--resolve-s3"]
            .map(str::to_owned);
        let more = [
            "--capabilities",
            "CAPABILITY_IAM",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
        ];
        let parameters = [architecture.as_str(), "WithOutcomes=true", "WithHttpApi=false", "WithFifo=false"];
        let all: Vec<&str> = arguments.iter().map(String::as_str).chain(more).chain(parameters).collect();
        sam(&all).await.map(drop)
    }

    pub(crate) async fn delete(&self) -> Result<(), Failure> {
        sam(&["delete", "--stack-name", &self.name, "--no-prompts"]).await.map(drop)
    }

    pub(crate) async fn target(&self, config: &SdkConfig, transaction_search: bool, pause: Duration) -> Result<Target, Failure> {
        let outputs = outputs(&sam(&["list", "stack-outputs", "--stack-name", &self.name, "--output", "json"]).await?)?;
        let output = |key: &str| outputs.get(key).cloned().ok_or_else(|| format!("the stack {} has no output {key}", self.name));
        let named = |name: &str| {
            Ok::<_, Failure>(Named { function: output(&format!("{name}Name"))?, log_group: output(&format!("{name}LogGroup"))? })
        };
        let outcomes = named("Outcomes").map_err(|error| format!("{error}: deploy it with the parameter WithOutcomes=true"))?;
        let (lambda, logs, xray) = clients(config);
        Ok(Target {
            region: config.region().map_or_else(|| "unknown".to_owned(), ToString::to_string),
            deadline: outcomes.clone(),
            outcomes,
            api: named("OrderApi")?,
            worker: named("OrderWorker")?,
            orders_url: output("OrdersUrl")?,
            transaction_search,
            pause,
            settle: None,
            lambda,
            logs,
            xray,
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
