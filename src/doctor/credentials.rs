//! Which auth file has an entry for a registry, and who can read it. No secret is looked at.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::credentials;
use crate::registry::Source;

/// The bits that let group and others read a file.
const OTHERS: u32 = 0o044;

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
        Some(file) => format!("{} has an entry for {host}", file.display()),
        None if source.access.login.is_some() => "username and password are given".to_owned(),
        None => format!("no auth file has an entry for {host}, so it is asked without"),
    };
    let searched = credentials::search_order(&source.access);
    let open: Vec<_> = searched.iter().filter(|file| can_be_read_by_others(file)).collect();
    for file in &open {
        let file = file.display();
        text.push_str(&format!("; others can read {file}: run \"chmod 600 {file}\""));
    }
    Found { text, is_open: !open.is_empty() }
}

fn can_be_read_by_others(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & OTHERS != 0)
}
