//! A daemon that is slow or absent for a while.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// How often the reader is woken until it has seen its new state: a full buffer takes no datagram.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a daemon does with its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum DaemonState {
    /// It reads all that comes.
    #[default]
    Reading,
    /// It reads one datagram every 100 ms; the kernel keeps the others as long as it has room.
    Slow,
    /// It listens no more: senders are refused.
    Absent,
}

/// Shared by a daemon, its reader and those who change its state.
#[derive(Debug)]
pub(super) struct Wanted(AtomicU8);

impl Wanted {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU8::new(DaemonState::Reading as u8)))
    }

    pub(super) fn get(&self) -> DaemonState {
        match self.0.load(Ordering::Acquire) {
            1 => DaemonState::Slow,
            2 => DaemonState::Absent,
            _ => DaemonState::Reading,
        }
    }

    fn set(&self, state: DaemonState) {
        self.0.store(state as u8, Ordering::Release);
    }
}

/// Changes a daemon's state, for one at a time.
#[derive(Clone, Debug)]
pub(crate) struct DaemonSwitch {
    pub(super) wanted: Arc<Wanted>,
    pub(super) applied: watch::Receiver<DaemonState>,
    pub(super) control: Arc<UdpSocket>,
    pub(super) turn: Arc<Mutex<()>>,
}

/// A daemon in another state, until this is ended or dropped.
#[derive(Debug)]
pub(crate) struct Outage {
    switch: DaemonSwitch,
    _turn: OwnedMutexGuard<()>,
}

impl DaemonSwitch {
    /// Has the daemon be in this state from here on. Waits while another outage lasts.
    pub(crate) async fn begin(&self, state: DaemonState) -> Outage {
        let outage = Outage { switch: self.clone(), _turn: Arc::clone(&self.turn).lock_owned().await };
        self.set(state).await;
        outage
    }

    async fn set(&self, state: DaemonState) {
        self.wanted.set(state);
        let mut applied = self.applied.clone();
        loop {
            // It fails during an outage, while there is no listener.
            let _ = self.control.send(&[]);
            // An error: the daemon is gone.
            let seen = applied.wait_for(|applied| *applied == state);
            if tokio::time::timeout(AGAIN_AFTER, seen).await.is_ok() {
                return;
            }
        }
    }
}

impl Outage {
    /// The daemon reads all that comes again.
    pub(crate) async fn end(self) {
        self.switch.set(DaemonState::Reading).await;
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.switch.wanted.set(DaemonState::Reading);
    }
}
