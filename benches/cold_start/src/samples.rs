//! The samples of one contender.

/// All samples of one contender; times in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// From the start of the process to its first `/next`.
    pub(crate) to_next: Vec<f64>,
    /// CPU time to there.
    pub(crate) cpu: Vec<f64>,
    pub(crate) faults: Vec<f64>,
    pub(crate) resident: Vec<f64>,
    pub(crate) threads: Vec<f64>,
    /// From the start of the process to the response to its first event, which waits at the first `/next`.
    pub(crate) first_answer: Vec<f64>,
    /// Warm invocations, from the event to the response.
    pub(crate) to_answer: Vec<f64>,
    /// Warm invocations, from the response to `/next`.
    pub(crate) to_ready: Vec<f64>,
    /// The same two of invocations that come as soon as the one before is over.
    pub(crate) to_answer_at_once: Vec<f64>,
    pub(crate) to_ready_at_once: Vec<f64>,
    /// CPU time of a warm invocation.
    pub(crate) warm_cpu: Vec<f64>,
    /// After the warm invocations.
    pub(crate) warm_resident: Vec<f64>,
    pub(crate) warm_threads: Vec<f64>,
    /// Documents, requests or lines that carried spans.
    pub(crate) exported: u64,
}
