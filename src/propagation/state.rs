//! W3C's [`tracestate`](https://www.w3.org/TR/trace-context-2/#tracestate-header) within its limits.

use super::names::{TRACESTATE, log_cut};
use opentelemetry::trace::TraceState;
use std::{str::FromStr as _, sync::Once};

/// The characters that every implementation should send on.
const LONGEST: usize = 512;
const MOST: usize = 32;
/// Larger members are the first to be dropped.
const LARGE: usize = 128;

/// `None` if it is empty or invalid. The specification requires an invalid one to be dropped as a whole.
pub(super) fn read(text: &str) -> Option<TraceState> {
    let mut members: Vec<&str> = text.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
    members.retain(|member| !member.is_empty());
    if members.iter().any(|member| member.starts_with('=')) {
        return None;
    }
    if members.len() > MOST || length(&members) > LONGEST {
        static LOGGED: Once = Once::new();
        log_cut(TRACESTATE, &LOGGED);
        shorten(&mut members);
    }
    TraceState::from_str(&members.join(",")).ok().filter(|state| *state != TraceState::NONE)
}

/// In the order of the specification: first large members from the end, then any from the end.
fn shorten(members: &mut Vec<&str>) {
    while length(members) > LONGEST {
        let Some(large) = members.iter().rposition(|member| member.len() > LARGE) else { break };
        members.remove(large);
    }
    members.truncate(MOST);
    while length(members) > LONGEST {
        members.pop();
    }
}

fn length(members: &[&str]) -> usize {
    members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        read(text).map(|state| state.header()).unwrap_or_default()
    }

    #[test]
    fn a_state_within_its_limits_is_kept_as_it_is() {
        let many: Vec<String> = (0..32).map(|number| format!("k{number}=v")).collect();
        let long = format!("a={},b={}", "x".repeat(253), "y".repeat(254));
        assert_eq!(long.len(), 512);
        for text in ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "tenant@vendor=a b", &many.join(","), &long] {
            assert_eq!(kept(text), text);
        }
        assert_eq!(kept(" a=1 ,\t, b=2"), "a=1,b=2");
    }

    #[test]
    fn beyond_them_the_first_members_stay() {
        let many: Vec<String> = (0..40).map(|number| format!("k{number}=v")).collect();
        assert_eq!(kept(&many.join(",")), many[..32].join(","));
        let large = format!("first=1,large={},last=1", "x".repeat(600));
        assert_eq!(kept(&large), "first=1,last=1");
        let small: Vec<String> = (0..6).map(|number| format!("k{number}={}", "x".repeat(97))).collect();
        assert_eq!(kept(&small.join(",")), small[..5].join(","));
    }
}
