//! The packages as the registry gets them: their files, and the Rust versions that their dependencies need.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .arg("--offline")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The files of a published package.
fn package(name: &str) -> Vec<String> {
    let listed = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
    listed.lines().map(|line| line.replace('\\', "/")).collect()
}

#[test]
fn the_packages_have_what_users_need_and_nothing_else() {
    let of_all = [
        ".cargo_vcs_info.json",
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "CHANGELOG.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
    ];
    // Folders and the extensions of their files.
    let library: &[(&str, &[&str])] = &[("src/", &["rs", "md"]), ("docs/", &["md"])];
    let sandbox: &[(&str, &[&str])] =
        &[("src/", &["rs"]), ("src/console/assets/", &["css", "html", "js", "json", "svg"]), ("schema/", &["json", "md"])];
    for (name, folders, needed) in [
        ("lambda-lifecycle", library, ["src/lib.rs", "src/links.md", "docs/settings.md"]),
        ("lambda-lifecycle-sandbox", sandbox, ["src/lib.rs", "src/console/assets/index.html", "schema/README.md"]),
    ] {
        let listed = package(name);
        let is_known = |path: &str| {
            let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            of_all.contains(&path) || folders.iter().any(|(folder, kinds)| path.starts_with(folder) && kinds.contains(&extension))
        };
        let other: Vec<_> = listed.iter().filter(|path| !is_known(path) || path.ends_with("SUMMARY.md")).collect();
        assert!(other.is_empty(), "{name} publishes {other:?}");
        let missing: Vec<_> = of_all.iter().chain(&needed).filter(|path| !listed.iter().any(|listed| listed == *path)).collect();
        // Only a clean work tree has a commit to name.
        let missing: Vec<_> = missing.into_iter().filter(|path| **path != ".cargo_vcs_info.json").collect();
        assert!(missing.is_empty(), "{name} does not publish {missing:?}");
    }
}

/// A version of Rust: 1.94.1 is (1, 94, 1).
type Rust = (u16, u16, u16);

fn rust(text: &str) -> Rust {
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

/// The Rust version of each package of the lock file, where it states one.
fn stated() -> BTreeMap<String, Rust> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let stated = packages.iter().filter_map(|package| {
        let name = format!("{} v{}", package["name"].as_str()?, package["version"].as_str()?);
        Some((name, rust(package["rust_version"].as_str()?)))
    });
    stated.collect()
}

/// The dependencies of a package with these features.
fn dependencies(package: &str, features: &str) -> BTreeSet<String> {
    let edges = ["tree", "--edges", "normal,build", "--target", "all", "--prefix", "none", "--format", "{p}"];
    let listed = cargo(&[&edges[..], &["--package", package, "--features", features]].concat());
    listed.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).filter(|name| !name.is_empty()).collect()
}

/// The table of CONTRIBUTING.md has a version for each of these.
#[test]
fn no_dependency_needs_a_newer_rust_than_the_package_states() {
    const WITHOUT_AWS_SDK: &str = "axum,kinesis,dynamodb,kafka,log,metrics,otlp-udp,testing";
    let stated = stated();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md")).expect("a page");
    let documented = |row: &str| {
        let row = page.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no row {row}"));
        rust(row.split(" | ").nth(1).and_then(|cell| cell.split(' ').next()).expect("a version"))
    };
    let library = rust(env!("CARGO_PKG_RUST_VERSION"));
    assert_eq!(library, documented("| `lambda-lifecycle`, default"));
    let sandbox = documented("| `lambda-lifecycle-sandbox`");
    assert_eq!(stated["lambda-lifecycle-sandbox v0.1.0"], sandbox);
    for (package, features, allowed) in [
        ("lambda-lifecycle", "", library),
        ("lambda-lifecycle", WITHOUT_AWS_SDK, library),
        ("lambda-lifecycle", "aws-sdk,xray-api", documented("| `lambda-lifecycle`, features `aws-sdk`")),
        ("lambda-lifecycle-sandbox", "", sandbox),
    ] {
        let dependencies = dependencies(package, features);
        assert!(dependencies.len() > 50, "{dependencies:?}");
        let newer: Vec<_> =
            dependencies.iter().filter(|name| stated.get(*name).is_some_and(|needed| *needed > allowed)).collect();
        assert!(newer.is_empty(), "{package} with {features:?} states Rust {allowed:?}, but {newer:?} need a newer one");
    }
}
