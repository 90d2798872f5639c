//! Creates an `SdkConfig` from the variables that Lambda sets.

use super::{https::HttpsClient, traced};
use crate::{
    environment::variable,
    notice::{Problem, Warning},
    urls,
};
use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig,
    ecs::EcsCredentialsProvider,
    environment::EnvironmentVariableCredentialsProvider,
    meta::{
        credentials::CredentialsProviderChain,
        region::{ProvideRegion, future},
    },
    profile::ProfileFileRegionProvider,
    provider_config::ProviderConfig,
    retry::RetryConfig,
};
use std::{path::Path, sync::Once};

/// Variables that name a source of configuration which only `aws_config` reads.
const OTHER_SOURCES: [&str; 4] = ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
/// The address of an agent that provides credentials: under SnapStart, on ECS and on EKS.
const CONTAINERS: [&str; 2] = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
/// The secret that belongs to it, and the older name that `aws_config` also reads.
const SECRET_KEYS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"];
/// An endpoint for all services. `AWS_ENDPOINT_URL_<SERVICE>` is one for that service.
const ENDPOINT: &str = "AWS_ENDPOINT_URL";
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The configuration of AWS SDK clients on Lambda, from the variables that Lambda sets: see the [module](super#configuration).
///
/// ```no_run
/// # async fn main_() {
/// let config = lambda_lifecycle::aws_sdk::config().await;
/// let queues = aws_sdk_sqs::Client::new(&config);
/// let topics = aws_sdk_sns::Client::new(&config);
/// # }
/// ```
pub async fn config() -> SdkConfig {
    loader().load().await
}

/// Like [`config`], with your own settings: retries, timeouts, a region, credentials, and all other options of `aws_config`'s
/// loader.
///
/// ```no_run
/// use lambda_lifecycle::{aws_config::{retry::RetryConfig, timeout::TimeoutConfig}, aws_sdk};
/// use std::time::Duration;
///
/// # async fn main_() {
/// let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(2)).build();
/// let config = aws_sdk::loader().retry_config(RetryConfig::standard().with_max_attempts(2)).timeout_config(timeouts).load().await;
/// # }
/// ```
pub fn loader() -> ConfigLoader {
    HttpsClient::from_env().loader()
}

impl HttpsClient {
    /// Like [`loader`], with this HTTP client.
    pub fn loader(&self) -> ConfigLoader {
        // This logs invalid variables.
        self.settings();
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(traced(self.clone())).region(LambdaRegion);
        let loader = with_valid_retries(loader);
        warn_of_invalid_endpoints();
        if let Some(name) = OTHER_SOURCES.into_iter().find(|name| variable(name).is_some()) {
            log_fallback(name);
            return loader;
        }
        let container = CONTAINERS.into_iter().any(|name| variable(name).is_some());
        if variable(ACCESS_KEY).is_none() && !container {
            // Only on Lambda, because a developer's machine has profiles, and a server has metadata.
            warn_without_credentials();
            return loader;
        }
        let loader = without_profiles(loader);
        let environment = EnvironmentVariableCredentialsProvider::new();
        if !container {
            warn_without_secret_key();
            return loader.credentials_provider(environment);
        }
        let provider = ProviderConfig::without_region().with_http_client(self.without_proxy());
        let container = EcsCredentialsProvider::builder().configure(&provider).build();
        let chain = CredentialsProviderChain::first_try("Environment", environment).or_else("EcsContainer", container);
        loader.credentials_provider(chain)
    }
}

/// A loader that reads no profile files, because each read takes several system calls and Lambda has none.
#[allow(deprecated, reason = "the loader takes no other type")]
fn without_profiles(loader: ConfigLoader) -> ConfigLoader {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    loader.profile_files(ProfileFiles::builder().with_contents(ProfileFileKind::Config, "").build())
}

/// The retries of the environment, if they are valid; `aws_config` panics otherwise. A mode of other SDKs, such as `legacy`, is
/// invalid.
fn with_valid_retries(loader: ConfigLoader) -> ConfigLoader {
    let (mut retries, mut invalid) = (RetryConfig::standard(), false);
    let mut read = |name: &str, expected: &str, set: &mut dyn FnMut(&str) -> bool| {
        let Ok(text) = std::env::var(name) else { return };
        if set(&text) {
            return;
        }
        invalid = true;
        if !text.is_empty() {
            Problem::invalid(name, &text, expected).log_once();
        }
    };
    read("AWS_MAX_ATTEMPTS", "a number from 1", &mut |text| {
        let attempts = text.parse().ok().filter(|attempts| *attempts > 0);
        attempts.is_some_and(|attempts| {
            retries = retries.clone().with_max_attempts(attempts);
            true
        })
    });
    read("AWS_RETRY_MODE", "standard or adaptive", &mut |text| {
        text.parse().is_ok_and(|mode| {
            retries = retries.clone().with_retry_mode(mode);
            true
        })
    });
    if invalid { loader.retry_config(retries) } else { loader }
}

fn log_fallback(variable: &str) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| {
        tracing::debug!(variable, "aws_config loads the configuration with all its sources, because the variable is set")
    });
}

/// A developer's machine has profiles instead.
fn warn_without_credentials() {
    let has_profiles = variable("HOME").is_some_and(|home| Path::new(&home).join(".aws").is_dir());
    if !has_profiles {
        Problem { name: Some(ACCESS_KEY.to_owned()), ..Problem::new(Warning::AwsCredentialsMissing) }.log_once();
    }
}

/// Without it every call fails, with an error that only the handler sees.
fn warn_without_secret_key() {
    if !SECRET_KEYS.into_iter().any(|name| variable(name).is_some()) {
        Problem { name: Some(SECRET_KEYS[0].to_owned()), ..Problem::new(Warning::AwsCredentialsMissing) }.log_once();
    }
}

/// The SDK's error of a call to such an endpoint does not name the variable.
fn warn_of_invalid_endpoints() {
    if variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|flag| flag.eq_ignore_ascii_case("true")) {
        return;
    }
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| is_endpoint(name)) else { continue };
        let value = value.to_string_lossy();
        if !value.is_empty() && !is_url(&value) {
            Problem::invalid(name, &urls::without_secrets(&value), "http://host or https://host").log_once();
        }
    }
}

fn is_endpoint(variable: &str) -> bool {
    variable.strip_prefix(ENDPOINT).is_some_and(|service| service.is_empty() || service.starts_with('_'))
}

fn is_url(text: &str) -> bool {
    let Ok(url) = text.parse::<http::Uri>() else { return false };
    url.host().is_some_and(|host| !host.is_empty()) && matches!(url.scheme_str(), Some("http" | "https"))
}

/// The region of the environment, or else of a profile, with a warning if there is none. The metadata service is not called:
/// Lambda has none, and elsewhere the start would wait for it.
#[derive(Debug)]
struct LambdaRegion;

impl ProvideRegion for LambdaRegion {
    fn region(&self) -> future::ProvideRegion<'_> {
        if let Some(region) = REGIONS.into_iter().find_map(variable) {
            return future::ProvideRegion::ready(Some(Region::new(region)));
        }
        future::ProvideRegion::new(async {
            let region = ProfileFileRegionProvider::new().region().await;
            if region.is_none() {
                Problem { name: Some("AWS_REGION".to_owned()), ..Problem::new(Warning::AwsRegionMissing) }.log_once();
            }
            region
        })
    }
}
