//! When spans are sent to the user's exporters.

use std::time::Duration;

/// When spans are sent to your own exporters.
///
/// | policy | calls of the exporter | what is lost, and when |
/// |---|---|---|
/// | [`EveryInvocation`](Self::EveryInvocation) | one after each response, or two if background work takes longer than 100 ms | spans that the exporter fails to send; the spans of an invocation whose environment is killed before its call has ended |
/// | [`Every`](Self::Every) | one after a response, if the last one was that long ago; the last one at shutdown | as above; waiting spans, if the environment is killed, or if the last call takes longer than the shutdown budget |
/// | [`OnShutdown`](Self::OnShutdown) | one at shutdown | as above. Lambda ends environments without a notice after a crash, a timeout or when memory runs out |
///
/// An environment that waits for its next event is frozen, usually for minutes, and so are its waiting spans. Lambda announces
/// the end of an environment only to extensions, so the library registers one for `Every` and `OnShutdown`, and for shutdown
/// hooks.
///
/// After a failure, an exporter is not called for a second. Each further failure doubles the pause, up to a minute. Spans wait
/// meanwhile, 10,000 at most. Further ones are left out, which is logged (`exporter_overrun`). A batch that an exporter failed to
/// send is lost, because most exporters retry themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flush {
    /// After the response of every invocation.
    #[default]
    EveryInvocation,
    /// After the response of an invocation, if the last flush was this long ago; the remaining spans are sent at shutdown.
    Every(Duration),
    /// At shutdown only. An environment that is killed loses them.
    OnShutdown,
}
