//! The time until a failed message is received again.

use super::FailedMessage;
use lambda_runtime::Error;
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

/// SQS counts its limit of 12 hours from the receive, and the message was received before its handler ran.
const LONGEST: u64 = 11 * 3600;

/// How long a failed message stays invisible, for [`Batch::backoff`](crate::batch::Batch::backoff).
///
/// Values are rounded up to whole seconds, and at most 11 hours are requested: SQS allows
/// [12 hours from the receive](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html).
#[derive(Clone)]
pub struct Backoff(Policy);

#[derive(Clone)]
enum Policy {
    Exponential { first: Duration, most: Duration, jitter: bool },
    Function(Arc<Choose>),
}

type Choose = dyn Fn(&FailedMessage<'_>) -> Option<Duration> + Send + Sync;

impl Backoff {
    /// `first` after the first receive, twice as long after each further one, and at most `most`.
    ///
    /// Messages that failed together are spread over the second half of that time. The place of a message follows from its id and its receive
    /// count, so it is the same in every run. [`without_jitter`](Self::without_jitter) turns this off.
    ///
    /// ```
    /// use lambda_lifecycle::sqs::Backoff;
    /// use std::time::Duration;
    ///
    /// // 15 to 30 s, 30 to 60 s, 1 to 2 min … 30 min to 1 h.
    /// let backoff = Backoff::exponential(Duration::from_secs(30), Duration::from_secs(3600));
    /// ```
    pub fn exponential(first: Duration, most: Duration) -> Self {
        Self(Policy::Exponential { first, most, jitter: true })
    }

    /// The whole time for each message. It has no effect on [`from_fn`](Self::from_fn).
    pub fn without_jitter(mut self) -> Self {
        if let Policy::Exponential { jitter, .. } = &mut self.0 {
            *jitter = false;
        }
        self
    }

    /// The time that `policy` returns. With `None` the message keeps the visibility timeout of its queue.
    ///
    /// ```
    /// use lambda_lifecycle::sqs::{Backoff, Failure};
    /// use std::time::Duration;
    ///
    /// let backoff = Backoff::from_fn(|message| match message.failure {
    ///     // Another instance may do better at once.
    ///     Failure::Panicked(_) => Some(Duration::ZERO),
    ///     _ if message.receive_count < 5 => Some(Duration::from_secs(60)),
    ///     _ => None,
    /// });
    /// ```
    pub fn from_fn(policy: impl Fn(&FailedMessage<'_>) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self(Policy::Function(Arc::new(policy)))
    }

    /// The visibility timeout to request, in seconds.
    fn seconds(&self, message: &FailedMessage<'_>) -> Option<i32> {
        let seconds = match &self.0 {
            Policy::Function(policy) => whole(policy(message)?),
            Policy::Exponential { first, most, jitter } => {
                let doubled = 2_u32.saturating_pow(message.receive_count.saturating_sub(1));
                let all = whole(first.saturating_mul(doubled).min(*most));
                let half = all.div_ceil(2);
                if *jitter { half + spread(message.id, message.receive_count) % (all - half + 1) } else { all }
            }
        };
        i32::try_from(seconds).ok()
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Policy::Exponential { first, most, jitter } => {
                f.debug_struct("Backoff").field("first", first).field("most", most).field("jitter", jitter).finish()
            }
            Policy::Function(_) => f.debug_struct("Backoff").finish_non_exhaustive(),
        }
    }
}

fn whole(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    seconds.min(LONGEST)
}

/// A number that differs between messages and between their receives: FNV-1a, whose high bits are mixed into the low ones.
fn spread(id: &str, receive_count: u32) -> u64 {
    let bytes = id.bytes().chain(receive_count.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}

/// A call of `ChangeMessageVisibility` to make, for the hook of [`Batch::backoff`](crate::batch::Batch::backoff).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VisibilityChange {
    /// The id of the message.
    pub message_id: String,
    /// The receipt handle of the message.
    pub receipt_handle: String,
    /// The visibility timeout to set, in seconds: 0 to 39,600.
    pub visibility_timeout: i32,
    /// The queue's URL, made from its ARN: `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`.
    pub queue_url: String,
    /// The queue's ARN.
    pub queue_arn: String,
}

type Changing = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
/// Makes the call.
pub(super) type Change = Arc<dyn Fn(VisibilityChange) -> Changing + Send + Sync>;

/// The setting of a batch.
#[derive(Clone)]
pub(super) struct Delays {
    pub(super) backoff: Backoff,
    pub(super) change: Change,
}

/// The part of a message that a change of its visibility needs.
#[derive(Debug)]
pub struct Receipt {
    pub(super) message_id: String,
    pub(super) handle: String,
    pub(super) queue_arn: String,
}

impl Delays {
    /// The call for `receipt`, which may be that of a later message of the group.
    pub(super) fn call(&self, receipt: &Receipt, seconds: i32) -> Changing {
        (self.change)(VisibilityChange {
            message_id: receipt.message_id.clone(),
            receipt_handle: receipt.handle.clone(),
            visibility_timeout: seconds,
            queue_url: url(&receipt.queue_arn),
            queue_arn: receipt.queue_arn.clone(),
        })
    }

    pub(super) fn seconds(&self, message: &FailedMessage<'_>) -> Option<i32> {
        self.backoff.seconds(message)
    }
}

/// The URL of a queue. Empty for what is no ARN.
fn url(arn: &str) -> String {
    let mut parts = arn.split(':').skip(1);
    let (Some(partition), Some(_), Some(region), Some(account), Some(name)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return String::new();
    };
    let domain = match partition {
        "aws-cn" => "amazonaws.com.cn",
        "aws-iso" => "c2s.ic.gov",
        "aws-iso-b" => "sc2s.sgov.gov",
        _ => "amazonaws.com",
    };
    format!("https://sqs.{region}.{domain}/{account}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_queue_follows_from_its_arn() {
        for (arn, expected) in [
            ("arn:aws:sqs:eu-west-1:123456789012:orders.fifo", "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo"),
            ("arn:aws-cn:sqs:cn-north-1:123456789012:orders", "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/orders"),
            ("arn:aws-us-gov:sqs:us-gov-west-1:1:q", "https://sqs.us-gov-west-1.amazonaws.com/1/q"),
            ("orders", ""),
            ("", ""),
        ] {
            assert_eq!(url(arn), expected);
        }
    }

    #[test]
    fn places_of_messages_are_spread_and_stay_the_same() {
        let mut places: Vec<u64> = (0..100).map(|number| spread(&format!("message-{number}"), 1) % 16).collect();
        assert_eq!(places, (0..100).map(|number| spread(&format!("message-{number}"), 1) % 16).collect::<Vec<_>>());
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 16, "a hundred messages have all sixteen places");
        assert_ne!(spread("message-1", 1), spread("message-1", 2));
    }

    #[test]
    fn times_are_whole_seconds_below_the_limit_of_sqs() {
        assert_eq!(whole(Duration::from_millis(1)), 1);
        assert_eq!(whole(Duration::from_secs(60)), 60);
        assert_eq!(whole(Duration::MAX), LONGEST);
    }
}
