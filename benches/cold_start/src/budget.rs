//! The budget of this library: the lines of `benches/budget.toml`, and the comparison of each with its measured figure.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A figure that hardly varies between two runs, so that a difference means that the program changed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    Instructions,
    WarmInstructions,
    Syscalls,
    AnonymousKb,
    ResidentKb,
    StrippedKb,
    Crates,
}

impl Figure {
    /// Its name in the file.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::WarmInstructions => "warm_instructions",
            Self::Syscalls => "syscalls",
            Self::AnonymousKb => "anonymous_kb",
            Self::ResidentKb => "resident_kb",
            Self::StrippedKb => "stripped_kb",
            Self::Crates => "crates",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instructions => "instructions to the first /next",
            Self::WarmInstructions => "instructions of a warm invocation",
            Self::Syscalls => "system calls to the first /next",
            Self::AnonymousKb => "anonymous memory at the first /next, KB",
            Self::ResidentKb => "resident memory at the first /next, KB",
            Self::StrippedKb => "stripped size, KB",
            Self::Crates => "crates",
        })
    }
}

/// The comparison failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("benches/budget.toml: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("benches/budget.toml, [{contender}.{}]: {what}", .figure.key())]
    Line { contender: String, figure: Figure, what: &'static str },
}

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The contender whose figure divides this one.
    ratio_to: Option<String>,
    /// The contender whose figure is taken from this one.
    above: Option<String>,
    budget: f64,
    /// The allowed distance from the budget, in either direction.
    margin: f64,
    why: String,
}

/// All lines, by contender.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Budget(BTreeMap<String, BTreeMap<Figure, Line>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    /// More than the budget and its margin.
    Exceeded,
    /// Less than the budget by more than the margin: the budget is out of date.
    Loose,
    /// A tool is missing.
    NotMeasured,
}

/// A line of the budget and its measured figure.
pub(crate) struct Compared<'a> {
    pub(crate) contender: &'a str,
    pub(crate) figure: Figure,
    pub(crate) verdict: Verdict,
    line: &'a Line,
    measured: Option<Measured>,
}

/// The figures of the contender and of the baseline, and the figure that the line compares.
struct Measured {
    own: f64,
    base: Option<f64>,
    value: f64,
}

impl Budget {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let budget: Self = toml::from_str(text)?;
        for (contender, figure, line) in budget.lines() {
            let wrong = |what| Error::Line { contender: contender.to_owned(), figure, what };
            if line.ratio_to.is_some() && line.above.is_some() {
                return Err(wrong("give `ratio_to` or `above`, not both"));
            }
            if !line.budget.is_finite() || !line.margin.is_finite() || line.margin < 0.0 {
                return Err(wrong("`budget` and `margin` must be finite, and `margin` not below zero"));
            }
            if line.why.trim().is_empty() {
                return Err(wrong("`why` is empty: say what the figure is made of, or why it changed"));
            }
        }
        Ok(budget)
    }

    /// The contenders whose figures are needed.
    pub(crate) fn contenders(&self) -> BTreeSet<&str> {
        let bases = self.lines().filter_map(|(_, _, line)| line.base());
        self.0.keys().map(String::as_str).chain(bases).collect()
    }

    /// Keeps the lines of these contenders, whose names are separated by commas. The error is a name without a line.
    pub(crate) fn keep<'n>(&mut self, names: &'n str) -> Result<(), &'n str> {
        if let Some(unknown) = names.split(',').find(|name| !self.0.contains_key(*name)) {
            return Err(unknown);
        }
        self.0.retain(|contender, _| names.split(',').any(|name| name == contender));
        Ok(())
    }

    /// Whether a line needs this figure of this contender.
    pub(crate) fn needs(&self, contender: &str, figure: Figure) -> bool {
        self.lines().any(|(own, its, line)| its == figure && (own == contender || line.base() == Some(contender)))
    }

    /// Compares each line with what was measured of a contender.
    pub(crate) fn compare(&self, measured: impl Fn(&str, Figure) -> Option<f64>) -> Vec<Compared<'_>> {
        let compared = self.lines().map(|(contender, figure, line)| {
            let measured = line.measure(|contender| measured(contender, figure), contender);
            let verdict = measured.as_ref().map_or(Verdict::NotMeasured, |measured| line.verdict(measured.value));
            Compared { contender, figure, verdict, line, measured }
        });
        compared.collect()
    }

    fn lines(&self) -> impl Iterator<Item = (&str, Figure, &Line)> {
        self.0.iter().flat_map(|(contender, lines)| lines.iter().map(|(figure, line)| (contender.as_str(), *figure, line)))
    }
}

