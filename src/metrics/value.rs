//! Values of metrics.

use crate::emf::Unit;
use std::time::Duration;

/// The value of a metric: a number, or a [`Duration`], which is written in the metric's unit.
///
/// [`Invocation::metric`](crate::Invocation::metric) accepts every type that converts into it: integers, floats and durations.
///
/// ```
/// use lambda_lifecycle::{Invocation, metrics::Unit};
/// use std::time::Instant;
///
/// let began = Instant::now();
/// let invocation = Invocation::current();
/// invocation.metric("OrdersPlaced", 1, Unit::Count);
/// invocation.metric("CartValue", 17.5, Unit::None);
/// invocation.metric("PaymentLatency", began.elapsed(), Unit::Milliseconds);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricValue(Inner);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Inner {
    Number(f64),
    Time(Duration),
}

impl MetricValue {
    /// The number in the unit. A duration is in milliseconds if the unit is not one of time.
    pub(super) fn in_unit(self, unit: Unit) -> f64 {
        match (self.0, unit) {
            (Inner::Number(number), _) => number,
            (Inner::Time(time), Unit::Seconds) => time.as_secs_f64(),
            (Inner::Time(time), Unit::Microseconds) => time.as_nanos() as f64 / 1e3,
            (Inner::Time(time), _) => time.as_nanos() as f64 / 1e6,
        }
    }
}

impl From<Duration> for MetricValue {
    fn from(time: Duration) -> Self {
        Self(Inner::Time(time))
    }
}

macro_rules! from_numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for MetricValue {
            fn from(number: $number) -> Self {
                #[allow(clippy::cast_lossless, reason = "some of the types have no `From`")]
                Self(Inner::Number(number as f64))
            }
        }
    )*};
}

from_numbers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_unit_of_its_metric() {
        let time = MetricValue::from(Duration::from_micros(1_500));
        for (unit, expected) in
            [(Unit::Seconds, 0.0015), (Unit::Milliseconds, 1.5), (Unit::Microseconds, 1_500.0), (Unit::None, 1.5)]
        {
            assert!((time.in_unit(unit) - expected).abs() < 1e-12, "{unit:?}");
        }
        assert!((MetricValue::from(7_u64).in_unit(Unit::Seconds) - 7.0).abs() < f64::EPSILON);
    }
}
