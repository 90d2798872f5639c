//! The configuration that `aws_sdk::config` reads from the environment.

use crate::{
    agent::Agent,
    function::Probe,
    service::temporary_file,
    support::{Stage, Tested, ensure, test},
};
use lambda_lifecycle_sandbox::function::{FunctionBuilder, TraceMode};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        test("configuration: credentials of a container, as under SnapStart", container),
        test("configuration: a profile is read where a variable names one", profile),
        test("configuration: without a region there is a warning with the variable's name, and Init continues", without_region),
        test(
            "configuration: without credentials there is a warning with the variable's name, and Init continues",
            without_credentials,
        ),
        test(
            "configuration: without the secret key there is a warning with the variable's name, and Init continues",
            without_secret_key,
        ),
        test("configuration: an endpoint that is not a URL is named without its password, and Init continues", invalid_endpoints),
        test("configuration: a flag that is invalid is named, and Init continues", invalid_flags),
        test("configuration: a bundle that cannot be used is named, and Init continues", bundles),
        test("configuration: a bundle given in code that cannot be used is an error", bundle_in_code),
        test("configuration: a proxy that is not valid is named without its password", invalid_proxy),
    ];
    tests.extend(CASES.iter().map(|case| test(format!("configuration: {}", case.0), move || variables(case))));
    tests
}

/// The variables that Lambda sets.
const LAMBDA: [(&str, &str); 4] = [
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "none"),
    ("AWS_SESSION_TOKEN", "token"),
];

type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

