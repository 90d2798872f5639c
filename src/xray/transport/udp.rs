//! Datagrams to the X-Ray daemon.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{AddressError, DaemonAddress, MAX_DATAGRAM, Pace, Pacer};
use crate::clock::Moment;

/// How often a datagram is retried when the kernel has no room, a millisecond apart.
const RETRIES: u32 = 20;
const BUSY: Duration = Duration::from_millis(1);

/// The time after a refusal in which no daemon is expected. Within a machine the kernel reports each refusal, and beyond the
/// loopback interface one per second. A refusal that is not reported would look like a daemon.
const ABSENT: Duration = Duration::from_millis(100);
const ABSENT_ELSEWHERE: Duration = Duration::from_millis(1_100);

/// The result for one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// The kernel accepted it. Whether it arrived is unknown.
    Yes,
    /// The kernel has no room right now; try again in a millisecond.
    Busy,
    /// Longer than a datagram can be.
    TooLarge,
    /// No process is listening at the address.
    Refused,
    /// Any other error of the socket.
    Failed(ErrorKind),
}

/// An emitter's statistics since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpStats {
    /// Datagrams that the kernel accepted. Their delivery is never known.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often the kernel reported that no process is listening. It reports this on a later call, so this does not count lost
    /// datagrams.
    pub refused: u64,
    /// Datagrams not sent because they are too long.
    pub too_large: u64,
    /// How often the kernel had no room.
    pub busy: u64,
    /// Datagrams that were given up: no room for 20 ms, or another error.
    pub failed: u64,
    /// Datagrams that were not sent because no process was listening for the previous one.
    pub skipped: u64,
}

/// The reason why documents are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpLoss {
    /// No daemon is listening at the address.
    NoDaemon,
    /// The socket did not accept some documents.
    Failed,
    /// A document was too long for a datagram.
    TooLarge,
}

/// Sends documents to the daemon over one connected, non-blocking socket.
///
/// A failed or oversized datagram does not affect others. After the construction, nothing resolves names or blocks.
#[derive(Debug)]
pub struct UdpEmitter {
    socket: UdpSocket,
    /// The time after a refusal until the next document is tried.
    retry: Duration,
    pacer: Pacer,
    stats: UdpStats,
    reported: bool,
    /// No process was listening at the last check. All clones of the socket share it.
    absent: Arc<AtomicBool>,
    /// The time of that check by this emitter.
    refused_at: Option<Moment>,
}

impl UdpEmitter {
    /// Opens the socket and resolves the daemon's name, which may block. Call it in the Init phase.
    pub fn new(address: &DaemonAddress) -> Result<Self, UdpError> {
        Ok(Self::connect(address.resolve()?)?)
    }

