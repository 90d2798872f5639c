//! The configuration of one lifecycle, which its layers and each of its invocations carry.

use super::{
    Deadline, Hooks, Invocation, WeakInvocation,
    buffer::{LateSpans, SpanBuffer, WeakSpanBuffer, lock},
};
use crate::{
    export::{Destinations, Given},
    propagation::Propagators,
    settings::{self, Settings},
};
use std::sync::{
    Arc, Mutex, Once, OnceLock,
    atomic::{AtomicBool, Ordering},
};
use tokio_util::task::TaskTracker;

/// The configuration of a lifecycle, and the state that its invocations share.
///
/// No span is lost or sent twice, for these reasons. A lock of a container is held neither across an await nor across a call of
/// user code. No lock is taken while another is held, with one exception: a buffer's lock may be taken while an invocation's
/// notes are locked, never the other way round. The turn at the pace is not a container: its holder waits, and calls the
/// redactor. A span is in one place at a time. It is open in its buffer until its end, the watchdog or the shutdown takes it out,
/// which only one of them can. Then it is finished there, or in `late`, until one `take` moves it out. `tests/soak` checks this
/// with sixty-four concurrent invocations.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) hooks: Hooks,
    pub(crate) destinations: Destinations,
    pub(crate) late: Arc<LateSpans>,
    #[cfg(feature = "metrics-emf")]
    pub(crate) metrics: crate::emf::Common,
    /// A shutdown waits for these: responses that are being posted, the stages that follow them, and with concurrent invocations
    /// all handlers.
    pub(crate) stages: TaskTracker,
    /// Invocations that are recorded or measured, including dropped ones, for the watchdog and the shutdown.
    known: Mutex<Vec<Known>>,
    /// A shutdown has searched the buffers.
    cut_off: AtomicBool,
    /// The code of the trace has run once.
    pub(crate) is_warm: Once,
}

/// An invocation with its buffer, which lives as long as a span of the invocation.
#[derive(Debug)]
struct Known {
    invocation: WeakInvocation,
    buffer: WeakSpanBuffer,
}

impl Shared {
    pub(crate) fn new(mut settings: Settings, hooks: Hooks, given: Given) -> Arc<Self> {
        if !given.exporters.is_empty() {
            // The default of OpenTelemetry's SDKs, in addition to X-Ray.
            settings.propagators.get_or_insert(Propagators::ALL);
        }
        let destinations = Destinations::new(&settings, given);
        Arc::new(Self {
            settings,
            hooks,
            destinations,
            late: Arc::default(),
            #[cfg(feature = "metrics-emf")]
            metrics: crate::emf::Common::default(),
            stages: TaskTracker::new(),
            known: Mutex::default(),
            cut_off: AtomicBool::new(false),
            is_warm: Once::new(),
        })
    }

    /// The defaults, regardless of the environment.
    pub(crate) fn with_defaults() -> Arc<Self> {
        Self::of(Settings::default())
    }

    /// The configuration from the environment, for the runtime without a lifecycle.
    pub(crate) fn from_env() -> Arc<Self> {
        static READ: OnceLock<Settings> = OnceLock::new();
        // The runtime may have three layers, which read them too.
        Self::of(READ.get_or_init(Settings::from_env).clone())
    }

    /// The configuration from the environment, for a layer without a lifecycle.
    pub(crate) fn of_layer() -> Arc<Self> {
        // Whichever loop serves it may not do so.
        settings::warn_of_unknown_variables();
        Self::from_env()
    }

    /// Without hooks and exporters.
    pub(crate) fn of(settings: Settings) -> Arc<Self> {
        Self::new(settings, Hooks::default(), Given::default())
    }

    /// The configuration for code outside of any invocation.
    pub(super) fn detached() -> Arc<Self> {
        static DETACHED: OnceLock<Arc<Shared>> = OnceLock::new();
        Arc::clone(DETACHED.get_or_init(Self::with_defaults))
    }

    /// Registers an invocation for the shutdown.
    pub(super) fn register(&self, invocation: &Invocation) {
        let mut known = lock(&self.known);
        // The list is only cleaned when its length has doubled.
        if known.len() == known.capacity() {
            known.retain(|known| !known.buffer.is_gone());
        }
        known.push(Known { invocation: invocation.downgrade(), buffer: invocation.spans().downgrade() });
    }

    /// The invocations that the watchdog may have to report, with their deadlines.
    pub(crate) fn watched(&self) -> Vec<(Invocation, Deadline)> {
        let invocations: Vec<_> = lock(&self.known).iter().filter_map(|known| known.invocation.upgrade()).collect();
        let watched = invocations.into_iter().filter(Invocation::is_watched);
        watched.filter_map(|invocation| invocation.timing().map(|deadline| (invocation, deadline))).collect()
    }

    /// Takes the invocations whose spans have not all been sent, each with its buffer, and once only.
    pub(crate) fn take_known(&self) -> impl Iterator<Item = (Option<Invocation>, SpanBuffer)> + use<> {
        // Set before the search. A thread that opens a span after the search has locked `known`, and so it sees this value.
        self.cut_off.store(true, Ordering::Release);
        let known = std::mem::take(&mut *lock(&self.known));
        known.into_iter().filter_map(|known| Some((known.invocation.upgrade(), known.buffer.upgrade()?)))
    }

    /// True once that search has started. An invocation that starts now may have been missed.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }
}
