//! Imports point down, without cycles.
//!
//! A path is followed through re-exports to the file that defines its last name. Test modules are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// The cycles that are known, each with its folder. No other may be added.
const KNOWN: [(&str, &str); 1] = [
    // Their types contain each other: an invocation carries the configuration, whose hooks take an invocation.
    ("src", "invocation, invocation::hooks, invocation::shared"),
];

/// The folders of the crates whose imports are checked.
const ROOTS: [&str; 10] = [
    "src",
    "sandbox/src",
    "sandbox/src/bin/lambda-sandbox",
    "benches",
    "benches/cold_start/src",
    "benches/first_response/src",
    "benches/invocation",
    "benches/report/src",
    "benches/scaling",
    "deploy/verify/src",
];

/// A path from the root of a crate: `["trace", "span"]`.
type Module = Vec<String>;

#[derive(Default)]
struct Source {
    children: BTreeSet<String>,
    /// Names that other files may use through this one, and where they lead.
    exports: BTreeMap<String, Vec<String>>,
    /// Modules whose public names are all exported here.
    globs: Vec<Vec<String>>,
    /// Names that are bound here, and where they lead.
    imports: BTreeMap<String, Vec<String>>,
    /// What is imported without a name, by `*` or `as _`.
    unnamed: BTreeSet<Vec<String>>,
    /// Paths that the code names.
    used: BTreeSet<Vec<String>>,
}

struct Crate(BTreeMap<Module, Source>);

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let text = list.tokens.to_string();
                text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test") && !text.contains("not (test")
            })
    })
}

/// The parts of a path inside of this crate, from its root; `None` for a path to another crate.
fn absolute(module: &Module, source: &Source, path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let parent = &module[..module.len().checked_sub(1)?];
            let mut path = parent.to_vec();
            let mut rest = rest;
            while let Some(("super", next)) = rest.split_first().map(|(first, next)| (first.as_str(), next)) {
                path.pop();
                rest = next;
            }
            Some([&path[..], rest].concat())
        }
        name if source.children.contains(name) => Some([module, path].concat()),
        _ => None,
    }
}

fn leaves(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<(Vec<String>, Option<String>)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => found.push((prefix.clone(), prefix.last().cloned())),
        UseTree::Name(name) => found.push(([&prefix[..], &[name.ident.to_string()]].concat(), Some(name.ident.to_string()))),
        UseTree::Rename(rename) => {
            let bound = (rename.rename != "_").then(|| rename.rename.to_string());
            let path = if rename.ident == "self" { prefix.clone() } else { [&prefix[..], &[rename.ident.to_string()]].concat() };
            found.push((path, bound));
        }
        UseTree::Glob(_) => found.push((prefix.clone(), None)),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, prefix, found)),
    }
}

struct Reader<'s> {
    module: Module,
    source: &'s mut Source,
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if is_test(&item.attrs) {
            return;
        }
        let mut found = Vec::new();
        leaves(&item.tree, &mut Vec::new(), &mut found);
        let exported = !matches!(item.vis, Visibility::Inherited);
        for (path, bound) in found {
            let Some(path) = absolute(&self.module, self.source, &path) else { continue };
            match bound {
                Some(name) if exported => _ = self.source.exports.insert(name, path),
                Some(name) => _ = self.source.imports.insert(name, path),
                None if exported => self.source.globs.push(path),
                None => _ = self.source.unnamed.insert(path),
            }
        }
    }

    /// `pub(super)` names a module and uses nothing of it.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.source.used.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut sources = BTreeMap::new();
        for name in ["lib.rs", "main.rs"] {
            if root.join(name).is_file() {
                read(&root.join(name), root, &[], &mut sources);
            }
        }
        Self(sources)
    }

    /// The file that defines what a path from the root leads to.
    fn file(&self, path: &[String], depth: u8) -> Option<Module> {
        let known = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(known);
        let Some((name, rest)) = rest.split_first() else { return Some(module.to_vec()) };
        let source = &self.0[module];
        let through = |target: &Vec<String>| self.file(&[&target[..], rest].concat(), depth - 1);
        if depth == 0 {
            return Some(module.to_vec());
        }
        if let Some(target) = source.exports.get(name) {
            return through(target);
        }
        let globbed = source.globs.iter().find_map(|glob| {
            let inside = self.0.get(glob)?;
            inside
                .exports
                .contains_key(name)
                .then(|| self.file(&[&glob[..], std::slice::from_ref(name), rest].concat(), depth - 1))?
        });
        globbed.or_else(|| Some(module.to_vec()))
    }

    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let edges = self.0.iter().map(|(module, source)| {
            let imported = source.imports.values().chain(&source.unnamed).cloned();
            let used = source.used.iter().filter_map(|path| {
                let bound = source.imports.get(&path[0]).or_else(|| source.exports.get(&path[0]));
                Some(match bound {
                    Some(target) => [&target[..], &path[1..]].concat(),
                    // A variable may have the name of a module.
                    None if path.len() == 1 => None?,
                    None => absolute(module, source, path)?,
                })
            });
            let files = imported.chain(used).filter_map(|path| self.file(&path, 16));
            (module, files.filter(|file| file != module).collect())
        });
        edges.collect()
    }

    /// The cycles, each as the files that reach one another.
    fn cycles(&self) -> Vec<BTreeSet<Module>> {
        let edges = self.edges();
        let reached: BTreeMap<&Module, BTreeSet<Module>> = edges
            .keys()
            .map(|start| {
                let (mut seen, mut next) = (BTreeSet::new(), vec![(*start).clone()]);
                while let Some(module) = next.pop() {
                    for target in edges.get(&module).into_iter().flatten() {
                        if seen.insert(target.clone()) {
                            next.push(target.clone());
                        }
                    }
                }
                (*start, seen)
            })
            .collect();
        let mut cycles: Vec<BTreeSet<Module>> = Vec::new();
        for (module, targets) in &reached {
            let cycle: BTreeSet<Module> = targets.iter().filter(|target| reached[target].contains(*module)).cloned().collect();
            if cycle.len() > 1 && !cycles.contains(&cycle) {
                cycles.push(cycle);
            }
        }
        cycles
    }
}

