//! The HTTP client that all clients of an `SdkConfig` share.

use super::roots::{Roots, RootsError, Trusted};
use crate::{
    clock::Moment,
    environment::variable,
    frozen,
    notice::{Problem, Warning},
};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::HttpRequest,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::{config_bag::ConfigBag, timeout::TimeoutConfig};
use aws_types::sdk_config::SharedAsyncSleep;
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// How long a connection may be idle. Services and load balancers close idle connections after 60 s or more.
const IDLE: Duration = Duration::from_secs(50);

/// The SDK's default since the behavior version of January 2026.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// The variables that name a proxy.
const PROXIES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

/// An HTTP client for the AWS SDK on Lambda. It uses rustls with ring, root certificates that need no file system access, and
/// proxies from the environment. It never uses a connection that was closed while the environment was frozen.
///
/// [`config`](super::config) creates one itself. Create one to choose the root certificates, or to drop connections in
/// [`Builder::on_thaw`](crate::Builder::on_thaw). Clones share their connections.
///
/// ```no_run
/// use lambda_lifecycle::{Lifecycle, aws_sdk::HttpsClient};
/// use std::time::Duration;
///
/// # async fn main_() {
/// let https = HttpsClient::from_env();
/// let thawed = https.clone();
/// let life = Lifecycle::builder().on_thaw(Duration::from_secs(20), move |_| thawed.drop_connections()).build();
/// let config = https.loader().load().await;
/// # }
/// ```
///
/// | variable | meaning |
/// |---|---|
/// | `AWS_CA_BUNDLE`, `SSL_CERT_FILE` | a PEM file with the root certificates to trust, instead of the compiled ones |
/// | `SSL_CERT_DIR` | folders with root certificates to trust, instead of the compiled ones |
/// | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` | the proxy's URL, also with names in lower case |
/// | `NO_PROXY` | hosts, domains and networks that are reached without the proxy |
///
/// Connections that were idle for 50 seconds are not used again. Frozen time counts, even if the monotonic clock stood still.
/// After a SnapStart restore no connection from before the snapshot is used.
#[derive(Clone, Debug)]
pub struct HttpsClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    given: Option<Trusted>,
    proxied: bool,
    /// Read at first use, because warnings can only be logged once the subscriber is set.
    settings: OnceLock<(Trusted, ProxyConfig)>,
    connectors: Mutex<Connectors>,
}

#[derive(Debug)]
struct Connectors {
    used: Moment,
    /// How often this process had been restored from a snapshot when they were created.
    restores: u32,
    /// One pool of connections for each pair of connect timeout and read timeout.
    of: Vec<(Timeouts, SharedHttpConnector)>,
}

/// Connect timeout and read timeout.
type Timeouts = (Option<Duration>, Option<Duration>);

impl HttpsClient {
    /// A client configured by the variables above, which are read at first use. Invalid ones are logged once by their names, and
    /// ignored.
    pub fn from_env() -> Self {
        Self::new(None, true)
    }

    /// A client with these root certificates, and the proxies of the environment.
    ///
    /// # Errors
    /// [`RootsError`] if [`Roots::Pem`] has no valid root certificate.
    pub fn with_roots(roots: Roots) -> Result<Self, RootsError> {
        Ok(Self::new(Some(Trusted::new(roots)?), true))
    }

    /// The same without a proxy, for the endpoints of container credentials, which are inside of the environment.
    pub(super) fn without_proxy(&self) -> Self {
        Self::new(Some(self.settings().0.clone()), false)
    }

    fn new(given: Option<Trusted>, proxied: bool) -> Self {
        let connectors = Connectors { used: Moment::now(), restores: frozen::restores(), of: Vec::new() };
        Self(Arc::new(Shared { given, proxied, settings: OnceLock::new(), connectors: Mutex::new(connectors) }))
    }

    /// Reads the environment, if that has not happened yet.
    pub(super) fn settings(&self) -> &(Trusted, ProxyConfig) {
        self.0.settings()
    }

    /// Stops using the open connections for further calls. Calls in progress keep theirs.
    ///
    /// The next call opens a new connection. Use it in [`Builder::on_thaw`](crate::Builder::on_thaw) if 50 seconds are too long:
    /// behind a gateway that forgets idle connections earlier, or if a call must never use a connection that may be dead.
    pub fn drop_connections(&self) {
        self.0.connectors().of.clear();
    }
}

impl Default for HttpsClient {
    fn default() -> Self {
        Self::from_env()
    }
}

