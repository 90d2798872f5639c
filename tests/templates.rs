//! The templates of `cargo lambda new --template`: a generated project builds without a network, and its own test passes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TEMPLATES: [(&str, &str); 2] = [("http", "my-prices"), ("queue", "my-worker")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(folder).expect("inside").to_owned()) }
        }
    }
    found.sort();
    found
}

/// The two variables that the templates have, as cargo-lambda renders them without `--bin-name`.
fn render(text: &str, name: &str) -> String {
    let rendered = text.replace("{{ project_name }}", name).replace("{{ binary_name | default: project_name }}", name);
    assert!(!rendered.contains("{{") && !rendered.contains("{%"), "a variable that this test does not know: {rendered}");
    rendered
}

fn generate(template: &str, name: &str) -> PathBuf {
    let (from, project) = (root().join("templates").join(template), Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    let _ = fs::remove_dir_all(&project);
    for file in files(&from).into_iter().filter(|file| !file.ends_with("CargoLambda.toml")) {
        let text = fs::read_to_string(from.join(&file)).expect("text");
        fs::create_dir_all(project.join(&file).parent().expect("a folder")).expect("a folder");
        fs::write(project.join(&file), render(&text, name)).expect("a file");
    }
    project
}

/// Takes both crates from this repository, and everything else in the versions that this repository has.
fn use_this_repository(project: &Path) {
    let manifest = project.join("Cargo.toml");
    let (library, sandbox) = (root().display(), root().join("sandbox"));
    let paths = format!(
        "lambda-lifecycle = {{ path = \"{library}\" }}\nlambda-lifecycle-sandbox = {{ path = \"{}\" }}\n",
        sandbox.display()
    );
    let generated = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, format!("{generated}\n[workspace]\n\n[patch.crates-io]\n{paths}")).expect("a manifest");
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).expect("a lock file");
}

#[test]
fn generated_projects_build_offline_and_their_tests_pass() {
    for (template, name) in TEMPLATES {
        let project = generate(template, name);
        use_this_repository(&project);
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--offline", "--target-dir"]).arg(root().join("target")).current_dir(&project);
        // As this repository builds its dependencies, so that both projects share what they have in common.
        cargo.args(["--config", "profile.dev.debug='line-tables-only'", "--config", "profile.dev.package.'*'.debug=false"]);
        // Cargo sets these for this test; they would be another package's.
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("CARGO_PKG_")) {
            cargo.env_remove(key);
        }
        let output = cargo.output().expect("cargo");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "templates/{template}:\n{stdout}\n{stderr}");
        assert!(stdout.contains("test result: ok. 1 passed"), "templates/{template} has no test that ran:\n{stdout}\n{stderr}");
    }
}

#[test]
fn cargo_lambda_generates_the_same_files() {
    let is_installed = Command::new("cargo-lambda").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_installed {
        println!("cargo-lambda is not installed: left out (pip install cargo-lambda)");
        return;
    }
    for (template, name) in TEMPLATES {
        let expected = generate(template, &format!("{name}-expected"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cargo-lambda");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let mut new = Command::new("cargo-lambda");
        new.args(["lambda", "new", "--no-interactive", "--template"]).arg(root().join("templates").join(template));
        let output = new.arg(format!("{name}-expected")).current_dir(&folder).output().expect("cargo-lambda");
        assert!(output.status.success(), "{output:?}");
        let generated = folder.join(format!("{name}-expected"));
        assert_eq!(files(&generated), files(&expected));
        for file in files(&expected) {
            let text = |folder: &Path| fs::read_to_string(folder.join(&file)).expect("text");
            // cargo-lambda ends no file with a newline that its engine dropped.
            assert_eq!(text(&generated).trim_end(), text(&expected).trim_end(), "{}", file.display());
        }
    }
}
