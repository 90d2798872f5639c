//! All measurements of one contender.

use crate::{build::Built, contender::Contender, samples::Samples};

pub(crate) struct Measured {
    pub(crate) contender: &'static Contender,
    pub(crate) built: Built,
    pub(crate) samples: Samples,
    /// Its invocations without a receiver for the spans.
    pub(crate) absent: Samples,
    /// To the first `/next`, where they can be counted.
    pub(crate) instructions: Option<u64>,
    pub(crate) system_calls: Option<u64>,
}

impl Measured {
    pub(crate) fn new(contender: &'static Contender, built: Built) -> Self {
        let (samples, absent) = (Samples::default(), Samples::default());
        Self { contender, built, samples, absent, instructions: None, system_calls: None }
    }
}
