//! Shared by the programs in `benches`: process statistics, tables and charts.

pub mod deployed;
pub mod format;
pub mod machine;
pub mod panel;
pub mod process;
pub mod section;
pub mod sheet;
pub mod statistics;