/// Variables beside those of Lambda, and what the configuration must say then, by JSON pointers.
const CASES: [Case; 15] = [
    (
        "what Lambda sets",
        &[],
        &[
            ("/region", "eu-west-1"),
            ("/credentials/key", "AKIDEXAMPLE"),
            ("/credentials/secret", "none"),
            ("/credentials/token", "token"),
            ("/endpoint", "https://sqs.eu-west-1.amazonaws.com/"),
            ("/attempts", "3"),
            ("/connect timeout", "3100"),
        ],
    ),
    (
        "another region than the function's",
        &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "us-west-2")],
        &[("/region", "us-west-2")],
    ),
    (
        "credentials without a session token",
        &[("AWS_SESSION_TOKEN", "")],
        &[("/credentials/key", "AKIDEXAMPLE"), ("/credentials/token", "null")],
    ),
    ("an endpoint", &[("AWS_ENDPOINT_URL", "http://localhost:4566")], &[("/endpoint", "http://localhost:4566/")]),
    (
        "an endpoint of one service",
        &[("AWS_ENDPOINT_URL", "http://localhost:4566"), ("AWS_ENDPOINT_URL_SQS", "http://localhost:9324")],
        &[("/endpoint", "http://localhost:9324/")],
    ),
    (
        "endpoints that are to be ignored",
        &[("AWS_ENDPOINT_URL_SQS", "http://localhost:9324"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
        &[("/endpoint", "https://sqs.eu-west-1.amazonaws.com/")],
    ),
    ("FIPS endpoints", &[("AWS_USE_FIPS_ENDPOINT", "true")], &[("/endpoint", "https://sqs-fips.eu-west-1.amazonaws.com/")]),
    ("dual-stack endpoints", &[("AWS_USE_DUALSTACK_ENDPOINT", "true")], &[("/endpoint", "https://sqs.eu-west-1.api.aws/")]),
    (
        "FIPS and dual-stack endpoints at once",
        &[("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "true")],
        &[("/endpoint", "https://sqs-fips.eu-west-1.api.aws/")],
    ),
    ("retries", &[("AWS_MAX_ATTEMPTS", "7"), ("AWS_RETRY_MODE", "adaptive")], &[("/attempts", "7"), ("/retry mode", "Adaptive")]),
    (
        "attempts and a mode that are invalid",
        &[("AWS_MAX_ATTEMPTS", "0"), ("AWS_RETRY_MODE", "legacy")],
        &[("/attempts", "3"), ("/retry mode", "Standard")],
    ),
    (
        "attempts that are invalid beside a mode",
        &[("AWS_MAX_ATTEMPTS", "many"), ("AWS_RETRY_MODE", "adaptive")],
        &[("/retry mode", "Adaptive")],
    ),
    ("retries that are empty", &[("AWS_MAX_ATTEMPTS", ""), ("AWS_RETRY_MODE", "")], &[("/attempts", "3")]),
    (
        "flags that are none",
        &[("AWS_USE_FIPS_ENDPOINT", "perhaps"), ("AWS_SDK_UA_APP_ID", "a b/c")],
        &[("/endpoint", "https://sqs.eu-west-1.amazonaws.com/")],
    ),
    (
        "a container that is not needed",
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")],
        &[("/credentials/key", "AKIDEXAMPLE")],
    ),
];

async fn configured(change: impl FnOnce(FunctionBuilder) -> FunctionBuilder) -> Result<Stage, Failed> {
    Stage::with(Probe::Configuration, TraceMode::PassThrough, |function| {
        let home = ("HOME", std::env::temp_dir().join("lambda-lifecycle-no-home"));
        let function = LAMBDA.iter().fold(function.env(home.0, home.1), |function, (name, value)| function.env(name, value));
        change(function)
    })
    .await
}

fn without_keys(function: FunctionBuilder) -> FunctionBuilder {
    let without = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    without.iter().fold(function, |function, name| function.env(name, ""))
}

async fn described(stage: &Stage) -> Result<Value, Failed> {
    let answer = stage.invoke(json!({})).await?;
    Ok(serde_json::from_slice(&answer.result.map_err(|error| format!("{error:?}"))?)?)
}

fn says(described: &Value, pointer: &str, expected: &str) -> Tested {
    let said = described.pointer(pointer).unwrap_or(&Value::Null);
    let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    ensure(text == expected, format!("{pointer} is {text} and not {expected}: {described}"))
}

async fn variables((_, set, expected): &Case) -> Tested {
    let stage = configured(|function| set.iter().fold(function, |function, (name, value)| function.env(name, value))).await?;
    let described = described(&stage).await?;
    expected.iter().try_for_each(|(pointer, value)| says(&described, pointer, value))
}

/// Whether a line of the library names the variable.
fn warned(stage: &Stage, variable: &str) -> bool {
    !stage.reported_as("name", variable).is_empty()
}

async fn container() -> Tested {
    let file = temporary_file("token");
    std::fs::write(&file, "secret-of-the-agent")?;
    for (name, value) in [
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret-of-the-agent".into()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.clone().into_os_string()),
    ] {
        let agent = Agent::start(&["2099-01-01T00:00:00Z"]).await?;
        let stage = configured(|function| {
            without_keys(function)
                .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.url())
                .env(name, value)
                // The agent is in the environment, and never behind a proxy.
                .env("HTTP_PROXY", "http://127.0.0.1:1")
        })
        .await?;
        let described = described(&stage).await?;
        says(&described, "/credentials/key", "CONTAINER1")?;
        says(&described, "/credentials/token", "t")?;
        let tokens = agent.tokens();
        ensure(tokens[0] == "secret-of-the-agent", format!("{name}: {tokens:?}"))?;
    }
    Ok(std::fs::remove_file(&file)?)
}

async fn profile() -> Tested {
    let file = temporary_file("config");
    std::fs::write(&file, "[profile shop]\nregion = us-east-2\naws_access_key_id = PROFILE\naws_secret_access_key = s\n")?;
    let stage = configured(|function| {
        function
            .env("AWS_REGION", "")
            .env("AWS_DEFAULT_REGION", "")
            .env("AWS_ACCESS_KEY_ID", "")
            .env("AWS_PROFILE", "shop")
            .env("AWS_CONFIG_FILE", &file)
    })
    .await?;
    let described = described(&stage).await;
    std::fs::remove_file(&file)?;
    let described = described?;
    says(&described, "/region", "us-east-2")?;
    says(&described, "/credentials/key", "PROFILE")
}

async fn without_region() -> Tested {
    let stage = configured(|function| function.env("AWS_REGION", "").env("AWS_DEFAULT_REGION", "")).await?;
    let described = described(&stage).await?;
    says(&described, "/region", "null")?;
    ensure(warned(&stage, "AWS_REGION"), "no warning names AWS_REGION")
}

async fn without_credentials() -> Tested {
    // No machine is asked for credentials in a test.
    let stage = configured(|function| without_keys(function).env("AWS_EC2_METADATA_DISABLED", "true")).await?;
    let described = described(&stage).await?;
    ensure(described["credentials"]["error"].is_string(), described.to_string())?;
    says(&described, "/region", "eu-west-1")?;
    ensure(warned(&stage, "AWS_ACCESS_KEY_ID"), "no warning names AWS_ACCESS_KEY_ID")
}

async fn without_secret_key() -> Tested {
    let stage = configured(|function| function.env("AWS_SECRET_ACCESS_KEY", "")).await?;
    let described = described(&stage).await?;
    ensure(described["credentials"]["error"].is_string(), described.to_string())?;
    ensure(warned(&stage, "AWS_SECRET_ACCESS_KEY"), "no warning names AWS_SECRET_ACCESS_KEY")
}

async fn invalid_endpoints() -> Tested {
    for (name, value) in [
        ("AWS_ENDPOINT_URL", "not a URL"),
        ("AWS_ENDPOINT_URL_SQS", "localhost:9324"),
        ("AWS_ENDPOINT_URL_SQS", "ftp://user:hunter2@localhost"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://"),
    ] {
        let stage = configured(|function| function.env(name, value)).await?;
        described(&stage).await?;
        ensure(warned(&stage, name), format!("no warning names {name}: {value}"))?;
        ensure(!stage.function.logs().iter().any(|line| line.text.contains("hunter2")), "the password is in the log")?;
        let stage = configured(|function| function.env(name, value).env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")).await?;
        says(&described(&stage).await?, "/endpoint", "https://sqs.eu-west-1.amazonaws.com/")?;
        ensure(!warned(&stage, name), format!("{name} is ignored, and a warning names it"))?;
    }
    let stage = configured(|function| function.env("AWS_ENDPOINT_URL_SQS", "http://[::1]:9324/base")).await?;
    described(&stage).await?;
    ensure(stage.codes().is_empty(), format!("{:?}", stage.problems()))
}

/// The line may be of `aws_config`, which reads the flags.
async fn invalid_flags() -> Tested {
    for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
        let stage = configured(|function| function.env(name, "perhaps")).await?;
        says(&described(&stage).await?, "/endpoint", "https://sqs.eu-west-1.amazonaws.com/")?;
        ensure(!stage.logged(name).is_empty(), format!("no line names {name}"))?;
    }
    Ok(())
}

async fn bundles() -> Tested {
    let file = temporary_file("bundle.pem");
    for (name, contents) in [
        ("SSL_CERT_FILE", None),
        ("AWS_CA_BUNDLE", Some("no certificate at all")),
        ("SSL_CERT_FILE", Some("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n")),
        ("SSL_CERT_FILE", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
    ] {
        match contents {
            Some(contents) => std::fs::write(&file, contents)?,
            None => ensure(!file.exists(), "the file exists")?,
        }
        let stage = configured(|function| function.env(name, &file)).await?;
        let described = described(&stage).await?;
        says(&described, "/endpoint", "https://sqs.eu-west-1.amazonaws.com/")?;
        ensure(warned(&stage, name), format!("no warning names {name}: {contents:?}"))?;
    }
    Ok(std::fs::remove_file(&file)?)
}

async fn bundle_in_code() -> Tested {
    let stage = Stage::new(Probe::Bundle, TraceMode::PassThrough).await?;
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))
}

async fn invalid_proxy() -> Tested {
    let stage = configured(|function| function.env("HTTPS_PROXY", "socks9://user:hunter2@proxy:1")).await?;
    described(&stage).await?;
    ensure(warned(&stage, "HTTPS_PROXY"), "no warning names HTTPS_PROXY")?;
    ensure(!stage.function.logs().iter().any(|line| line.text.contains("hunter2")), "the password is in the log")
}
