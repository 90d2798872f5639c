//! The time of a handshake with the local service, which must not dominate the measurement.

use crate::{error::Error, service::Service};
use bench_report::statistics::{median, quantile};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use std::{
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

const HANDSHAKES: usize = 31;

/// A delayed acknowledgment takes 40 ms, so this limit detects it under any load.
const LIMIT: Duration = Duration::from_millis(3);

/// Connecting and shaking hands, in nanoseconds.
pub(crate) struct Handshake {
    pub(crate) median: f64,
    pub(crate) fastest: f64,
}

pub(crate) fn measure(service: &Service) -> Result<Handshake, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(service.authority().clone())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each is a full one, as a new process's is.
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let mut samples = Vec::new();
    for _ in 0..HANDSHAKES {
        let began = Instant::now();
        let mut stream = TcpStream::connect(service.address())?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(&config), name)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        samples.push(began.elapsed().as_secs_f64() * 1e9);
    }
    let (median, fastest) = (median(&samples), quantile(&samples, 0.0));
    if fastest >= LIMIT.as_secs_f64() * 1e9 {
        return Err(Error::SlowHandshake(Duration::from_secs_f64(fastest / 1e9)));
    }
    Ok(Handshake { median, fastest })
}
