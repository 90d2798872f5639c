//! Filters by target and level, in the format of `RUST_LOG`.

use crate::notice::Problem;
use std::borrow::Cow;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Levels of other languages, which are written in place of those of `tracing`.
const OTHER_LEVELS: [&str; 9] = ["warning", "err", "fatal", "critical", "notice", "information", "verbose", "all", "none"];

const EXPECTED: &str = "directives like info,my_crate=debug; none for spans and fields";

/// Returns the valid directives. The others are reported as one problem with their names. If none is valid, the default applies.
///
/// Spaces around directives, targets and levels are ignored. Directives for spans and fields, which
/// `tracing_subscriber::EnvFilter` supports, would need its regular expressions. They are as invalid as an unknown level. So is
/// a text that is a target by its form alone, such as `"info"` in quotes or `warning`: it would switch the log off silently.
pub(crate) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Targets> {
    let (mut targets, mut valid, mut invalid) = (Targets::new(), false, Vec::new());
    for directive in directives(text) {
        match without_spaces(directive).parse::<Targets>() {
            Ok(parsed) if is_supported(directive) => {
                valid = true;
                targets = targets.with_targets(parsed.iter().map(|(target, level)| (target.to_owned(), level)));
                if let Some(level) = parsed.default_level() {
                    targets = targets.with_default(level);
                }
            }
            _ => invalid.push(directive),
        }
    }
    if !valid || !invalid.is_empty() {
        let named = if invalid.is_empty() { text.trim().to_owned() } else { invalid.join(",") };
        problems.push(Problem::invalid(name, &named, EXPECTED));
    }
    valid.then_some(targets)
}

/// The highest level that any target may have.
pub(crate) fn highest_level(targets: &Targets) -> LevelFilter {
    targets.iter().map(|(_, level)| level).chain(targets.default_level()).max().unwrap_or(LevelFilter::OFF)
}

/// A directive without spaces around its `=`.
fn without_spaces(directive: &str) -> Cow<'_, str> {
    match directive.split_once('=') {
        Some((target, level)) => format!("{}={}", target.trim_end(), level.trim_start()).into(),
        None => directive.into(),
    }
}

fn is_supported(directive: &str) -> bool {
    let target = directive.split('=').next().unwrap_or_default().trim_end();
    let has_odd_letter = target.contains(|letter: char| letter.is_whitespace() || r#"[]{}"'`;|"#.contains(letter));
    !has_odd_letter && !OTHER_LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive))
}

/// The parts between commas. Commas inside of a span's fields do not count: `orders[process{id=1,sku=2}]=debug` is one directive.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = text.split(move |letter| {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.map(str::trim).filter(|directive| !directive.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    /// The levels of a target, and the invalid part.
    fn of(text: &str) -> (Option<Vec<&'static str>>, Option<String>) {
        let mut problems = Vec::new();
        let targets = parse("RUST_LOG", text, &mut problems);
        assert!(problems.len() <= 1);
        let levels = [("orders", Level::DEBUG), ("orders", Level::INFO), ("shop", Level::INFO), ("shop", Level::ERROR)];
        let enabled = targets.map(|targets| {
            let names = ["orders debug", "orders info", "shop info", "shop error"];
            let enabled = levels.iter().zip(names).filter(|((target, level), _)| targets.would_enable(target, level));
            enabled.map(|(_, name)| name).collect()
        });
        (enabled, problems.pop().and_then(|problem| problem.value))
    }

    #[test]
    fn spaces_do_not_matter() {
        for text in [
            "error,orders=debug",
            " error , orders=debug ",
            "error,\n\torders=debug,",
            ",,error,,orders=debug",
            "error, orders = debug",
            "error,orders =debug",
        ] {
            assert_eq!(of(text), (Some(vec!["orders debug", "orders info", "shop error"]), None), "{text}");
        }
    }

    #[test]
    fn a_directive_that_is_not_supported_is_named_and_costs_no_other() {
        for (text, invalid) in [
            ("error,orders[process]=debug", "orders[process]=debug"),
            ("error,orders[process{id=1,sku=2}]=debug", "orders[process{id=1,sku=2}]=debug"),
            ("error,[{id}]=debug", "[{id}]=debug"),
            ("error,orders=loud", "orders=loud"),
            ("[a]=info, error ,orders=x", "[a]=info,orders=x"),
            ("error,\"orders\"=debug", "\"orders\"=debug"),
            ("error,orders;shop=debug", "orders;shop=debug"),
            ("error,orders debug", "orders debug"),
        ] {
            let (levels, named) = of(text);
            assert!(levels.is_some_and(|levels| levels.contains(&"shop error") && !levels.contains(&"shop info")), "{text}");
            assert_eq!(named.as_deref(), Some(invalid), "{text}");
        }
    }

    #[test]
    fn without_a_valid_directive_the_default_is_used() {
        for text in [
            "orders=loud",
            "[",
            "]",
            "{,",
            " , ",
            "a=b=c",
            "\"info\"",
            "'info'",
            "off;orders=info",
            "warning",
            "FATAL",
            "off\norders=info",
        ] {
            assert_eq!(of(text), (None, Some(text.trim().to_owned())), "{text}");
        }
    }

    #[test]
    fn the_last_directive_for_a_target_counts() {
        assert_eq!(of("debug,error"), (Some(vec!["shop error"]), None));
        assert_eq!(of("off"), (Some(vec![]), None));
    }
}
