//! Which auth file has an entry for a registry, and who can read it. No secret is looked at.

use std::path::PathBuf;

use crate::credentials::{self, Entry};
use crate::registry::Source;

/// What is found without asking the registry.
pub(super) struct Found {
    /// One line.
    pub(super) text: String,
    /// Whether others can read an auth file.
    pub(super) is_open: bool,
}

/// Looks for credentials for every registry that the reference leads to.
pub(super) fn look(source: &Source) -> Found {
    let mut facts: Vec<_> = credentials::names(&source.reference)
        .iter()
        .map(|name| fact(credentials::in_effect(&source.access, name), credentials::host(name)))
        .collect();
    let searched = credentials::search_order(&source.access);
    let mut open: Vec<_> = searched.iter().filter_map(|file| credentials::exposure(file)).collect();
    let is_open = !open.is_empty();
    facts.append(&mut open);
    facts.dedup();
    Found { text: facts.join("; "), is_open }
}

fn fact(found: Option<(PathBuf, Entry)>, host: &str) -> String {
    match found {
        Some((file, Entry::Credentials)) => format!("{} has an entry for {host}", file.display()),
        Some((file, Entry::Malformed { line })) => {
            format!("{} is not valid JSON from line {line} on", file.display())
        }
        None => format!("no auth file has an entry for {host}, so it is asked without"),
    }
}
