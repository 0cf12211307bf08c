//! What registries.conf says: containers-registries.conf(5).
//!
//! skopeo reads these files by itself, and decides. They are read here too, and only here, for two
//! reasons: to tell people which entry holds for a reference, and to have skopeo ask the next place
//! when the one that it has chosen lacks a blob.
//!
//! | module | job |
//! |---|---|
//! | `files` | which files are read, in which order |
//! | `document` | one file |
//! | `entry` | one entry: what it matches, and the places that it leads to |
//! | `helpers` | who is asked for credentials |

mod document;
mod entry;
mod files;
mod helpers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::reference::RegistryReference;

pub use entry::Entry;
use files::Files;
pub use helpers::credential_helpers;

/// What a file is called that is not on disk yet.
const OURS: &str = "registries.conf without some places";

/// A file that skopeo cannot read either.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .file.display())]
pub struct Unreadable {
    file: PathBuf,
    reason: String,
}

impl Unreadable {
    fn new(file: &Path, reason: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// All entries, by prefix.
pub struct Registries {
    files: Files,
    /// The text of the main file; empty if there is none.
    main: String,
    entries: BTreeMap<String, Entry>,
}

impl Registries {
    /// Reads the files that skopeo reads when it is started by this process.
    ///
    /// # Errors
    /// If one cannot be read, or says what skopeo refuses.
    pub fn read() -> Result<Self, Unreadable> {
        Self::from(Files::in_force()?)
    }

    fn from(files: Files) -> Result<Self, Unreadable> {
        let main = files::text(files.main())?;
        Self::with_main(files, main)
    }

    fn with_main(files: Files, main: String) -> Result<Self, Unreadable> {
        let mut entries = BTreeMap::new();
        add(&mut entries, files.main(), &main)?;
        for file in files.drop_ins() {
            add(&mut entries, file, &files::text(file)?)?;
        }
        Ok(Self { files, main, entries })
    }

    /// The entry for a repository, given as host and path: the one with the longest prefix. Of two
    /// that are as long, one with a wildcard, it is the first.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        let matching = self.entries.values().rev().filter(|entry| entry.matches(name));
        matching.max_by_key(|entry| entry.prefix().len())
    }

    /// The repositories, as host and path, that skopeo asks for a reference, in this order, until
    /// one has the manifest.
    pub fn places(&self, reference: &RegistryReference) -> Vec<String> {
        let name = reference.name();
        match self.entry(&name) {
            Some(entry) => entry.places(&name, reference.digest().is_some()),
            None => vec![name],
        }
    }

    /// A main file with which skopeo passes over the first `count` places and does all else as
    /// before; `None` if there is no place after them, or no such file.
    ///
    /// The places are blocked, which to skopeo is a failure like any other. The reference stays
    /// what it is, and so do its policy and its credentials. Where the main file is another one,
    /// other drop-ins may be read, and drop-ins come before it: whether it would have the effect
    /// is found out by reading it as skopeo will.
    pub fn passing_over(&self, reference: &RegistryReference, count: usize) -> Option<String> {
        let places = self.places(reference);
        let (blocked, left) = places.split_at_checked(count)?;
        let left: Vec<_> = left.iter().filter(|place| !blocked.contains(place)).collect();
        let entries = blocked.iter().map(|place| document::blocking(place));
        let text = std::iter::once(format!("{}\n", self.main)).chain(entries).collect::<String>();
        let files = self.files.with_main(Path::new(OURS));
        let changed = Self::with_main(files, text.clone()).ok()?;
        let effective = !left.is_empty()
            && changed.places(reference) == places
            && blocked.iter().all(|place| changed.is_blocked(place))
            && left.into_iter().all(|place| changed.is_blocked(place) == self.is_blocked(place));
        effective.then_some(text)
    }

    fn is_blocked(&self, name: &str) -> bool {
        self.entry(name).is_some_and(Entry::is_blocked)
    }
}

/// Adds the entries of one file: they come before those with the same prefix in earlier files.
fn add(entries: &mut BTreeMap<String, Entry>, file: &Path, text: &str) -> Result<(), Unreadable> {
    for registry in document::parse(text).map_err(|reason| Unreadable::new(file, reason))? {
        let entry = Entry::new(file, registry);
        entries.insert(entry.prefix().to_owned(), entry);
    }
    Ok(())
}
