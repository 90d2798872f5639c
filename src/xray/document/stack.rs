//! Rust backtraces as X-Ray stack frames.

/// One line of a stack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StackFrame<'t> {
    pub(super) label: &'t str,
    pub(super) path: Option<&'t str>,
    pub(super) line: Option<u32>,
}

/// The frames of a printed `std::backtrace::Backtrace`, with or without `stack backtrace:` and the panic's text around it.
pub(super) fn frames(text: &str) -> impl Iterator<Item = StackFrame<'_>> {
    let mut lines = text.lines().map(str::trim_ascii).peekable();
    std::iter::from_fn(move || {
        let label = lines.find_map(numbered)?;
        let (mut path, mut line) = (None, None);
        if let Some(location_text) = lines.peek().and_then(|next| next.strip_prefix("at ")) {
            lines.next();
            let (file, number) = location(location_text.trim_ascii());
            (path, line) = (Some(file), number);
        }
        Some(StackFrame { label: without_hash(label), path, line })
    })
}

/// `12: some::function`
fn numbered(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let label = line[digits..].strip_prefix(": ")?;
    (digits > 0).then(|| label.trim_ascii())
}

/// `path:line:column`, where the path may contain colons.
fn location(location_text: &str) -> (&str, Option<u32>) {
    let numbered = |text: &'_ str| -> Option<(usize, u32)> {
        let (before, number) = text.rsplit_once(':')?;
        Some((before.len(), number.parse().ok()?))
    };
    match numbered(location_text) {
        Some((end, last)) => match numbered(&location_text[..end]) {
            Some((start, line)) => (&location_text[..start], Some(line)),
            None => (&location_text[..end], Some(last)),
        },
        None => (location_text, None),
    }
}

/// Legacy symbol names end in `::h` and sixteen digits, which are useless to readers.
fn without_hash(label: &str) -> &str {
    match label.len().checked_sub(16).and_then(|hash| label.split_at_checked(hash)) {
        Some((name, hash)) if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name.strip_suffix("::h").unwrap_or(label),
        _ => label,
    }
}

#[cfg(test)]
mod tests {
    use super::{StackFrame, frames};

    #[test]
    fn a_printed_backtrace_becomes_frames() {
        let text = "stack backtrace:\n   0: orders::place::h0123456789abcdef\n             at ./src/main.rs:10:5\n   1: <unknown>\n  \
                    12: core::ops::function::FnOnce::call_once\n             at C:\\rust\\function.rs:250\nnote: run with more";
        let frame = |label, path, line| StackFrame { label, path, line };
        assert_eq!(
            frames(text).collect::<Vec<_>>(),
            [
                frame("orders::place", Some("./src/main.rs"), Some(10)),
                frame("<unknown>", None, None),
                frame("core::ops::function::FnOnce::call_once", Some("C:\\rust\\function.rs"), Some(250)),
            ]
        );
    }

    #[test]
    fn a_real_backtrace_names_this_test() {
        let text = std::backtrace::Backtrace::force_capture().to_string();
        let here = |frame: StackFrame| frame.label.contains("a_real_backtrace_names_this_test") && frame.line.is_some();
        assert!(frames(&text).any(here), "{text}");
    }
}
