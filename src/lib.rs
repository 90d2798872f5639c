//! To come.

pub mod xray;
