//! The X-Ray daemon: a UDP port for segment documents and OTLP.

use super::{
    TraceStore,
    drops::Drops,
    outage::{DaemonState, DaemonSwitch, Wanted},
};
use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::sync::{Mutex, oneshot, watch};

/// The next task of the second thread.
enum Job {
    Datagram(Bytes),
    /// Everything before it has been judged.
    Settled(u64),
}

/// A UDP listener on the loopback address. Its receive buffer is the system's **default**, as that of Lambda's daemon is, unless
/// [`receive_buffer`](DaemonBuilder::receive_buffer) sets it.
///
/// The kernel silently drops datagrams that exceed the buffer, as in production; [`dropped`](Self::dropped) counts them. One
/// thread does nothing but empty the socket, a second one judges, so that judging costs no datagram. Both end when the daemon is
/// dropped.
#[derive(Debug)]
pub struct Daemon {
    address: SocketAddr,
    store: TraceStore,
    drops: Arc<Drops>,
    /// Its address marks the daemon's own datagrams.
    control: Arc<UdpSocket>,
    settle: mpsc::Sender<(u64, oneshot::Sender<()>)>,
    next: AtomicU64,
    stop: Arc<AtomicBool>,
    switch: DaemonSwitch,
}

/// How long the reader sleeps at most before it looks whether the daemon was dropped: it is woken, but that datagram may be lost.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Daemon {
    /// Starts a daemon with a new store.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Starts a daemon that fills `store`, so that several share one.
    pub async fn with_store(store: TraceStore) -> io::Result<Self> {
        Self::builder().store(store).start().await
    }

    /// Begins to describe a daemon.
    pub fn builder() -> DaemonBuilder {
        DaemonBuilder::default()
    }

    async fn build(builder: DaemonBuilder) -> io::Result<Self> {
        let DaemonBuilder { store, receive_buffer } = builder;
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?.into_std()?;
        if let Some(bytes) = receive_buffer {
            enlarge(&socket, bytes);
        }
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LOOK_AGAIN))?;
        let address = socket.local_addr()?;
        let control = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        control.connect(address)?;
        let own = control.local_addr()?;

        let (jobs, work) = mpsc::channel();
        let (settle, settling) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let wanted = Wanted::new();
        let (state, applied) = watch::channel(DaemonState::Reading);
        let reader = Reader { own, address, receive_buffer, stop: stopped, wanted: Arc::clone(&wanted), state };
        thread::Builder::new().name("xray-daemon".into()).spawn(move || reader.run(socket, &jobs))?;
        let judged = store.clone();
        thread::Builder::new().name("xray-judge".into()).spawn(move || judge(&work, &settling, &judged))?;
        let drops = Arc::new(Drops::of(address));
        store.count_drops_of(&drops);
        let switch = DaemonSwitch { wanted, applied, control: Arc::clone(&control), turn: Arc::new(Mutex::new(())) };
        Ok(Self { address, store, drops, control, settle, next: AtomicU64::new(0), stop, switch })
    }

    /// `ip:port` for `AWS_XRAY_DAEMON_ADDRESS`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The received documents.
    pub fn store(&self) -> TraceStore {
        self.store.clone()
    }

    /// Datagrams that the kernel dropped because the receive buffer was full. Their senders do not notice. Zero on systems other than
    /// Linux, which do not count them.
    pub fn dropped(&self) -> u64 {
        self.drops.count()
    }

    pub(crate) fn switch(&self) -> &DaemonSwitch {
        &self.switch
    }

    /// Waits until every datagram that was in the socket when this was called has been judged.
    ///
    /// This is how a test shows that something was *not* sent. It is an error if the daemon's threads are gone.
    pub async fn settle(&self) -> io::Result<()> {
        const AGAIN_AFTER: Duration = Duration::from_millis(100);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the X-Ray daemon has ended");
        let (done, mut wait) = oneshot::channel();
        self.settle.send((id, done)).map_err(|_| gone())?;
        loop {
            // The loopback keeps order: this datagram is read after all that came before it. In a full buffer it may be lost.
            match self.control.send(&id.to_be_bytes()) {
                // During an outage there is no listener.
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => return Err(error),
                _ => {}
            }
            if let Ok(result) = tokio::time::timeout(AGAIN_AFTER, &mut wait).await {
                return result.map_err(|_| gone());
            }
        }
    }
}

