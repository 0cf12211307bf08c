//! Which auth file has an entry for a registry, and who can read it. No secret is looked at.

use crate::credentials::{self, Entry};
use crate::registry::Source;

/// What is found without asking the registry.
pub(super) struct Found {
    /// One line.
    pub(super) text: String,
    /// Whether others can read an auth file.
    pub(super) is_open: bool,
}

/// Looks for credentials for the registry with this host.
pub(super) fn look(source: &Source, host: &str) -> Found {
    let mut text = match credentials::in_effect(&source.access, &source.reference) {
        Some((file, Entry::Credentials)) => format!("{} has an entry for {host}", file.display()),
        Some((file, Entry::Malformed { line })) => {
            format!("{} is not valid JSON from line {line} on", file.display())
        }
        None if source.access.login.is_some() => "username and password are given".to_owned(),
        None => format!("no auth file has an entry for {host}, so it is asked without"),
    };
    let searched = credentials::search_order(&source.access);
    let open: Vec<_> = searched.iter().filter_map(|file| credentials::exposure(file)).collect();
    for file in &open {
        text.push_str("; ");
        text.push_str(file);
    }
    Found { text, is_open: !open.is_empty() }
}
