//! The goals and their measured figures.

use crate::{
    contender::{DEFAULTS, OURS},
    measured::{Measured, Size, of, ratio},
};
use bench_report::statistics::median;

/// The size of the goals that are about one size.
const SMALLEST: u32 = 128;

/// Prints every goal that these sizes measure, and returns the number of missed ones.
pub(crate) fn print(all: &[Measured], sizes: &[u32]) -> usize {
    let mut missed = 0;
    let mut goal = |what: &str, mb: u32, value: f64, limit: f64, unit: &str| {
        // This is false for NaN, so a missing figure fails the check.
        let holds = value <= limit;
        missed += usize::from(!holds);
        println!(
            "{}  {OURS} at {mb} MB: {what}: {value:.3} {unit}, goal {limit} {unit}",
            if holds { "ok    " } else { "MISSED" }
        );
    };
    for &mb in sizes {
        let (Some(ours), Some(defaults)) = (of(all, OURS, mb), of(all, DEFAULTS, mb)) else { continue };
        let times = format!("× {DEFAULTS}");
        let against = |figure: fn(&Size) -> &[f64]| ratio(figure(ours), figure(defaults));
        if mb == SMALLEST {
            goal("first response", mb, against(|size| &size.first), 0.02, &times);
            goal("first response above the second", mb, median(&ours.first) - median(&ours.second), 3.0, "ms");
            goal("process start to first response", mb, against(|size| &size.start_to_first), 0.25, &times);
            goal("CPU in all", mb, against(|size| &size.cpu), 0.2, &times);
        } else {
            goal("process start to first response", mb, against(|size| &size.start_to_first), 1.0, &times);
            goal("CPU in all", mb, against(|size| &size.cpu), 1.0, &times);
        }
    }
    missed
}