fn read(file: &Path, folder: &Path, module: &[String], sources: &mut BTreeMap<Module, Source>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed: File = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut source = Source::default();
    let mut below: Vec<(String, PathBuf, PathBuf)> = Vec::new();
    for item in &parsed.items {
        let Item::Mod(child) = item else { continue };
        if child.content.is_some() || is_test(&child.attrs) {
            continue;
        }
        let name = child.ident.to_string();
        let inside = folder.join(&name);
        let candidates = [folder.join(format!("{name}.rs")), inside.join("mod.rs")];
        if let Some(path) = candidates.into_iter().find(|path| path.is_file()) {
            source.children.insert(name.clone());
            below.push((name, path, inside));
        }
    }
    Reader { module: module.to_vec(), source: &mut source }.visit_file(&parsed);
    sources.insert(module.to_vec(), source);
    for (name, path, inside) in below {
        read(&path, &inside, &[module, &[name]].concat(), sources);
    }
}

fn shown(cycle: &BTreeSet<Module>) -> String {
    cycle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(", ")
}

#[test]
fn imports_point_down() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut problems = Vec::new();
    for root in ROOTS {
        let read = Crate::read(&here.join(root));
        assert!(!read.0.is_empty(), "{root} has no crate in it");
        problems.extend(
            read.cycles()
                .iter()
                .map(shown)
                .filter(|cycle| !KNOWN.contains(&(root, cycle)))
                .map(|cycle| format!("{root}: these files import each other: {cycle}")),
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The rooms of a page's map, row by row: the names in backticks of first cells.
fn map(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
    let rows = text.lines().skip_while(|line| *line != heading).skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells.map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}

#[test]
fn the_maps_name_every_room_and_imports_point_down_in_them() {
    let source = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let rooms: BTreeSet<&String> = source.0.keys().filter_map(|module| module.first()).collect();
    for (page, heading) in
        [("README.md", "| module | what it does |"), ("CONTRIBUTING.md", "| module in `src/` | what it does |")]
    {
        let map = map(page, heading);
        let named: Vec<&String> = map.iter().flatten().filter(|name| !name.ends_with('/')).collect();
        let unknown: Vec<_> = named.iter().filter(|name| !rooms.contains(*name)).collect();
        assert!(unknown.is_empty(), "{page} names rooms that do not exist: {unknown:?}");
        let missing: Vec<_> = rooms.iter().filter(|room| !named.contains(room)).collect();
        assert!(missing.is_empty(), "{page} does not name {missing:?}");
    }
    let map = map("CONTRIBUTING.md", "| module in `src/` | what it does |");
    let row = |room: &String| map.iter().position(|row| row.contains(room));
    let edges = source.edges();
    let imports =
        edges.iter().flat_map(|(module, targets)| targets.iter().filter_map(|target| Some((module.first()?, target.first()?))));
    let up: BTreeSet<_> = imports.filter(|(room, target)| row(target) < row(room)).collect();
    assert!(up.is_empty(), "CONTRIBUTING.md has these rooms below rooms that they use: {up:?}");
}

/// The cycles of a crate with these files.
fn cycles(name: &str, files: &[(&str, &str)]) -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("lambda-lifecycle-layout-{name}-{}", std::process::id()));
    for (file, text) in files {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }
    let cycles = Crate::read(&folder).cycles();
    fs::remove_dir_all(&folder).expect("it was made above");
    cycles.iter().map(shown).collect()
}

#[test]
fn a_cycle_is_found_through_a_re_export() {
    let found = cycles(
        "export",
        &[
            ("lib.rs", "mod upper; mod lower;"),
            ("upper/mod.rs", "mod inner; pub(crate) use inner::Thing;"),
            ("upper/inner.rs", "pub(crate) struct Thing; fn use_it() { crate::lower::it() }"),
            ("lower.rs", "use crate::upper::Thing; pub(crate) fn it() {}"),
        ],
    );
    assert_eq!(found, ["lower, upper::inner"]);
}

#[test]
fn a_cycle_is_found_through_an_import_without_a_name() {
    for (name, import) in [("glob", "use super::lower::*;"), ("unnamed", "use super::lower::Thing as _;")] {
        let found = cycles(
            name,
            &[("lib.rs", "mod upper; mod lower;"), ("upper.rs", import), ("lower.rs", "trait Thing {} use crate::upper::it;")],
        );
        assert_eq!(found, ["lower, upper"], "{import}");
    }
}

#[test]
fn a_variable_with_the_name_of_a_module_does_not_import_it() {
    let found = cycles(
        "variable",
        &[
            ("lib.rs", "mod inner; struct Thing { inner: u8 } fn make(inner: u8) -> Thing { Thing { inner } }"),
            ("inner.rs", "use super::Thing;"),
        ],
    );
    assert_eq!(found, Vec::<String>::new());
}