impl Line {
    fn base(&self) -> Option<&str> {
        self.ratio_to.as_deref().or(self.above.as_deref())
    }

    /// `None` if one of the two was not measured.
    fn measure(&self, measured: impl Fn(&str) -> Option<f64>, contender: &str) -> Option<Measured> {
        let own = measured(contender)?;
        Some(match (&self.ratio_to, &self.above) {
            (None, None) => Measured { own, base: None, value: own },
            (Some(base), _) => measured(base).map(|base| Measured { own, base: Some(base), value: own / base })?,
            (None, Some(base)) => measured(base).map(|base| Measured { own, base: Some(base), value: own - base })?,
        })
    }

    fn verdict(&self, value: f64) -> Verdict {
        // A ratio to zero is not a number (NaN), which no budget allows.
        match value - self.budget {
            over if over.is_nan() || over > self.margin => Verdict::Exceeded,
            over if over < -self.margin => Verdict::Loose,
            _ => Verdict::Within,
        }
    }

    fn text(&self, value: f64) -> String {
        match (&self.ratio_to, &self.above) {
            (Some(base), _) => format!("{value:.3} × {base}"),
            (None, Some(base)) => format!("{base} {value:+.0}"),
            (None, None) => format!("{value:.0}"),
        }
    }

    fn margin(&self) -> String {
        if self.ratio_to.is_some() { format!("{:.3}", self.margin) } else { format!("{:.0}", self.margin) }
    }
}

impl fmt::Display for Compared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contender, figure, line, .. } = self;
        let verdict = match self.verdict {
            Verdict::Within => "ok",
            Verdict::Exceeded => "EXCEEDED",
            Verdict::Loose => "below",
            Verdict::NotMeasured => "not checked",
        };
        write!(f, "{verdict:11}  {contender}: {figure}: ")?;
        if let Some(measured) = &self.measured {
            write!(f, "{}, ", line.text(measured.value))?;
        }
        write!(f, "budget {} ± {}", line.text(line.budget), line.margin())?;
        match &self.measured {
            Some(Measured { own, base: Some(base), .. }) => write!(f, " ({own:.0} and {base:.0})"),
            _ => Ok(()),
        }
    }
}

