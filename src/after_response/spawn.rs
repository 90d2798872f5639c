//! Work that is started without a stage.

use crate::{
    Invocation, context,
    invocation::{CURRENT, Work},
    notice::{self, Data, Warning},
};
use opentelemetry::context::FutureExt as _;
use tokio::runtime::Handle;
use tracing::Instrument;

/// Starts work at once, inside its invocation.
pub(super) fn spawn_now(owner: &Invocation, work: Work) {
    let Ok(handle) = Handle::try_current() else {
        return notice::log(Warning::WorkDropped, Data::default());
    };
    let here = context::current();
    let is_owners = owner.is_detached() || here.get::<Invocation>().is_some_and(|invocation| invocation.is(owner));
    // Without the invocation in its context, its spans would have no parent.
    let context = if is_owners { here } else { owner.context_without_span() };
    let work: Work = Box::pin(CURRENT.scope(owner.clone(), work).with_context(context).in_current_span());
    drop(handle.spawn(work));
}
