//! The service that the contenders call: TLS on this machine, with a certificate that it creates. Each connection has a thread.

use crate::error::Error;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

/// Where systems keep their root certificates; Amazon Linux the second.
const SYSTEM_ROOTS: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// SQS, as far as one message needs it.
const SENT: &str = r#"{"MessageId":"1","MD5OfMessageBody":"8f14e45fceea167a5a36dedd4bea2543"}"#;

pub(crate) struct Service {
    address: SocketAddr,
    authority: CertificateDer<'static>,
    /// The machine's roots, and the one of this service: as many as a function reads on Lambda.
    bundle: PathBuf,
    roots: usize,
}

impl Service {
    /// With `one_root` the bundle has no root but its own.
    pub(crate) fn start(one_root: bool) -> Result<Self, Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;

        let system = SYSTEM_ROOTS.iter().filter(|_| !one_root).find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let bundle = std::env::temp_dir().join(format!("first_response-{}.pem", std::process::id()));
        fs::write(&bundle, format!("{system}\n{}", authority.pem()))?;
        let roots = 1 + system.matches("-----BEGIN CERTIFICATE-----").count();

        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let config = Arc::new(config);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // When a connection breaks, the contender's call fails and reports it.
                thread::spawn(move || serve(stream, config));
            }
        });
        Ok(Self { address, authority: authority.der().clone(), bundle, roots })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// How many certificates the bundle has.
    pub(crate) fn roots(&self) -> usize {
        self.roots
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.bundle);
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> Result<(), Error> {
    // The server's part of a handshake is several small packets. Without this, the kernel holds the later ones back until the client has
    // acknowledged the first, which the client delays by 40 ms.
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        let response = if request.starts_with("HEAD ") {
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()
        } else {
            let length = SENT.len();
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{SENT}")
        };
        let stream = stream.get_mut();
        stream.write_all(response.as_bytes())?;
        stream.flush()?;
    }
}