    /// Opens a socket to a known address.
    ///
    /// # Errors
    /// The system's error for a new socket.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let retry = if address.ip().is_loopback() { ABSENT } else { ABSENT_ELSEWHERE };
        Ok(Self::over(socket, retry))
    }

    /// The same socket with a separate pace and separate counts, for the watchdog's thread.
    ///
    /// # Errors
    /// The system's error for the duplication.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket.try_clone()?;
        Ok(Self { absent: Arc::clone(&self.absent), ..Self::over(socket, self.retry) })
    }

    fn over(socket: UdpSocket, retry: Duration) -> Self {
        Self {
            socket,
            retry,
            pacer: Pacer::new(Pace::default(), Instant::now()),
            stats: UdpStats::default(),
            reported: false,
            absent: Arc::default(),
            refused_at: None,
        }
    }

    /// Sends one datagram now, regardless of the pace, without blocking.
    pub fn send(&mut self, datagram: &[u8]) -> Sent {
        if datagram.len() > MAX_DATAGRAM {
            self.stats.too_large += 1;
            return Sent::TooLarge;
        }
        let mut sent = self.socket.send(datagram);
        // This error belongs to a previous datagram. Reading it lets this one be sent.
        if is_refusal(&sent) {
            self.stats.refused += 1;
            sent = self.socket.send(datagram);
        }
        match sent {
            Ok(bytes) => {
                self.stats.sent += 1;
                self.stats.bytes += bytes as u64;
                Sent::Yes
            }
            Err(error) if is_busy(&error) => {
                self.stats.busy += 1;
                Sent::Busy
            }
            Err(error) if is_too_large(&error) => {
                self.stats.too_large += 1;
                Sent::TooLarge
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.stats.refused += 1;
                Sent::Refused
            }
            Err(error) => {
                self.stats.failed += 1;
                Sent::Failed(error.kind())
            }
        }
    }

    /// True if no process was listening when [`send_all`](Self::send_all) last sent, here or in a clone.
    pub fn is_unheard(&self) -> bool {
        self.absent.load(Ordering::Relaxed)
    }

    /// False if no process was listening a tenth of a second ago, or 1.1 s beyond the loopback interface. Documents need not be
    /// written then. At other times [`send_all`](Self::send_all) finds out with one of them.
    pub fn is_worth_a_try(&self) -> bool {
        !self.is_unheard() || self.refused_at.is_none_or(|at| at.elapsed() >= self.retry)
    }

    /// Reads from the socket whether the previous datagram was refused. Within a machine the refusal is known when the send
    /// returns.
    fn take_refusal(&mut self) -> bool {
        let refused = matches!(self.socket.take_error(), Ok(Some(error)) if error.kind() == ErrorKind::ConnectionRefused);
        self.stats.refused += u64::from(refused);
        refused
    }

    /// Sends datagrams at the pace, each once, and returns how many the kernel accepted. `sleep` waits without blocking the
    /// executor: `tokio::time::sleep`, for example. It is not called within the pace's burst.
    ///
    /// If no process is listening, the rest is not sent, because every datagram would cost an ICMP response.
    pub async fn send_all<'d, F: Future<Output = ()>>(
        &mut self,
        datagrams: impl IntoIterator<Item = &'d [u8]>,
        mut sleep: impl FnMut(Duration) -> F,
    ) -> u32 {
        let (mut sent, mut refusals) = (0, 0);
        let mut datagrams = datagrams.into_iter();
        while let Some(datagram) = datagrams.next() {
            let mut tries = 0;
            let refused = self.stats.refused;
            // A datagram that cannot be sent takes no room from others.
            while datagram.len() <= MAX_DATAGRAM
                && let Err(wait) = self.pacer.admit(Instant::now(), datagram.len())
            {
                sleep(wait).await;
            }
            loop {
                match self.send(datagram) {
                    Sent::Yes => sent += 1,
                    Sent::Busy if tries < RETRIES => {
                        tries += 1;
                        sleep(BUSY).await;
                        continue;
                    }
                    Sent::Busy => self.stats.failed += 1,
                    Sent::TooLarge | Sent::Refused | Sent::Failed(_) => {}
                }
                break;
            }
            // The first refusal may belong to a much earlier datagram.
            refusals += self.stats.refused - refused;
            if (refusals > 0 || self.is_unheard()) && (refusals > 1 || self.take_refusal()) {
                self.absent.store(true, Ordering::Relaxed);
                self.refused_at = Some(Moment::now());
                self.stats.skipped += datagrams.count() as u64;
                return sent;
            }
        }
        if sent > 0 {
            self.absent.store(false, Ordering::Relaxed);
        }
        sent
    }

    /// The statistics so far.
    pub fn stats(&self) -> UdpStats {
        self.stats
    }

    /// The reason for the first loss, once in the emitter's life.
    pub fn first_loss(&mut self) -> Option<UdpLoss> {
        let loss = match self.stats {
            UdpStats { refused: 1.., .. } => UdpLoss::NoDaemon,
            UdpStats { failed: 1.., .. } => UdpLoss::Failed,
            UdpStats { too_large: 1.., .. } => UdpLoss::TooLarge,
            _ => return None,
        };
        (!std::mem::replace(&mut self.reported, true)).then_some(loss)
    }
}

/// The error when an emitter is created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdpError {
    /// The daemon's address is invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The socket could not be opened.
    #[error("no socket to the X-Ray daemon could be opened; tracing is off")]
    Socket(#[from] io::Error),
}

fn is_refusal(sent: &io::Result<usize>) -> bool {
    matches!(sent, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

/// ENOBUFS and EMSGSIZE, for which the standard library has no kinds: on Linux, on Windows, on the BSDs and macOS.
const NO_BUFFERS: i32 = if cfg!(target_os = "linux") {
    105
} else if cfg!(windows) {
    10_055
} else {
    55
};
const MESSAGE_SIZE: i32 = if cfg!(target_os = "linux") {
    90
} else if cfg!(windows) {
    10_040
} else {
    40
};

/// Linux reports a full queue as EAGAIN or ENOBUFS.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) || error.raw_os_error() == Some(NO_BUFFERS)
}

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(MESSAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_fits_a_default_buffer_that_nobody_reads() {
        for size in [200, 600, 1_000, 5_600, 48_000, 63_000] {
            let pace = Pace::default();
            let number = (pace.burst / Pace::charge(size)).max(1) as usize;
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            let mut emitter = UdpEmitter::connect(socket.local_addr().expect("an address")).expect("a socket");
            let document = vec![b'x'; size];
            let documents = (0..number).map(|_| document.as_slice());
            let sent = emitter.send_all(documents, |_| async { panic!("the first burst needs no waiting") }).await;
            assert_eq!(
                (sent as usize, std::iter::from_fn(|| socket.recv(&mut [0; 65_536]).ok()).count()),
                (number, number),
                "documents of {size} bytes"
            );
        }
    }
}
