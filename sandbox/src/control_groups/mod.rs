//! CPU share and memory of a function's process, by control groups.
//!
//! ```no_run
//! use lambda_lifecycle_sandbox::{control_groups::ControlGroups, function::Function};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let groups = ControlGroups::find()?;
//! let function = Function::builder("orders", "target/release/bootstrap").memory(128).limit(groups).build().await;
//! # drop(function);
//! # Ok(())
//! # }
//! ```
//!
//! Versions 1 and 2 of Linux's control groups are supported. Making a group takes root's rights, or, with version 2, a subtree that is delegated
//! to the user.

mod error;
mod find;
mod group;
mod probe;
mod share;

pub(crate) use self::group::Group;
pub use self::{error::ControlGroupsError, group::GroupError, share::CpuQuota};

use self::group::Hierarchy;
use std::{fmt, path::PathBuf, sync::Arc};

/// The place where this process may make control groups.
///
/// Groups are made below the group of this process, or, with version 2, below the nearest of its ancestors that allows it. Each process of a
/// function gets a separate group, which is removed when the process ends, when its function is dropped, and when the sandbox is killed.
#[derive(Clone)]
pub struct ControlGroups(Arc<Hierarchy>);

impl ControlGroups {
    /// Looks for a place where groups can be made, and makes one there for a process that does nothing, to be sure of it.
    ///
    /// # Errors
    ///
    /// Says which controllers are missing, or what was tried and refused.
    pub fn find() -> Result<Self, ControlGroupsError> {
        let mut tried = Vec::new();
        for candidate in find::candidates()? {
            match probe::try_out(&candidate) {
                Ok(()) => return Ok(Self(Arc::new(candidate))),
                Err(error) => tried.push(error),
            }
        }
        Err(ControlGroupsError::NotPermitted { tried })
    }

    /// The folders below which groups are made: one with version 2, one for each controller with version 1.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.0.folders()
    }

    pub(crate) fn create(&self) -> Result<Group, GroupError> {
        self.0.create()
    }
}

impl fmt::Debug for ControlGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ControlGroups").field(&self.folders()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{ControlGroups, ControlGroupsError, GroupError, group::Hierarchy};
    use crate::{
        Event, Failure, Invoke,
        function::{EventKind, Function},
    };
    use std::{error::Error, io, sync::Arc};

    #[tokio::test]
    async fn a_process_that_cannot_be_limited_is_not_started() -> Result<(), Box<dyn Error>> {
        let parent = std::env::temp_dir().join(format!("control-groups-{}-nowhere", std::process::id()));
        let groups = ControlGroups(Arc::new(Hierarchy::V1 { cpu: parent.clone(), memory: parent }));
        let function = Function::builder("limited", "/bin/sh").limit(groups).build().await;
        let response = function.invoke(Event::default()).await;
        let Err(Failure::Function { error_type, error_message }) = response.result else { return Err("it runs".into()) };
        assert_eq!(error_type, "Sandbox.NotLimited", "{error_message}");
        assert!(!function.timeline().iter().any(|event| matches!(event.kind, EventKind::Spawned { .. })));
        Ok(())
    }

    #[test]
    fn everything_that_was_tried_is_in_the_message() {
        let tried = ["/one", "/two"].map(|path| GroupError {
            action: "make".to_owned(),
            path: path.into(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        });
        let message = ControlGroupsError::NotPermitted { tried: tried.into() }.to_string();
        assert!(message.contains("make /one: permission denied; make /two: permission denied"), "{message}");
    }
}