impl Compared<'_> {
    /// The advice that is printed below a line that failed.
    pub(crate) fn advice(&self) -> Option<String> {
        let Self { contender, figure, .. } = self;
        let place = format!("[{contender}.{}] in benches/budget.toml", figure.key());
        match self.verdict {
            Verdict::Within | Verdict::NotMeasured => None,
            Verdict::Loose => Some(format!("lower `budget` of {place}, so that it is not lost again")),
            Verdict::Exceeded => Some(format!("if it is worth its cost, change {place} and say in `why` what for")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Error, Figure, Verdict};
    use crate::contender::CONTENDERS;

    const RATIO: &str = "[ours.instructions]\nratio_to = \"bare\"\nbudget = 1.1\nmargin = 0.01\nwhy = \"four stages\"";
    const ABOVE: &str = "[ours.stripped_kb]\nabove = \"bare\"\nbudget = 500\nmargin = 20\nwhy = \"the layers\"";
    const COUNT: &str = "[ours.crates]\nbudget = 79\nmargin = 0\nwhy = \"opentelemetry\"";

    /// The verdict on a line, for these figures of this library and of the baseline.
    fn verdict(line: &str, ours: f64, bare: f64) -> Verdict {
        let budget = Budget::parse(line).unwrap();
        let compared = budget.compare(|contender, _| Some(if contender == "bare" { bare } else { ours }));
        assert_eq!(compared.len(), 1);
        compared[0].verdict
    }

    #[test]
    fn only_the_named_contenders_are_kept() {
        let both = format!("{RATIO}\n[ours_json.crates]\nbudget = 1\nmargin = 0\nwhy = \"a\"");
        let mut budget = Budget::parse(&both).unwrap();
        assert_eq!(budget.keep("ours,others"), Err("others"));
        assert_eq!(budget.keep("ours_json"), Ok(()));
        assert_eq!(budget.contenders().into_iter().collect::<Vec<_>>(), ["ours_json"]);
    }

    #[test]
    fn a_ratio_is_held_within_its_margin() {
        assert_eq!(verdict(RATIO, 1_109.0, 1_000.0), Verdict::Within);
        assert_eq!(verdict(RATIO, 1_091.0, 1_000.0), Verdict::Within);
        assert_eq!(verdict(RATIO, 1_111.0, 1_000.0), Verdict::Exceeded);
        assert_eq!(verdict(RATIO, 1_089.0, 1_000.0), Verdict::Loose);
        assert_eq!(verdict(RATIO, 0.0, 0.0), Verdict::Exceeded, "no number");
    }

    #[test]
    fn a_difference_is_held_within_its_margin() {
        assert_eq!(verdict(ABOVE, 1_520.0, 1_000.0), Verdict::Within);
        assert_eq!(verdict(ABOVE, 1_521.0, 1_000.0), Verdict::Exceeded);
        assert_eq!(verdict(ABOVE, 1_479.0, 1_000.0), Verdict::Loose);
    }

    #[test]
    fn a_count_without_a_margin_is_held_to_the_one() {
        assert_eq!(verdict(COUNT, 79.0, 58.0), Verdict::Within);
        assert_eq!(verdict(COUNT, 80.0, 58.0), Verdict::Exceeded);
        assert_eq!(verdict(COUNT, 78.0, 58.0), Verdict::Loose);
    }

    #[test]
    fn a_figure_that_is_missing_on_either_side_is_not_checked() {
        let budget = Budget::parse(RATIO).unwrap();
        for known in ["ours", "bare"] {
            let compared = budget.compare(|contender, _| (contender == known).then_some(1.0));
            assert_eq!(compared[0].verdict, Verdict::NotMeasured);
            assert_eq!(compared[0].advice(), None);
        }
    }

    #[test]
    fn a_line_says_contender_figure_measured_and_budget() {
        let budget = Budget::parse(&format!("{RATIO}\n{ABOVE}\n{COUNT}")).unwrap();
        let measured = |contender: &str, figure| match (contender, figure) {
            ("bare", Figure::Instructions) => Some(400_000.0),
            (_, Figure::Instructions) => Some(480_000.0),
            ("bare", Figure::StrippedKb) => Some(1_000.0),
            (_, Figure::StrippedKb) => Some(1_400.0),
            _ => None,
        };
        let compared = budget.compare(measured);
        let lines: Vec<String> = compared.iter().map(ToString::to_string).collect();
        let expected = [
            "EXCEEDED     ours: instructions to the first /next: 1.200 × bare, budget 1.100 × bare ± 0.010 (480000 and 400000)",
            "below        ours: stripped size, KB: bare +400, budget bare +500 ± 20 (1400 and 1000)",
            "not checked  ours: crates: budget 79 ± 0",
        ];
        assert_eq!(lines, expected);
        let advice: Vec<_> = compared.iter().map(|line| line.advice().unwrap_or_default()).collect();
        assert!(advice[0].contains("[ours.instructions]") && advice[0].contains("`why`"), "{}", advice[0]);
        assert!(advice[1].contains("lower `budget` of [ours.stripped_kb]"), "{}", advice[1]);
    }

    #[test]
    fn a_line_that_holds_nothing_is_refused() {
        for (from, to) in [
            ("margin = 0.01", "margin = -0.01"),
            ("margin = 0.01", "margin = inf"),
            ("budget = 1.1", "budget = nan"),
            ("\"four stages\"", "\" \""),
            ("ratio_to", "above = \"bare\"\nratio_to"),
        ] {
            let refused = Budget::parse(&RATIO.replace(from, to)).unwrap_err();
            assert!(matches!(&refused, Error::Line { contender, .. } if contender == "ours"), "{to}: {refused}");
            assert!(refused.to_string().contains("[ours.instructions]"), "{refused}");
        }
    }

    #[test]
    fn a_word_the_file_does_not_know_is_refused() {
        for (from, to) in [("margin", "margins"), ("[ours.instructions]", "[ours.instruction]"), ("why = \"four stages\"", "")] {
            let refused = Budget::parse(&RATIO.replace(from, to)).unwrap_err();
            assert!(matches!(refused, Error::Toml(_)), "{to}: {refused}");
        }
    }

    #[test]
    fn the_file_parses_and_names_contenders() {
        let budget = Budget::parse(include_str!("../../budget.toml")).unwrap();
        let known: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
        for contender in budget.contenders() {
            assert!(known.contains(&contender), "{contender}");
        }
        assert!(budget.contenders().contains("ours"));
    }
}
