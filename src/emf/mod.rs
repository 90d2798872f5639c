//! CloudWatch's [embedded metric
//! format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html):
//! the collected metrics, and their lines of the log. It does not depend on invocations.

mod common;
mod line;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod unit;
mod write;

pub(crate) use common::Common;
pub(crate) use line::Line;
pub(crate) use store::{Dimensions, Record, Refused, Series, Store};
pub(crate) use text::{is_namespace, name, value};
pub(crate) use unit::Resolution;
pub use unit::Unit;
pub(crate) use write::{Base, Ids, MOST_DIMENSIONS, milliseconds};
