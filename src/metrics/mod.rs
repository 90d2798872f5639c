#![cfg_attr(feature = "metrics-emf", doc = include_str!("../links.md"))]
#![cfg_attr(feature = "metrics-emf", doc = include_str!("../../docs/metrics.md"))]

#[cfg(feature = "metrics-emf")]
mod base;
#[cfg(all(feature = "metrics-emf", feature = "_batch"))]
mod batch;
#[cfg(feature = "metrics-emf")]
mod handle;
#[cfg(feature = "metrics-emf")]
mod memory;
#[cfg(not(feature = "metrics-emf"))]
mod off;
#[cfg(feature = "metrics-emf")]
mod own;
#[cfg(feature = "metrics")]
mod recorder;
#[cfg(feature = "metrics-emf")]
mod spent;
#[cfg(feature = "metrics-emf")]
mod stage;
#[cfg(feature = "metrics-emf")]
mod value;

#[cfg(feature = "metrics-emf")]
pub use crate::emf::Unit;
#[cfg(all(feature = "metrics-emf", feature = "_batch"))]
pub(crate) use batch::{Batch, batch};
#[cfg(feature = "metrics-emf")]
pub use handle::Metrics;
#[cfg(not(feature = "metrics-emf"))]
pub(crate) use off::*;
#[cfg(feature = "metrics")]
pub use recorder::Recorder;
#[cfg(feature = "metrics-emf")]
pub use value::MetricValue;
#[cfg(feature = "metrics-emf")]
pub(crate) use {base::base, spent::Spent, stage::*};

/// The crate whose macros the [`Recorder`] serves.
#[cfg(feature = "metrics")]
pub use ::metrics as facade;
