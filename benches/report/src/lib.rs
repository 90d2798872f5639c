//! What the programs in `benches` share to look at processes, and to write tables and charts.

pub mod deployed;
pub mod format;
pub mod machine;
pub mod panel;
pub mod process;
pub mod section;
pub mod sheet;
pub mod statistics;
