//! Units and resolutions of metrics.

/// The unit of a metric: the list of CloudWatch's
/// [`MetricDatum`](https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html).
///
/// CloudWatch stores values of different units separately, so use one unit for one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// `Seconds`
    Seconds,
    /// `Microseconds`
    Microseconds,
    /// `Milliseconds`
    Milliseconds,
    /// `Bytes`
    Bytes,
    /// `Kilobytes`
    Kilobytes,
    /// `Megabytes`
    Megabytes,
    /// `Gigabytes`
    Gigabytes,
    /// `Terabytes`
    Terabytes,
    /// `Bits`
    Bits,
    /// `Kilobits`
    Kilobits,
    /// `Megabits`
    Megabits,
    /// `Gigabits`
    Gigabits,
    /// `Terabits`
    Terabits,
    /// `Percent`
    Percent,
    /// `Count`
    Count,
    /// `Bytes/Second`
    BytesPerSecond,
    /// `Kilobytes/Second`
    KilobytesPerSecond,
    /// `Megabytes/Second`
    MegabytesPerSecond,
    /// `Gigabytes/Second`
    GigabytesPerSecond,
    /// `Terabytes/Second`
    TerabytesPerSecond,
    /// `Bits/Second`
    BitsPerSecond,
    /// `Kilobits/Second`
    KilobitsPerSecond,
    /// `Megabits/Second`
    MegabitsPerSecond,
    /// `Gigabits/Second`
    GigabitsPerSecond,
    /// `Terabits/Second`
    TerabitsPerSecond,
    /// `Count/Second`
    CountPerSecond,
    /// `None`: a number without a unit.
    #[default]
    None,
}

impl Unit {
    /// The unit's name in CloudWatch.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "Seconds",
            Self::Microseconds => "Microseconds",
            Self::Milliseconds => "Milliseconds",
            Self::Bytes => "Bytes",
            Self::Kilobytes => "Kilobytes",
            Self::Megabytes => "Megabytes",
            Self::Gigabytes => "Gigabytes",
            Self::Terabytes => "Terabytes",
            Self::Bits => "Bits",
            Self::Kilobits => "Kilobits",
            Self::Megabits => "Megabits",
            Self::Gigabits => "Gigabits",
            Self::Terabits => "Terabits",
            Self::Percent => "Percent",
            Self::Count => "Count",
            Self::BytesPerSecond => "Bytes/Second",
            Self::KilobytesPerSecond => "Kilobytes/Second",
            Self::MegabytesPerSecond => "Megabytes/Second",
            Self::GigabytesPerSecond => "Gigabytes/Second",
            Self::TerabytesPerSecond => "Terabytes/Second",
            Self::BitsPerSecond => "Bits/Second",
            Self::KilobitsPerSecond => "Kilobits/Second",
            Self::MegabitsPerSecond => "Megabits/Second",
            Self::GigabitsPerSecond => "Gigabits/Second",
            Self::TerabitsPerSecond => "Terabits/Second",
            Self::CountPerSecond => "Count/Second",
            Self::None => "None",
        }
    }
}

/// The resolution at which CloudWatch stores a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Resolution {
    /// One minute.
    #[default]
    Standard,
    /// One second.
    High,
}
