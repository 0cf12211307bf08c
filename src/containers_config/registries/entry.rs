//! One entry: what it matches, and the places that it leads to.

use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{Mirror, PullFromMirror, Registry};

/// An entry, and the file that has it.
#[derive(Clone, Debug)]
pub struct Entry {
    file: PathBuf,
    registry: Registry,
}

impl Entry {
    pub(super) fn new(file: &Path, registry: Registry) -> Self {
        Self { file: file.to_owned(), registry }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.registry.prefix
    }

    /// Whether it forbids access to what it stands for. Its mirrors are not forbidden by that.
    pub(super) fn is_blocked(&self) -> bool {
        self.registry.blocked
    }

    /// Whether it is about a repository, given as host and path.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.rest(name).is_some()
    }

    /// What comes after the prefix, if the name begins with it.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        let prefix = self.prefix();
        let rest = match prefix.strip_prefix('*') {
            // `*.example.com`: any host below that one.
            Some(domain) if domain.starts_with('.') => {
                let (host, rest) = name.split_once(domain)?;
                (!host.contains('/')).then_some(rest)?
            }
            _ => name.strip_prefix(prefix)?,
        };
        (rest.is_empty() || rest.starts_with([':', '/'])).then_some(rest)
    }

    /// The repositories that are asked for one that it matches: its mirrors, then its location.
    pub(super) fn places(&self, name: &str, by_digest: bool) -> Vec<String> {
        let rest = self.rest(name).unwrap_or_default();
        let mirrors = self.registry.mirror.iter().filter(|mirror| match self.only(mirror) {
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
            PullFromMirror::All | PullFromMirror::Unset => true,
        });
        let own = match self.registry.location.as_str() {
            "" => name.to_owned(),
            location => format!("{location}{rest}"),
        };
        mirrors.map(|mirror| format!("{}{rest}", mirror.location)).chain([own]).collect()
    }

    fn only(&self, mirror: &Mirror) -> PullFromMirror {
        match mirror.pull_from_mirror {
            PullFromMirror::Unset if self.registry.mirror_by_digest_only => {
                PullFromMirror::DigestOnly
            }
            only => only,
        }
    }

    fn describe(&self, mirror: &Mirror) -> String {
        let only = match self.only(mirror) {
            PullFromMirror::DigestOnly => Some("for digests only"),
            PullFromMirror::TagOnly => Some("for tags only"),
            PullFromMirror::All | PullFromMirror::Unset => None,
        };
        let notes: Vec<_> = only.into_iter().chain(mirror.insecure.then_some("insecure")).collect();
        match notes.is_empty() {
            true => mirror.location.clone(),
            false => format!("{} ({})", mirror.location, notes.join(", ")),
        }
    }
}

/// For people: the file, the prefix, and what comes of it.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Registry { prefix, location, insecure, blocked, mirror, .. } = &self.registry;
        write!(f, "{}: {prefix}", self.file.display())?;
        if *blocked {
            write!(f, " is blocked")?;
        } else if !location.is_empty() && location != prefix {
            write!(f, " is at {location}")?;
        }
        if *insecure && !*blocked {
            write!(f, " (insecure)")?;
        }
        let mirrors: Vec<_> = mirror.iter().map(|mirror| self.describe(mirror)).collect();
        if !mirrors.is_empty() {
            write!(f, ", after its mirrors {}", mirrors.join(", "))?;
        }
        Ok(())
    }
}