impl Shared {
    fn connectors(&self) -> MutexGuard<'_, Connectors> {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> &(Trusted, ProxyConfig) {
        self.settings.get_or_init(|| {
            let roots = self.given.clone().unwrap_or_else(Trusted::from_env);
            (roots, if self.proxied { proxies() } else { ProxyConfig::disabled() })
        })
    }

    /// The connector for these timeouts, without connections that may be dead.
    fn connector(&self, settings: &HttpConnectorSettings, sleep: Option<SharedAsyncSleep>) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors();
        if connectors.are_stale() {
            connectors.of.clear();
        }
        connectors.used = Moment::now();
        connectors.restores = frozen::restores();
        match connectors.of.iter().find(|(known, _)| *known == key) {
            Some((_, connector)) => connector.clone(),
            None => {
                let connector = self.build(settings, sleep);
                connectors.of.push((key, connector.clone()));
                connector
            }
        }
    }

    fn build(&self, timeouts: &HttpConnectorSettings, sleep: Option<SharedAsyncSleep>) -> SharedHttpConnector {
        let (roots, proxies) = self.settings();
        let roots = TrustStore::empty().with_pem_certificate(&*roots.pem());
        // It cannot fail in this version. The default trusts the operating system's roots.
        let tls = TlsContext::builder().with_trust_store(roots).build().unwrap_or_default();
        let mut connector = Connector::builder()
            .connector_settings(timeouts.clone())
            .proxy_config(proxies.clone())
            .pool_idle_timeout(IDLE)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls);
        connector.set_sleep_impl(sleep);
        SharedHttpConnector::new(connector.build())
    }
}

impl Connectors {
    /// True if their connections may be dead. The pool's own limit uses a clock that may stand still in frozen time.
    fn are_stale(&self) -> bool {
        self.used.elapsed() > IDLE || self.restores != frozen::restores()
    }
}

impl HttpClient for HttpsClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = self.0.connector(settings, components.sleep_impl());
        SharedHttpConnector::new(Used { connector, shared: Arc::clone(&self.0) })
    }

    /// A client was created, usually in the Init phase, where reading the root certificates is cheapest.
    fn validate_base_client_config(&self, components: &RuntimeComponentsBuilder, config: &ConfigBag) -> Result<(), BoxError> {
        let timeouts = config.load::<TimeoutConfig>();
        let mut settings = HttpConnectorSettings::builder();
        // The SDK's own default is not known here yet.
        settings.set_connect_timeout(timeouts.and_then(TimeoutConfig::connect_timeout).or(Some(CONNECT_TIMEOUT)));
        settings.set_read_timeout(timeouts.and_then(TimeoutConfig::read_timeout));
        self.0.connector(&settings.build(), components.sleep_impl());
        Ok(())
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some(Cow::Borrowed("1.x"))))
    }
}

/// A connector that records when a call ends, because its connection is idle from then on.
#[derive(Debug)]
struct Used {
    connector: SharedHttpConnector,
    shared: Arc<Shared>,
}

impl HttpConnector for Used {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (response, shared) = (self.connector.call(request), Arc::clone(&self.shared));
        HttpConnectorFuture::new(async move {
            let response = response.await;
            shared.connectors().used = Moment::now();
            response
        })
    }
}

/// The proxies of the environment. Invalid ones are logged only by their variable's name, because a URL may contain a password.
fn proxies() -> ProxyConfig {
    for name in PROXIES {
        if variable(name).is_some_and(|url| !is_proxy(&url)) {
            let expected = Some("http://host:port".to_owned());
            Problem { name: Some(name.to_owned()), expected, ..Problem::new(Warning::SettingInvalid) }.log_once();
        }
    }
    ProxyConfig::from_env()
}

fn is_proxy(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else { return false };
    url.authority().is_some() && matches!(url.scheme_str(), None | Some("http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_stale_when_they_were_idle_for_long_on_either_clock() {
        let after = |used| Connectors { used, restores: frozen::restores(), of: Vec::new() }.are_stale();
        assert!(!after(Moment::now()));
        let (short, long) = (IDLE / 2, IDLE * 2);
        assert!(!after(Moment::ago(short, short)));
        assert!(after(Moment::ago(long, long)));
        assert!(after(Moment::ago(Duration::ZERO, long)), "the monotonic clock stood still");
        assert!(after(Moment::ago(long, Duration::ZERO)), "the wall clock was set back");
        let restored = Connectors { used: Moment::now(), restores: frozen::restores().wrapping_add(1), of: Vec::new() };
        assert!(restored.are_stale());
    }

    #[tokio::test]
    async fn the_pool_of_a_client_is_made_with_the_client() {
        let https = HttpsClient::with_roots(Roots::Amazon).expect("the roots are valid");
        // Given here, because the search for credentials would use a separate pool.
        let credentials = aws_sdk_sqs::config::Credentials::new("AKIDEXAMPLE", "none", None, None, "test");
        let loader = https.loader().region(aws_config::Region::new("eu-west-1")).credentials_provider(credentials);
        let client = aws_sdk_sqs::Client::new(&loader.endpoint_url("https://127.0.0.1:1").load().await);
        assert_eq!(https.0.connectors().of.len(), 1);
        let call = client.list_queues().customize().interceptor(crate::aws_sdk::ConnectOnly).send();
        assert!(call.await.is_err());
        let timeouts: Vec<_> = https.0.connectors().of.iter().map(|(timeouts, _)| *timeouts).collect();
        assert_eq!(timeouts, [(Some(CONNECT_TIMEOUT), None)], "the call uses the same ones");
    }

    #[test]
    fn a_proxy_is_a_host_with_or_without_a_scheme() {
        for url in ["http://proxy:3128", "https://user:secret@proxy", "proxy:3128", "10.0.0.1:8080"] {
            assert!(is_proxy(url), "{url}");
        }
        for url in ["socks5://proxy:1080", "/proxy", "http://", "a b"] {
            assert!(!is_proxy(url), "{url}");
        }
    }
}
