//! The ways on which documents leave the process.

use crate::{
    Environment,
    clock::timers_run,
    export::encoder::Encoder,
    notice::{self, Data, Warning},
    xray::{DaemonAddress, StdoutEmitter, UdpEmitter, UdpLoss},
};
use std::{
    sync::{
        Mutex as SyncMutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

#[derive(Debug)]
pub(super) enum Transport {
    Udp(Box<Udp>),
    Stdout,
    /// The documents that wait for a call of the API.
    #[cfg(feature = "xray-api")]
    Api(SyncMutex<Vec<String>>),
}

#[derive(Debug)]
pub(super) struct Udp {
    /// For documents that are sent at once.
    pub(super) immediate: SyncMutex<UdpEmitter>,
    /// For documents that are sent at a rate that the daemon's buffer can take.
    pub(super) paced: Mutex<UdpEmitter>,
}

impl Transport {
    /// The daemon. A failure is logged.
    pub(super) fn udp() -> Option<Self> {
        let address = match Environment::current().xray_daemon_address.as_deref() {
            Some(written) => DaemonAddress::parse(written)
                .inspect_err(|error| {
                    let data = Data { value: Some(written), ..Data::error(error) };
                    notice::log(Warning::DaemonAddressInvalid, Data { name: Some("AWS_XRAY_DAEMON_ADDRESS"), ..data });
                })
                .ok()?,
            // Like AWS's X-Ray SDKs.
            None => DaemonAddress::default(),
        };
        match UdpEmitter::new(&address).and_then(|emitter| Ok((emitter.try_clone()?, emitter))) {
            Ok((immediate, paced)) => {
                Some(Self::Udp(Box::new(Udp { immediate: SyncMutex::new(immediate), paced: Mutex::new(paced) })))
            }
            Err(error) => {
                notice::log(Warning::DaemonSocketUnavailable, Data::error(&error));
                None
            }
        }
    }

    /// Sends without waiting.
    pub(super) fn send_now(&self, encoder: &mut Encoder) {
        match self {
            // A refusal by the kernel is logged when the finished document is sent.
            Self::Udp(udp) => {
                let mut emitter = lock(&udp.immediate);
                encoder.packed().for_each(|datagram| _ = emitter.send(datagram));
            }
            Self::Stdout => encoder.documents().datagrams().for_each(|datagram| _ = StdoutEmitter.send(datagram)),
            #[cfg(feature = "xray-api")]
            Self::Api(waiting) => {
                let documents = encoder.documents().documents().map(|document| String::from_utf8_lossy(document).into_owned());
                lock(waiting).extend(documents);
            }
        }
    }
}

impl Udp {
    /// Sends at the pace until `until`, and then the rest at once. Without a time it does not wait for other senders.
    pub(super) async fn send_until(&self, encoder: &mut Encoder, until: Option<Instant>) {
        let datagrams: Vec<&[u8]> = encoder.packed().collect();
        // The document that waits for the pace has not been sent.
        let left = AtomicUsize::new(0);
        let paced = async {
            let mut emitter = match until {
                Some(_) => self.paced.lock().await,
                None => match self.paced.try_lock() {
                    Ok(emitter) => emitter,
                    Err(_) => return,
                },
            };
            let next = datagrams.iter().enumerate().map(|(index, datagram)| {
                left.store(index, Ordering::Relaxed);
                *datagram
            });
            emitter.send_all(next, pause).await;
            left.store(datagrams.len(), Ordering::Relaxed);
        };
        match until {
            Some(until) => _ = tokio::time::timeout_at(until.into(), paced).await,
            None => paced.await,
        }
        let mut emitter = lock(&self.immediate);
        datagrams[left.into_inner()..].iter().for_each(|datagram| _ = emitter.send(datagram));
    }
}

/// Waits between two datagrams.
pub(super) async fn pause(time: Duration) {
    if timers_run() {
        tokio::time::sleep(time).await;
    } else {
        tokio::task::yield_now().await;
    }
}

pub(super) fn lock<T>(mutex: &SyncMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs that documents are lost. Outside of Lambda there is usually no daemon at the default address.
#[cold]
#[inline(never)]
pub(super) fn report(loss: UdpLoss) {
    let warning = match loss {
        UdpLoss::NoDaemon if Environment::current().xray_daemon_address.is_none() => {
            return tracing::debug!("no X-Ray daemon is listening at the default address");
        }
        UdpLoss::NoDaemon => Warning::DaemonMissing,
        UdpLoss::Failed => Warning::DaemonSocketFailed,
        UdpLoss::TooLarge => Warning::DocumentTooLong,
    };
    notice::log(warning, Data::default());
}
