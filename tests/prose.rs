//! The habits that make text hard to read, counted in the pages and in the comments. A sentence that needs a word may keep it, because
//! the limits are rates.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The texts that are checked, from the root of the repository.
const CHECKED: [&str; 11] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "src",
    "tests",
    "examples",
    "benches",
    "fuzz",
    "sandbox/README.md",
    "sandbox/src",
];

/// A habit, its phrases (`|` separates words of one place), and how often it may occur in 10,000 words.
const HABITS: [(&str, &[&str], u32); 7] = [
    ("people where the actor has a name", &["nobody|somebody|whoever"], 1),
    ("a thing that is told", &["is|are|was|were told"], 2),
    ("an answer where a response is meant", &["answer|answers|answered|answering"], 5),
    ("a set-up where an initializer is meant", &["set-up|set-ups"], 1),
    ("a negated noun", &["is|are no a|event|function|problem|batch|number|string|error"], 2),
    ("a figure of speech for running", &["at work", "under way", "in its|their turn", "goes|go on"], 4),
    ("begun where started is meant", &["begun"], 1),
];

/// More words than this are two sentences.
const LONG: usize = 45;
/// Long sentences in 10,000 words.
const LONG_LIMIT: usize = 12;

/// The files with prose below a folder, without build output.
fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.file_name().is_some_and(|name| name != "target") {
                files(&path, found);
            }
        }
    } else if path.extension().is_some_and(|extension| extension == "md" || extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The paragraphs of a file: outside of code blocks, and of a Rust file the comments alone.
fn paragraphs(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let mut found = vec![String::new()];
    let mut in_code = false;
    for line in text.lines().map(str::trim) {
        let line = match line.strip_prefix("//") {
            Some(comment) if is_rust => comment.trim_start_matches(['/', '!']).trim(),
            _ if is_rust => "",
            _ => line,
        };
        in_code ^= line.starts_with("```");
        let is_new = line.is_empty() || line.starts_with(['|', '-', '#']);
        if is_new || in_code {
            found.push(String::new());
        }
        if !in_code && !line.starts_with("```") {
            let last = found.last_mut().expect("it starts with one");
            last.push_str(line.trim_start_matches(['-', '#']));
            last.push(' ');
        }
    }
    found.retain(|paragraph| !paragraph.trim().is_empty());
    found
}

fn words(text: &str) -> Vec<String> {
    let separates = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '\'' | '_');
    text.split(separates).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn occurrences(phrase: &str, words: &[String]) -> usize {
    let places: Vec<Vec<&str>> = phrase.split(' ').map(|place| place.split('|').collect()).collect();
    let fits = |window: &&[String]| window.iter().zip(&places).all(|(word, place)| place.contains(&word.as_str()));
    words.windows(places.len()).filter(fits).count()
}

#[test]
fn habits_stay_below_their_limits() {
    let mut found = Vec::new();
    for path in CHECKED {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path), &mut found);
    }
    let paragraphs: Vec<String> = found.iter().flat_map(|file| paragraphs(file)).collect();
    let all: Vec<String> = paragraphs.iter().flat_map(|paragraph| words(paragraph)).collect();
    assert!(all.len() > 10_000, "{} words", all.len());
    let mut above = Vec::new();
    for (habit, phrases, limit) in HABITS {
        let count: usize = phrases.iter().map(|phrase| occurrences(phrase, &all)).sum();
        if count * 10_000 > limit as usize * all.len() {
            above.push(format!("{habit}: {count} in {} words, limit {limit} in 10,000", all.len()));
        }
    }
    let is_prose = |paragraph: &&String| !paragraph.starts_with('|');
    let sentences = paragraphs.iter().filter(is_prose).flat_map(|paragraph| paragraph.split(['.', ':', ';', '?']));
    let long: Vec<&str> = sentences.filter(|sentence| words(sentence).len() > LONG).collect();
    if long.len() * 10_000 > LONG_LIMIT * all.len() {
        above.push(format!("{} sentences of more than {LONG} words, limit {LONG_LIMIT} in 10,000: {long:#?}", long.len()));
    }
    assert!(above.is_empty(), "{}", above.join("\n"));
}

#[test]
fn a_phrase_is_found_with_each_of_its_words() {
    let text = words("It is told once. The callers were told; nobody tells them.");
    assert_eq!(occurrences("is|are|was|were told", &text), 2);
    assert_eq!(occurrences("nobody|somebody", &text), 1);
}
