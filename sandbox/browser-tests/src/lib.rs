//! Tests of the console in a browser: see `tests/console`.
