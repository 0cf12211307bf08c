//! Which auth file has an entry for a registry, and who can read it. No secret is looked at.

use std::path::PathBuf;

use crate::containers_config::auth::{self, AuthEntry};
use crate::containers_config::registries::credential_helpers;
use crate::source::Source;

/// What is found without asking the registry.
pub(super) struct Found {
    /// The finding, on one line.
    pub(super) text: String,
    /// Whether others can read an auth file.
    pub(super) is_open: bool,
}

/// Looks for credentials for every registry that the reference leads to.
pub(super) fn look(source: &Source) -> Found {
    let mut facts = match source.access.login {
        Some(_) => vec!["username and password are given".to_owned()],
        None => searched(source),
    };
    let files = auth::search_order(&source.access);
    let mut open: Vec<_> = files.iter().filter_map(|file| auth::exposure(file)).collect();
    let is_open = !open.is_empty();
    facts.append(&mut open);
    facts.dedup();
    Found { text: facts.join("; "), is_open }
}

/// What the auth files and the helpers have.
fn searched(source: &Source) -> Vec<String> {
    auth::repositories(&source.reference)
        .iter()
        .map(|name| fact(auth::effective(&source.access, name), auth::host(name)))
        .chain(helpers())
        .collect()
}

/// Helpers of registries.conf are asked in any case, before the auth files or after them.
fn helpers() -> Option<String> {
    let helpers = credential_helpers().unwrap_or_default();
    (!helpers.is_empty()).then(|| format!("registries.conf has {} asked too", helpers.join(", ")))
}

fn fact(found: Option<(PathBuf, AuthEntry)>, host: &str) -> String {
    match found {
        Some((file, AuthEntry::Credentials)) => {
            format!("{} has an entry for {host}", file.display())
        }
        Some((file, AuthEntry::Malformed { line })) => {
            format!("{} is not valid JSON from line {line} on", file.display())
        }
        None => format!("no auth file has an entry for {host}, so it is asked without"),
    }
}
