//! Why no control group can be made.

use super::group::GroupError;
use std::fmt;

/// Why no control group can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlGroupsError {
    /// The system has no control groups that limit CPU time and memory.
    #[error(
        "no control groups with the controllers `cpu` and `memory` are mounted ({mounts}); mount cgroup2 at /sys/fs/cgroup, or run without the limit"
    )]
    NotMounted {
        /// The hierarchies that were found instead.
        mounts: String,
    },
    /// They are mounted, but this process may not use them.
    #[error(
        "this process may not make control groups: {}; run as root, or in a delegated group (systemd-run --user --scope -p Delegate=yes COMMAND), \
         or without the limit",
        Tried(tried)
    )]
    NotPermitted {
        /// The attempts, in this order.
        tried: Vec<GroupError>,
    },
}

struct Tried<'a>(&'a [GroupError]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}
