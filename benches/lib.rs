//! Benchmarks of lambda-lifecycle and its rivals; run them with `cargo bench --manifest-path benches/Cargo.toml`.

pub mod function;
pub mod measure;
