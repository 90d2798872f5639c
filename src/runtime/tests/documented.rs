//! Each row of the tables of `docs/runtime_api.md` names its source, and tests that exist.

const DOCUMENTED: &str = include_str!("../../../docs/runtime_api.md");

const TESTS: [&str; 9] = [
    include_str!("faults.rs"),
    include_str!("layers.rs"),
    include_str!("posts.rs"),
    include_str!("../event.rs"),
    include_str!("../../runtime_api/endpoint.rs"),
    include_str!("../../runtime_api/diagnostic.rs"),
    include_str!("../../shutdown/extension.rs"),
    include_str!("../../../tests/runtime/faults.rs"),
    include_str!("../../../tests/runtime/contract.rs"),
];

#[test]
fn every_row_names_its_source_and_a_test() {
    const SOURCES: [&str; 6] = ["AWS", "RIE", "Go", "Rust", "cargo-lambda", "Library"];
    let rows = DOCUMENTED.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| test |"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, sources, test] = cells.as_slice() else { panic!("{row}") };
        assert!(sources.split(", ").all(|source| SOURCES.contains(&source)), "{row}");
        let declared = format!("fn {}(", test.trim_matches('`'));
        assert!(TESTS.iter().any(|source| source.contains(&declared)), "{row}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}
