//! No two files import each other, directly or through others: each can be understood once those below it are.
//!
//! A module and the modules below it form one family: a part may name its whole and the whole its parts. Tests are exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{read, tree};

/// The root file of each crate. Cargo already forbids cycles between crates.
const ROOTS: [(&str, &str); 4] = [
    ("crates/control/src", "lib.rs"),
    ("crates/relay-link/src", "lib.rs"),
    ("firmware/pico-relay/src", "main.rs"),
    ("src", "lib.rs"),
];

type Module = Vec<String>;

#[test]
fn no_files_import_each_other() {
    let mut found = Vec::new();
    for (root, top) in ROOTS {
        let modules = modules(root, top);
        assert!(modules.len() > 5, "{root}: the modules were not found");
        let below: BTreeMap<&Module, BTreeSet<&Module>> =
            modules.keys().map(|at| (at, imports(at, &modules))).collect();
        for circle in circles(&below) {
            let names: Vec<String> = circle.iter().map(|module| format!("{root}::{}", module.join("::"))).collect();
            found.push(names.join(" <-> "));
        }
    }
    assert!(found.is_empty(), "files that import each other:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let texts = [
        ("a", "use crate::b::{self, Thing};"),
        ("b", "fn f() -> crate::c::Other {}"),
        ("c", "use super::{d, a};"),
        ("d", "// use crate::a;\n#[cfg(test)]\nmod tests { use crate::a; }"),
    ];
    let modules = texts.map(|(name, text)| (module(name), product_code(text))).into();
    let below = ["a", "b", "c", "d"].map(module);
    let below = below.iter().map(|at| (at, imports(at, &modules))).collect();
    assert_eq!(circles(&below), [[&module("a"), &module("b"), &module("c")]]);
}

/// The modules of a crate, with their code outside of comments and tests.
fn modules(root: &str, top: &str) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for file in tree() {
        let Ok(inner) = file.strip_prefix(root) else { continue };
        let is_test = inner.components().any(|part| Path::new(&part).file_stem().is_some_and(|stem| stem == "tests"));
        if is_test
            || inner.extension().is_none_or(|ending| ending != "rs")
            || root == "src" && inner == Path::new("main.rs")
        {
            continue;
        }
        let mut name: Module =
            inner.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if inner == Path::new(top) || name.last().is_some_and(|last| last == "mod") {
            name.pop();
        }
        modules.insert(name, product_code(&read(&file)));
    }
    modules
}

/// Returns the text without comments and without anything compiled only for tests.
fn product_code(text: &str) -> String {
    let plain: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    let mut parts = plain.split("#[cfg(test)]");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        code.push_str(after_item(part));
    }
    code
}

/// Returns the rest of a text after its first item.
fn after_item(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(character, '}' | ';') {
            return &text[at + 1..];
        }
    }
    ""
}

/// The modules that a module names, except its own family.
fn imports<'a>(at: &Module, modules: &'a BTreeMap<Module, String>) -> BTreeSet<&'a Module> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (place, _) in modules[at].match_indices(start) {
            if !modules[at][..place].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                expand(&[], &modules[at][place..], &mut paths);
            }
        }
    }
    let named = paths.iter().filter_map(|path| resolve(at, path, modules));
    named.filter(|named| !named.starts_with(at) && !at.starts_with(named)).collect()
}

/// Expands a path with braces into all its paths; returns the text after it.
fn expand<'t>(before: &[&'t str], text: &'t str, paths: &mut Vec<Vec<&'t str>>) -> &'t str {
    let text = text.trim_start();
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(length);
    let mut path = before.to_vec();
    path.push(name);
    if let Some(inner) = rest.strip_prefix("::") {
        let Some(mut list) = inner.trim_start().strip_prefix('{') else { return expand(&path, inner, paths) };
        loop {
            list = expand(&path, list, paths).trim_start();
            match list.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => list = next,
                Some(next) => return next.trim_start().trim_start_matches('}'),
                None => return list.strip_prefix('}').unwrap_or(list),
            }
        }
    }
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        rest = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    paths.push(path);
    rest
}

/// Finds the module that a path leads to.
fn resolve<'a>(at: &Module, path: &[&str], modules: &'a BTreeMap<Module, String>) -> Option<&'a Module> {
    let mut module = at.clone();
    for name in path {
        match *name {
            "crate" => module.clear(),
            "super" => drop(module.pop()),
            "self" => {}
            name => {
                module.push(name.to_owned());
                if !modules.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
        }
    }
    modules.get_key_value(&module).map(|(module, _)| module)
}

/// The groups of modules that all lead to each other.
fn circles<'a>(below: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<&'a Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        below.keys().map(|from| (*from, reached(from, below))).collect();
    let mut circles: Vec<Vec<&Module>> = Vec::new();
    for (module, reach) in &reached {
        if reach.contains(module) && !circles.iter().any(|circle| circle.contains(module)) {
            let leads_back = |other: &&Module| reached.get(other).is_some_and(|from_there| from_there.contains(module));
            circles.push(reach.iter().copied().filter(leads_back).collect());
        }
    }
    circles
}

fn reached<'a>(from: &Module, below: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<&'a Module> {
    let (mut seen, mut next) = (BTreeSet::new(), Vec::from_iter(&below[from]));
    while let Some(module) = next.pop() {
        if seen.insert(*module) {
            next.extend(&below[module]);
        }
    }
    seen
}
