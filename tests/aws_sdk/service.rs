//! A service on TLS that counts handshakes, keeps what it was sent, and treats its connections as a service or a gateway may.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The fate of the connections that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    #[default]
    Kept,
    /// The service closes them in order.
    Closed,
    /// A gateway forgets them: the next bytes get a reset.
    Forgotten,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    /// Names in lower case, with values.
    pub(crate) headers: Vec<(String, String)>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    handshakes: AtomicUsize,
    closed: AtomicUsize,
    received: Mutex<Vec<Received>>,
    /// Calls are refused with this error.
    refuses: Option<&'static str>,
    /// No request gets a response.
    silent: bool,
    /// The connection is closed after the response to a `HEAD`.
    closes_after_head: bool,
}

/// See the module. Ends with its test's runtime.
pub(crate) struct Service {
    state: Arc<State>,
    fate: watch::Sender<Fate>,
    port: u16,
    authority: PathBuf,
}

/// How it differs from a service as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Usual,
    Denies,
    /// The credentials of its callers have expired.
    Expired,
    Silent,
    ClosesAfterHead,
}

impl Service {
    pub(crate) async fn start(manner: Manner) -> Result<Self, libtest_mimic::Failed> {
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let file = temporary_file("ca.pem");
        std::fs::write(&file, authority.pem())?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            refuses: match manner {
                Manner::Denies => Some("AccessDeniedException"),
                Manner::Expired => Some("ExpiredTokenException"),
                _ => None,
            },
            silent: manner == Manner::Silent,
            closes_after_head: manner == Manner::ClosesAfterHead,
            ..State::default()
        });
        let (fate, fates) = watch::channel(Fate::Kept);
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&state), fates));
        Ok(Self { state, fate, port, authority: file })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The certificate that it trusts, as a file.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.state.handshakes.load(Ordering::SeqCst)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received().clone()
    }

    /// Decides about the connections that are open now; further ones are kept. Returns when those to be closed are.
    pub(crate) async fn set_fate(&self, fate: Fate) {
        let open = self.handshakes();
        self.fate.send_replace(fate);
        while fate == Fate::Closed && self.state.closed.load(Ordering::SeqCst) < open {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.authority);
    }
}

/// A path in the temporary folder that no other test uses.
pub(crate) fn temporary_file(name: &str) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("lambda-lifecycle-{}-{number}-{name}", std::process::id()))
}

impl State {
    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>, fates: watch::Receiver<Fate>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state, mut fates) = (acceptor.clone(), Arc::clone(&state), fates.clone());
        // An earlier fate concerns other connections.
        fates.mark_unchanged();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            state.handshakes.fetch_add(1, Ordering::SeqCst);
            serve(BufReader::new(stream), &state, fates).await;
            state.closed.fetch_add(1, Ordering::SeqCst);
        });
    }
}

/// Serves one connection until one side closes it.
async fn serve(mut stream: BufReader<TlsStream<TcpStream>>, state: &State, mut fates: watch::Receiver<Fate>) {
    let mut fate = Fate::Kept;
    loop {
        tokio::select! {
            biased;
            changed = fates.changed(), if fate == Fate::Kept => {
                if changed.is_err() {
                    return;
                }
                fate = *fates.borrow();
                if fate == Fate::Closed {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
            ready = stream.fill_buf() => {
                if ready.map_or(true, <[u8]>::is_empty) {
                    return;
                }
                if fate == Fate::Forgotten {
                    // Without lingering a close is a reset.
                    let _ = stream.get_ref().get_ref().0.set_zero_linger();
                    return;
                }
                let Some(request) = read(&mut stream).await else { return };
                let head = request.line.starts_with("HEAD");
                state.received().push(request);
                if state.silent {
                    std::future::pending::<()>().await;
                }
                let closes = head && state.closes_after_head;
                let response = response(head, state.refuses, closes);
                if stream.write_all(response.as_bytes()).await.is_err() || stream.flush().await.is_err() || closes {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
        }
    }
}

async fn read(stream: &mut BufReader<TlsStream<TcpStream>>) -> Option<Received> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let request = Received { line: line.trim().to_owned(), headers };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(request)
}

fn response(head: bool, refused: Option<&str>, closes: bool) -> String {
    let closes = if closes { "connection: close\r\n" } else { "" };
    if head {
        return format!("HTTP/1.1 404 Not Found\r\n{closes}content-length: 0\r\n\r\n");
    }
    let (status, body) = match refused {
        Some(error) => ("400 Bad Request", format!(r#"{{"__type":"com.amazon.coral.service#{error}","message":"no"}}"#)),
        None => ("200 OK", r#"{"MessageId":"1","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#.to_owned()),
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}")
}
