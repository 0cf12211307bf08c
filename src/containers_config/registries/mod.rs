//! Which entry of registries.conf applies to a reference: containers-registries.conf(5).
//!
//! skopeo reads these files and decides. They are read here to name the entry in messages, and to have
//! skopeo use the next pull source when the one that it has selected lacks a blob.
//!
//! | module | job |
//! |---|---|
//! | `files` | which files are read, in which order |
//! | `entry` | one entry: what it matches, and its pull sources |
//! | `document` | one file |

mod document;
mod entry;
mod files;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use crate::config_file::{self, Error};
use crate::reference::RegistryReference;

pub use document::Document;
pub use entry::RegistryEntry;
use files::Files;

/// Stands for the path of a main file that is not written yet.
const MODIFIED: &str = "modified registries.conf";

/// What stands for the auth files in a list of credential helpers.
const AUTH_FILES: &str = "containers-auth.json";

/// The effective configuration of registries.
pub struct Registries {
    files: Files,
    /// The text of the main file; empty if there is none.
    main: String,
    entries: BTreeMap<String, RegistryEntry>,
    credential_helpers: Vec<String>,
}

/// Returns the credential helpers that skopeo asks besides the auth files: NAME stands for the program
/// `docker-credential-NAME`.
///
/// # Errors
/// If a file cannot be read, or skopeo rejects it.
pub fn credential_helpers() -> Result<Vec<String>, Error> {
    let mut helpers = Registries::read()?.credential_helpers;
    helpers.retain(|helper| helper != AUTH_FILES);
    Ok(helpers)
}

impl Registries {
    /// Reads the files that skopeo reads when this process starts it.
    ///
    /// # Errors
    /// If a file cannot be read, or skopeo rejects it.
    pub fn read() -> Result<Self, Error> {
        Self::of(Files::effective()?)
    }

    /// Parses a main file that has no drop-ins.
    ///
    /// # Errors
    /// If skopeo rejects it.
    #[cfg(fuzzing)]
    #[doc(hidden)]
    pub fn parse(main: String) -> Result<Self, Error> {
        let nowhere = Path::new("/proc/none/registries.conf");
        Self::with_main(Files::of(nowhere, nowhere)?, main)
    }

    fn of(files: Files) -> Result<Self, Error> {
        let main = config_file::read(files.main())?;
        Self::with_main(files, main)
    }

    /// Parses `main` and reads the drop-ins. An entry replaces those of earlier files with its prefix.
    fn with_main(files: Files, main: String) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        let mut credential_helpers = Vec::new();
        let mut add = |file: &Path, text: &str| {
            let document = Document::parse(text).map_err(|reason| Error::new(file, reason))?;
            for registry in document.registry {
                entries.insert(registry.prefix.clone(), RegistryEntry::new(file, registry));
            }
            if !document.credential_helpers.is_empty() {
                credential_helpers = document.credential_helpers;
            }
            Ok(())
        };
        add(files.main(), &main)?;
        for file in files.drop_ins() {
            add(file, &config_file::read(file)?)?;
        }
        Ok(Self { files, main, entries, credential_helpers })
    }

    /// Returns the entry for a repository, given as host and path: the one with the longest prefix. Of
    /// two with the same length, one with a wildcard wins.
    pub fn entry(&self, name: &str) -> Option<&RegistryEntry> {
        let matching = self.entries.values().rev().filter(|entry| entry.matches(name));
        matching.max_by_key(|entry| entry.prefix().len())
    }

    /// Returns the pull sources of a reference, as host and path, in the order in which skopeo tries
    /// them until one has the manifest.
    pub fn pull_sources(&self, reference: &RegistryReference) -> Vec<String> {
        let name = reference.name();
        match self.entry(&name) {
            Some(entry) => entry.pull_sources(&name, reference.digest().is_some()),
            None => vec![name],
        }
    }

    /// Returns a main file that makes skopeo skip the first `count` pull sources and changes nothing
    /// else; `None` if no pull source is left, or there is no such file.
    ///
    /// The pull sources are blocked: to skopeo, that is a failure like any other. The reference, and
    /// with it the policy and the credentials, stay the same. With another main file, skopeo may read
    /// other drop-ins, and a drop-in overrides the main file, so the result is parsed and checked.
    pub fn skipping(&self, reference: &RegistryReference, count: usize) -> Option<String> {
        let sources = self.pull_sources(reference);
        let (skipped, left) = sources.split_at_checked(count)?;
        let left: Vec<_> = left.iter().filter(|source| !skipped.contains(source)).collect();
        let entries = skipped.iter().map(|source| document::blocking(source));
        let text = std::iter::once(format!("{}\n", self.main)).chain(entries).collect::<String>();
        let files = self.files.with_main(Path::new(MODIFIED));
        let modified = Self::with_main(files, text.clone()).ok()?;
        let has_effect = !left.is_empty()
            && modified.pull_sources(reference) == sources
            && skipped.iter().all(|source| modified.is_blocked(source))
            && left.into_iter().all(|name| modified.is_blocked(name) == self.is_blocked(name));
        has_effect.then_some(text)
    }

    fn is_blocked(&self, name: &str) -> bool {
        self.entry(name).is_some_and(RegistryEntry::is_blocked)
    }
}