/// Describes a [`Daemon`].
#[derive(Clone, Debug, Default)]
#[must_use = "a daemon listens only once it is started"]
pub struct DaemonBuilder {
    store: TraceStore,
    receive_buffer: Option<usize>,
}

impl DaemonBuilder {
    /// Where the documents are kept: a new store if none is set.
    pub fn store(mut self, store: TraceStore) -> Self {
        self.store = store;
        self
    }

    /// How many bytes wait in the socket before the kernel drops datagrams. Linux counts more than a datagram's bytes: 1,280 for one
    /// of up to 640.
    ///
    /// Without a setting it is the system's default, 212,992 on Linux, as on Lambda. A test that counts thousands of documents asks
    /// for more, as its reader may get no time on a busy machine. Only root may have more than `net.core.rmem_max`: others get that.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Starts the daemon.
    ///
    /// # Errors
    ///
    /// The system's error for a new socket or thread.
    pub async fn start(self) -> io::Result<Daemon> {
        Daemon::build(self).await
    }
}

/// As far as it is permitted: who needs all of it asks for [`Daemon::dropped`].
fn enlarge(socket: &UdpSocket, bytes: usize) {
    #[cfg(target_os = "linux")]
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_ok() {
        return;
    }
    if let Err(error) = setsockopt(socket, sockopt::RcvBuf, &bytes) {
        tracing::warn!(%error, bytes, "the X-Ray daemon's receive buffer stays as it is");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The reader drops the sender of jobs, which ends the judge.
        self.stop.store(true, Ordering::Release);
        let _ = self.control.send(&[]);
    }
}

/// How long a slow daemon takes for a datagram.
const SLOW: Duration = Duration::from_millis(100);

/// How often a daemon that was absent tries to listen again, and how often an absent one looks whether it may.
const LISTEN_AGAIN: Duration = Duration::from_millis(10);

/// The thread that empties the socket.
struct Reader {
    own: SocketAddr,
    address: SocketAddr,
    receive_buffer: Option<usize>,
    stop: Arc<AtomicBool>,
    wanted: Arc<Wanted>,
    state: watch::Sender<DaemonState>,
}

impl Reader {
    fn run(self, mut socket: UdpSocket, jobs: &mpsc::Sender<Job>) {
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Acquire) {
            let state = self.wanted.get();
            if state == DaemonState::Absent {
                drop(socket);
                self.apply(state);
                let Some(listening) = self.listen_again() else { return };
                socket = listening;
                continue;
            }
            self.apply(state);
            let job = match socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.own => match <[u8; 8]>::try_from(&buffer[..length]) {
                    Ok(id) => Job::Settled(u64::from_be_bytes(id)),
                    Err(_) => continue,
                },
                Ok((length, _)) => Job::Datagram(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) if is_no_failure(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "the X-Ray daemon cannot read its socket and ends");
                    return;
                }
            };
            if jobs.send(job).is_err() {
                return;
            }
            if state == DaemonState::Slow {
                thread::sleep(SLOW);
            }
        }
    }

    fn apply(&self, state: DaemonState) {
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
    }

    /// The socket after an outage; `None` at the end of the daemon.
    fn listen_again(&self) -> Option<UdpSocket> {
        loop {
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            if self.wanted.get() != DaemonState::Absent
                && let Ok(socket) = UdpSocket::bind(self.address)
                && socket.set_read_timeout(Some(LOOK_AGAIN)).is_ok()
            {
                if let Some(bytes) = self.receive_buffer {
                    enlarge(&socket, bytes);
                }
                return Some(socket);
            }
            thread::sleep(LISTEN_AGAIN);
        }
    }
}

/// A signal, or the end of a `LOOK_AGAIN`.
fn is_no_failure(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn judge(work: &mpsc::Receiver<Job>, settling: &mpsc::Receiver<(u64, oneshot::Sender<()>)>, store: &TraceStore) {
    let mut waiting: Vec<(u64, oneshot::Sender<()>)> = Vec::new();
    while let Ok(job) = work.recv() {
        match job {
            Job::Datagram(datagram) => store.put_datagram(datagram),
            Job::Settled(id) => {
                waiting.extend(settling.try_iter());
                if let Some(position) = waiting.iter().position(|(waiting, _)| *waiting == id) {
                    // Whoever waited may have given up.
                    let _ = waiting.swap_remove(position).1.send(());
                }
            }
        }
    }
}
