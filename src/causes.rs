//! An error together with its causes, on one line.

use std::{
    error::Error,
    fmt::{self, Display, Formatter},
};

/// Displays an error and its causes: `client error (Connect): tcp connect error: Connection refused (os error 111)`.
///
/// `Display` of an HTTP client's error names only the outermost cause, and `Debug` prints Rust structures.
pub(crate) struct Causes<'e>(pub(crate) &'e (dyn Error + 'static));

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut written = self.0.to_string();
        f.write_str(&written)?;
        let mut error = self.0.source();
        while let Some(cause) = error {
            let text = cause.to_string();
            // Some errors repeat their cause in their own text.
            if !written.ends_with(&text) {
                write!(f, ": {text}")?;
                written = text;
            }
            error = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no response")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("connect: {0}")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn every_cause_is_named_once() {
        let error = Outer(Middle(std::io::Error::other("refused")));
        assert_eq!(Causes(&error).to_string(), "no response: connect: refused");
        assert_eq!(Causes(&error.0).to_string(), "connect: refused");
    }
}
