//! The tables of `docs/runtime_api.md` name tests that exist.

const DOCUMENTED: &str = include_str!("../../../docs/runtime_api.md");

const TESTS: [&str; 7] = [
    include_str!("faults.rs"),
    include_str!("posts.rs"),
    include_str!("../event.rs"),
    include_str!("../../runtime_api/endpoint.rs"),
    include_str!("../../runtime_api/diagnostic.rs"),
    include_str!("../../../tests/runtime/faults.rs"),
    include_str!("../../../tests/runtime/contract.rs"),
];

#[test]
fn every_row_names_a_test() {
    let rows = DOCUMENTED.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| test |"));
    let mut count = 0;
    for row in rows {
        let test = row.trim_end_matches(" |").rsplit("| ").next().unwrap_or_default().trim_matches('`');
        let declared = format!("fn {test}(");
        assert!(TESTS.iter().any(|source| source.contains(&declared)), "{row}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}
