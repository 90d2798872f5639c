//! Rows of the table in `docs/init.md` that says what each choice costs.

use crate::{
    contender::{CONFIG, DEFAULTS, NO_JITTER, OURS, RING, SMALL},
    error::Error,
    measured::{Measured, named},
    report::milliseconds,
};
use bench_report::section;
use std::path::Path;

/// The memory size of the rows.
const MB: u32 = 128;

struct Choice {
    /// The first cell.
    choice: &'static str,
    /// The second cell.
    instead: &'static str,
    contenders: [&'static str; 2],
}

const CHOICES: [Choice; 4] = [
    Choice { choice: "ring", instead: "aws-lc, the SDK's default", contenders: [RING, DEFAULTS] },
    Choice { choice: "aws-lc without jitter entropy", instead: "aws-lc", contenders: [NO_JITTER, DEFAULTS] },
    Choice { choice: "`aws_sdk::connect`", instead: "a first call that connects", contenders: [OURS, CONFIG] },
    Choice { choice: "`opt-level = \"s\"`", instead: "`opt-level = 3`", contenders: [SMALL, OURS] },
];

/// First cell and row of each choice of which both contenders were measured.
pub(crate) fn rows(all: &[Measured]) -> Vec<(&'static str, String)> {
    CHOICES.iter().filter_map(|choice| Some((choice.choice, row(choice, all)?))).collect()
}

fn row(Choice { choice, instead, contenders: [chosen, base] }: &Choice, all: &[Measured]) -> Option<String> {
    let (chosen, base) = (named(all, chosen)?, named(all, base)?);
    let (at, at_base) = (chosen.at(MB)?, base.at(MB)?);
    let [first, base_first] = [at, at_base].map(|size| milliseconds(&size.first));
    let [cpu, base_cpu] = [at, at_base].map(|size| milliseconds(&size.cpu));
    let [program, base_program] = [chosen, base].map(Measured::megabytes);
    let [chosen, base] = [chosen, base].map(|measured| measured.contender.name);
    Some(format!(
        "| {choice} | {instead} | at {MB} MB the first response: {first} ms instead of {base_first}; CPU time in all: {cpu} ms \
         instead of {base_cpu}; the program: {program:.1} MB instead of {base_program:.1} | `first_response`: `{chosen}` and `{base}` |"
    ))
}

pub(crate) fn write(page: &Path, rows: &[(&'static str, String)]) -> Result<(), Error> {
    for (choice, row) in rows {
        if !section::replace_row(page, choice, row)? {
            return Err(Error::NoRow(choice));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contender::CONTENDERS, measured::Size};
    use std::fs;

    #[test]
    fn each_choice_has_its_row_in_the_page() {
        let measured = |contender| {
            let size = Size { mb: MB, first: vec![5.25], cpu: vec![705.4], ..Size::default() };
            Measured { contender, program: "f".into(), bytes: 3 << 20, sizes: vec![size] }
        };
        let all: Vec<Measured> = CONTENDERS.iter().map(measured).collect();
        let rows = rows(&all);
        assert_eq!(rows.len(), CHOICES.len());
        let page = std::env::temp_dir().join(format!("first_response-{}.md", std::process::id()));
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/init.md"), &page).expect("the page");
        write(&page, &rows).expect("rows to replace");
        let written = fs::read_to_string(&page).expect("the page");
        fs::remove_file(&page).expect("it is there");
        for (_, row) in rows {
            assert!(written.lines().any(|line| line == row), "{row}");
        }
    }
}
