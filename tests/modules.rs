//! The order of the modules: each uses only modules below it in the list in `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the modules in the table in the documentation of `lib.rs`, from the top down.
fn listed(lib: &str) -> Vec<String> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | ")?.split_once(" |"));
    // A private module cannot be linked: its name has no brackets.
    rows.filter(|(cell, _)| cell.starts_with(['[', '`']))
        .map(|(cell, _)| cell.trim_matches(['[', ']', '`']).trim_start_matches("mod@").to_owned())
        .collect()
}

/// Returns the modules that `lib.rs` declares.
fn declared(lib: &str) -> Vec<String> {
    let items = lib.lines().filter_map(|line| line.strip_suffix(';')?.split_once("mod "));
    items.map(|(_, name)| name.to_owned()).collect()
}

/// Returns the modules of the crate that a source uses, each with the number of its line.
fn uses(source: &str) -> Vec<(usize, String)> {
    let without_comments = |line: &str| match line.trim_start().starts_with("//") {
        true => "\n".to_owned(),
        false => format!("{line}\n"),
    };
    let code: String = source.lines().map(without_comments).collect();
    let mut found = Vec::new();
    for (start, text) in code.match_indices("crate::") {
        if code[..start].ends_with(is_name) {
            continue;
        }
        let path = start + text.len();
        for name in first_names(&code[path..]) {
            let line = code[..path + name].matches('\n').count() + 1;
            found.push((line, name_at(&code[path + name..]).to_owned()));
        }
    }
    found
}

/// Returns where in the rest of a path, `a::b` or `{a::b, c::{d, e}}`, the names of its first level are.
fn first_names(path: &str) -> Vec<usize> {
    if !path.starts_with('{') {
        return vec![0];
    }
    let mut names = Vec::new();
    let (mut depth, mut before) = (0, ' ');
    for (position, character) in path.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            _ if depth == 1 && matches!(before, '{' | ',') => names.push(position),
            _ => {}
        }
        before = character;
    }
    names
}

fn name_at(text: &str) -> &str {
    text.split(|character| !is_name(character)).next().unwrap_or_default()
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Returns what is wrong with the modules that a file uses.
fn violations(list: &[String], file: &Path, source: &str) -> Vec<String> {
    let Some(module) = file.iter().next().and_then(|top| Path::new(top).file_stem()?.to_str())
    else {
        return Vec::new();
    };
    let position = |name: &str| list.iter().position(|listed| listed == name);
    let Some(own) = position(module) else {
        return Vec::new();
    };
    let wrong = uses(source).into_iter().filter_map(|(line, used)| {
        let reason = match position(&used) {
            Some(other) if other >= own => return None,
            Some(_) => "stands above it in the list",
            None => "is not in the list",
        };
        Some(format!("src/{}:{line}: {module} uses {used}, which {reason}", file.display()))
    });
    wrong.collect()
}

/// Returns all Rust files below a directory, sorted.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    files
}

#[test]
fn a_module_uses_only_modules_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let list = listed(&fs::read_to_string(src.join("lib.rs")).expect("readable"));
    let files = sources(&src);
    assert!(files.len() > list.len(), "{files:?}");
    let found: Vec<_> = files
        .iter()
        .flat_map(|file| {
            let source = fs::read_to_string(file).expect("readable");
            violations(&list, file.strip_prefix(&src).expect("below"), &source)
        })
        .collect();
    assert!(found.is_empty(), "the order of the modules is in src/lib.rs:\n{}", found.join("\n"));
}

#[test]
fn the_list_has_every_module_once() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let lib = fs::read_to_string(lib).expect("readable");
    let (mut listed, mut declared) = (listed(&lib), declared(&lib));
    listed.sort();
    declared.sort();
    assert!(!listed.is_empty());
    assert_eq!(listed, declared);
}

#[test]
fn a_violation_is_found_in_every_form_of_use() {
    let list = ["top", "middle", "bottom"].map(str::to_owned);
    let of = |file: &str, source: &str| violations(&list, Path::new(file), source);
    let above = "which stands above it in the list";
    for (source, line) in [
        ("use crate::top;", 1),
        ("\nuse crate::top::{self, Item as Other};", 2),
        ("use crate::{bottom, top};", 1),
        ("use crate::{\n    bottom::{\n        A, B,\n    },\n    top::inner::{C},\n};", 5),
        ("fn f() {\n    g!(\"{}\", crate::top::item());\n}", 2),
        ("pub(in crate::top) fn f() {}", 1),
    ] {
        let expected = format!("src/middle/file.rs:{line}: middle uses top, {above}");
        assert_eq!(of("middle/file.rs", source), [expected], "{source}");
    }
    assert_eq!(
        of("middle.rs", "use crate::middl::A;"),
        ["src/middle.rs:1: middle uses middl, which is not in the list"]
    );
    for source in [
        "use crate::bottom::top;",
        "use crate::{bottom::{top, A}, middle};",
        "// use crate::top;\n    /// [`crate::top`]",
        "use other::top;\nuse other_crate::top;",
    ] {
        assert_eq!(of("middle.rs", source), [""; 0], "{source}");
    }
}
