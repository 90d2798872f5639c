//! The example `inspect_trace`.

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![]
}
