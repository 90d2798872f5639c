//! The pages as a whole: links lead to files and headings that exist, the book lists every page, and the repository has one address.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const README_LINES: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Markdown files of a folder.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    files(folder, "md", found);
}

/// The files with an extension in a folder, without those of builds and hidden folders.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

fn all_pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    pages(root(), &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The lines outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// The targets of the links in a line, `[text](target)`, and that of a definition, `[label]: target`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let defined = definition(line).map(|(_, target)| target);
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).chain(defined)
}

/// The label and the target of a definition, `[label]: target`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// The anchor that GitHub and mdBook give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    prose(page).filter(|line| line.starts_with('#')).any(|line| anchor(line.trim_start_matches('#')) == wanted)
}

/// The path of a link to a file of this repository.
fn in_repository(url: &str) -> Option<&str> {
    let path = url.strip_prefix(env!("CARGO_PKG_REPOSITORY"))?;
    path.strip_prefix("/blob/main/").or_else(|| path.strip_prefix("/tree/main/"))
}

/// The site has the pages of `docs/` only, so a relative link to another folder would be broken there.
#[test]
fn relative_links_of_the_site_lead_to_its_pages() {
    let docs = root().join("docs");
    let mut found = Vec::new();
    pages(&docs, &mut found);
    let mut wrong = Vec::new();
    for page in found {
        let depth = page.strip_prefix(&docs).expect("a page of docs").components().count();
        let above = "../".repeat(depth);
        let content = text(&page);
        let outside = prose(&content).flat_map(targets).filter(|target| target.starts_with(&above));
        wrong.extend(outside.map(|target| format!("{}: {target}: link to it in the repository", page.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for page in all_pages().into_iter().filter(|page| !page.ends_with("src/links.md")) {
        let content = text(&page);
        for target in prose(&content).flat_map(targets) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = match in_repository(file) {
                Some(path) => root().join(path),
                None if file.contains("://") => continue,
                None if file.is_empty() => page.clone(),
                None => page.parent().expect("a folder").join(file),
            };
            let leads = linked.exists() && (heading.is_empty() || has_anchor(&text(&linked), heading));
            if !leads {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A module of the API documentation that shows a page. A relative link of the page leads nowhere there. `src/links.md` defines the
/// same labels with targets in the API documentation, and the first definition of a label counts.
#[test]
fn links_of_pages_in_the_api_documentation_lead_there_too() {
    let links = text(&root().join("src/links.md"));
    let defined: BTreeSet<&str> = links.lines().filter_map(definition).map(|(label, _)| label).collect();
    let mut sources = Vec::new();
    files(&root().join("src"), "rs", &mut sources);
    let mut shown = 0;
    let mut wrong = Vec::new();
    for source in sources {
        let code = text(&source);
        // Pages under `#[cfg(doctest)]` are not shown.
        let shows = |line: &&str| line.starts_with("#![") && line.contains("/docs/");
        for line in code.lines().filter(shows) {
            let path = line.split('"').find(|part| part.ends_with(".md")).expect("a page");
            let page = text(&source.parent().expect("a folder").join(path));
            shown += 1;
            for target in prose(&page).filter(|line| definition(line).is_none()).flat_map(targets) {
                if !target.contains("://") && !target.starts_with('#') {
                    wrong.push(format!("{path}: `({target})` needs a label that src/links.md defines"));
                }
            }
            let labels: Vec<&str> = page.lines().filter_map(definition).map(|(label, _)| label).collect();
            wrong.extend(labels.iter().filter(|label| !defined.contains(**label)).map(|label| format!("{path}: {label}")));
            let first = code.find("links.md\"").unwrap_or(usize::MAX);
            if !labels.is_empty() && first > code.find(path).unwrap_or_default() {
                wrong.push(format!("{} does not include links.md before {path}", source.display()));
            }
        }
    }
    assert!(shown > 8, "{shown} pages");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_book_lists_every_page_and_each_has_a_title() {
    let docs = root().join("docs");
    let summary = text(&docs.join("SUMMARY.md"));
    let listed: BTreeSet<PathBuf> = prose(&summary).flat_map(targets).map(|target| docs.join(target)).collect();
    let mut found = Vec::new();
    pages(&docs, &mut found);
    found.retain(|page| !page.ends_with("SUMMARY.md"));
    let missing: Vec<_> = found.iter().filter(|page| !listed.contains(*page)).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
    let untitled: Vec<_> = found.iter().filter(|page| !text(page).starts_with("# ")).collect();
    assert!(untitled.is_empty(), "pages without a title in their first line: {untitled:?}");
}

#[test]
fn pages_show_no_hidden_lines_and_no_links_of_rustdoc() {
    let mut wrong = Vec::new();
    for page in all_pages() {
        let content = text(&page);
        let mut in_rust = false;
        for line in content.lines() {
            if line.starts_with("```") {
                in_rust = !in_rust && line.starts_with("```rust");
            }
            if line.contains("](crate::") || (in_rust && line.starts_with("# ")) {
                wrong.push(format!("{}: {line}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_repository_has_one_address() {
    let repository = env!("CARGO_PKG_REPOSITORY");
    let mut files = all_pages();
    files.extend(
        ["Cargo.toml", "sandbox/Cargo.toml", "book.toml", ".github/ISSUE_TEMPLATE/config.yml"].map(|file| root().join(file)),
    );
    let is_other = |url: &str| url.contains("/lambda-lifecycle") && !format!("https://github.com/{url}").starts_with(repository);
    for file in files {
        let content = text(&file);
        let others: Vec<_> = content.split("https://github.com/").skip(1).map(|url| url.lines().next().unwrap_or(url)).collect();
        let others: Vec<_> = others.into_iter().filter(|url| is_other(url)).collect();
        assert!(others.is_empty(), "{} links to another repository than {repository}: {others:?}", file.display());
    }
}

/// The module documentation of a source file, with the pages that it includes.
fn module_documentation(source: &Path) -> String {
    let mut documentation = String::new();
    for line in text(source).lines() {
        if let Some(comment) = line.strip_prefix("//!") {
            documentation.push_str(comment.trim_start());
            documentation.push('\n');
        } else if let (true, Some(page)) = (line.starts_with("#!["), line.split('"').find(|part| part.ends_with(".md"))) {
            documentation.push_str(&text(&source.parent().expect("a folder").join(page)));
        }
    }
    documentation
}

#[test]
fn every_public_module_has_an_example() {
    let root_file = text(&root().join("src/lib.rs"));
    let modules: Vec<&str> = root_file.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 15, "{modules:?}");
    let source = |module: &str| {
        let (file, folder) = (root().join(format!("src/{module}.rs")), root().join(format!("src/{module}/mod.rs")));
        if file.exists() { file } else { folder }
    };
    let has_example = |module: &&&str| {
        let documentation = module_documentation(&source(module));
        documentation.lines().any(|line| matches!(line, "```" | "```rust" | "```no_run" | "```rust,no_run"))
    };
    let without: Vec<_> = modules.iter().filter(|module| !has_example(module)).collect();
    assert!(without.is_empty(), "modules without an example: {without:?}");
}

#[test]
fn the_tables_of_features_name_every_feature() {
    let manifest = text(&root().join("Cargo.toml"));
    let section = manifest.lines().skip_while(|line| *line != "[features]").skip(1).take_while(|line| !line.starts_with('['));
    let features: BTreeSet<String> = section
        .filter(|line| !line.starts_with(['#', ' ', ']', '_']))
        .filter_map(|line| Some(line.split_once(" =")?.0.to_owned()))
        .filter(|name| name != "default")
        .collect();
    assert!(features.len() > 10, "{features:?}");
    for (page, start) in [("README.md", "| feature |"), ("src/lib.rs", "//! | feature |")] {
        let page_text = text(&root().join(page));
        let rows = page_text.lines().skip_while(|line| !line.starts_with(start)).skip(2);
        let rows = rows.take_while(|line| line.trim_start_matches("//! ").starts_with('|'));
        let named: BTreeSet<String> = rows.filter_map(|row| row.split('|').nth(1)).flat_map(names).collect();
        assert_eq!(named, features, "{page}");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = text(&root().join("README.md")).lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines: move details to a page in docs/");
}

/// The names in code spans of a table's cell.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_variables_of_other_tools_that_are_read_are_those_that_the_page_says_are_honored() {
    let page = text(&root().join("docs/variables.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `").map(|row| format!("`{row}")));
    let cells: Vec<Vec<String>> = rows.map(|row| row.split(" | ").map(str::to_owned).collect()).collect();
    let is_honored = |row: &&Vec<String>| row[1] == "yes" || row[1] == "`none`";
    let honored: BTreeSet<String> = cells.iter().filter(is_honored).flat_map(|row| names(&row[0])).collect();
    let mut sources = Vec::new();
    rust_files(&root().join("src"), &mut sources);
    let mut read = BTreeSet::new();
    for line in sources.iter().map(|path| text(path)).flat_map(|source| source.lines().map(str::to_owned).collect::<Vec<_>>()) {
        let literals = line.split('"').skip(1).step_by(2).filter(|_| !line.trim_start().starts_with("//"));
        let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let of_others = literals
            .filter(is_name)
            .filter(|name| !name.ends_with('_') && (name.starts_with("OTEL_") || name.starts_with("AWS_XRAY_")));
        read.extend(of_others.map(str::to_owned));
    }
    assert_eq!(read, honored);
    assert!(honored.len() > 5, "{honored:?}");
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
