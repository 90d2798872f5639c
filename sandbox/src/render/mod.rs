//! Traces and timelines for a terminal, about 120 columns wide.
//!
//! ```text
//! Trace 1-5759e988-bd862e3fe1be46a994272793 · 6 documents · 142 ms
//!                                                0                               142 ms      start   duration
//! orders  AWS::Lambda                            ██████████████████████████████████████       0 ms     142 ms
//! └ orders  AWS::Lambda::Function                  ███████████████████████████████████▌    8.00 ms     133 ms
//!   ├ place                                        ▐█████████████████████████████▌         9.50 ms     112 ms  ✗ fault
//!   │ │ POST /orders/{id} → 502
//!   │ │ cold_start=true  order=7  tenant=acme
//!   │ ├ SQS                                         ▐███▌                                  14.0 ms    14.5 ms
//!   │ │     SendMessage · orders-queue
//!   │ │     → 1-5759e989-…234567
//!   │ └ audit                                                                    ▌          120 ms    0.02 ms
//!   └ background                                                                  ░░░░░     125 ms  unfinished
//! ```

mod paint;
mod timeline;
mod waterfall;

pub use paint::Color;
pub use timeline::{timeline, timeline_in};
pub use waterfall::{traces, waterfall, waterfall_in};

/// Columns that nothing printed here exceeds.
pub const WIDTH: usize = 120;
