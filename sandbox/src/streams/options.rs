//! The options of the mapping of a stream, by Lambda's names.

use super::stream::Stream;
use crate::Invoke;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Most records of one batch.
const BATCH_MOST: usize = 10_000;
/// Most batches of one shard at the same time.
const FACTOR_MOST: usize = 10;
/// Seconds of a tumbling window.
const WINDOW_MOST: u64 = 900;
/// Seconds after which records may be too old: a minute to a week.
const AGES: (u64, u64) = (60, 604_800);

/// Where a mapping begins to read. Lambda has no other positions: none begins at a sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartingPosition {
    /// With the first record of each shard: `TRIM_HORIZON`.
    #[default]
    TrimHorizon,
    /// With the first record that comes after the mapping was started: `LATEST`.
    Latest,
    /// With the first record that arrived at this time or later: `AT_TIMESTAMP`, which only Kinesis has.
    AtTimestamp(SystemTime),
}

/// A mapping that Lambda would refuse as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamMappingError {
    /// No records, or more than Lambda takes.
    #[error("a batch size of {size} is not within 1 to 10000")]
    BatchSize {
        /// The requested option.
        size: usize,
    },
    /// No batch, or more than Lambda runs at the same time.
    #[error("a parallelization factor of {factor} is not within 1 to 10")]
    ParallelizationFactor {
        /// The requested option.
        factor: usize,
    },
    /// A window that is not whole seconds, or is longer than Lambda's.
    #[error("a tumbling window of {window:?} is not 1 to 900 whole seconds")]
    TumblingWindow {
        /// The requested option.
        window: Duration,
    },
    /// A window has one state for each shard, so batches of one shard cannot run at the same time.
    #[error("a tumbling window needs a parallelization factor of 1")]
    ParallelWindow,
    /// An age below a minute or above a week.
    #[error("a maximum record age of {age:?} is not within 60 to 604800 seconds")]
    MaximumRecordAge {
        /// The requested option.
        age: Duration,
    },
    /// A DynamoDB stream cannot be read from a time on.
    #[error("AT_TIMESTAMP is a starting position of Kinesis only")]
    StartingPosition,
}

/// Options of a [`StreamMapping`](super::StreamMapping), by Lambda's names.
pub struct MappingBuilder {
    pub(super) stream: Stream,
    pub(super) function: Arc<dyn Invoke>,
    pub(super) batch_size: usize,
    pub(super) position: StartingPosition,
    pub(super) bisect: bool,
    pub(super) max_retries: Option<u32>,
    pub(super) max_age: Option<Duration>,
    pub(super) window: Option<Duration>,
    pub(super) factor: usize,
    pub(super) report: bool,
}

impl MappingBuilder {
    pub(super) fn new(stream: &Stream, function: Arc<dyn Invoke>) -> Self {
        Self {
            stream: stream.clone(),
            function,
            batch_size: 100,
            position: StartingPosition::TrimHorizon,
            bisect: false,
            max_retries: None,
            max_age: None,
            window: None,
            factor: 1,
            report: false,
        }
    }

    /// Most records of one invocation. Default: 100.
    pub fn batch_size(mut self, size: usize) -> Self {
        self.batch_size = size;
        self
    }

    /// Where to begin to read. Default: with the first record of each shard.
    pub fn starting_position(mut self, position: StartingPosition) -> Self {
        self.position = position;
        self
    }

    /// Whether a batch that fails is split into two, each of which is retried. A split does not count as a retry. Default: no.
    pub fn bisect_on_error(mut self, bisect: bool) -> Self {
        self.bisect = bisect;
        self
    }

    /// How often a batch is retried before it is given up. Default: without end.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// How old a record may be, by the [clock](super::Clock) of its stream, a minute to a week. Older ones are given up. Default: without end.
    pub fn max_record_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// The length of a tumbling window, 1 to 900 s. Default: no window.
    ///
    /// A batch then has records of one window, and the state that the response to the batch before it had. A response without `state` fails
    /// the batch. When the window's time is over by the [clock](super::Clock) of the stream, and its records are done, its last invocation
    /// follows without records. It is repeated until it succeeds. A state above 1 MB ends the window early, and the same window continues with
    /// an empty state.
    pub fn tumbling_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// How many batches of one shard run at the same time, 1 to 10. Records of the same partition key, or of the same item, keep their order.
    /// Default: 1.
    pub fn parallelization_factor(mut self, factor: usize) -> Self {
        self.factor = factor;
        self
    }

    /// Whether the function's response says which record failed. Default: no, so a response means that all succeeded.
    pub fn report_batch_item_failures(mut self, report: bool) -> Self {
        self.report = report;
        self
    }

    /// Refuses a mapping that Lambda would refuse.
    pub(super) fn check(&self) -> Result<(), StreamMappingError> {
        if !(1..=BATCH_MOST).contains(&self.batch_size) {
            return Err(StreamMappingError::BatchSize { size: self.batch_size });
        }
        if !(1..=FACTOR_MOST).contains(&self.factor) {
            return Err(StreamMappingError::ParallelizationFactor { factor: self.factor });
        }
        if let Some(window) = self.window {
            if window.subsec_nanos() > 0 || !(1..=WINDOW_MOST).contains(&window.as_secs()) {
                return Err(StreamMappingError::TumblingWindow { window });
            }
            if self.factor > 1 {
                return Err(StreamMappingError::ParallelWindow);
            }
        }
        if let Some(age) = self.max_age
            && !(Duration::from_secs(AGES.0)..=Duration::from_secs(AGES.1)).contains(&age)
        {
            return Err(StreamMappingError::MaximumRecordAge { age });
        }
        if matches!(self.position, StartingPosition::AtTimestamp(_)) && !self.stream.is_kinesis() {
            return Err(StreamMappingError::StartingPosition);
        }
        Ok(())
    }
}

impl fmt::Debug for MappingBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappingBuilder")
            .field("stream", &self.stream.arn)
            .field("batch_size", &self.batch_size)
            .field("bisect", &self.bisect)
            .field("max_retries", &self.max_retries)
            .field("max_age", &self.max_age)
            .field("window", &self.window)
            .field("factor", &self.factor)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
