//! One entry: what it matches, and its pull sources.

use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{Mirror, PullFromMirror, Registry};

/// An entry, and the file that has it.
#[derive(Clone, Debug)]
pub struct RegistryEntry {
    file: PathBuf,
    registry: Registry,
}

impl RegistryEntry {
    pub(super) fn new(file: &Path, registry: Registry) -> Self {
        Self { file: file.to_owned(), registry }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.registry.prefix
    }

    /// Whether it blocks its own location. Its mirrors are not blocked by that.
    pub(super) fn is_blocked(&self) -> bool {
        self.registry.blocked
    }

    /// Whether it applies to a repository, given as host and path.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.rest(name).is_some()
    }

    /// Returns what follows the prefix in a name, if the name begins with it.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        let prefix = self.prefix();
        let rest = match prefix.strip_prefix('*') {
            // `*.example.com`: any subdomain.
            Some(domain) if domain.starts_with('.') => {
                let (host, rest) = name.split_once(domain)?;
                (!host.contains('/')).then_some(rest)?
            }
            _ => name.strip_prefix(prefix)?,
        };
        (rest.is_empty() || rest.starts_with([':', '/'])).then_some(rest)
    }

    /// Returns the pull sources of a repository that it matches: its mirrors, then its location.
    pub(super) fn pull_sources(&self, name: &str, by_digest: bool) -> Vec<String> {
        let rest = self.rest(name).unwrap_or_default();
        let mirrors = self.registry.mirror.iter().filter(|mirror| match self.used_for(mirror) {
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

    fn used_for(&self, mirror: &Mirror) -> PullFromMirror {
        match mirror.pull_from_mirror {
            PullFromMirror::Unset if self.registry.mirror_by_digest_only => {
                PullFromMirror::DigestOnly
            }
            own => own,
        }
    }

    fn describe(&self, mirror: &Mirror) -> String {
        let limit = match self.used_for(mirror) {
            PullFromMirror::DigestOnly => Some("digests only"),
            PullFromMirror::TagOnly => Some("tags only"),
            PullFromMirror::All | PullFromMirror::Unset => None,
        };
        let notes: Vec<_> =
            limit.into_iter().chain(mirror.insecure.then_some("insecure")).collect();
        match notes.is_empty() {
            true => mirror.location.clone(),
            false => format!("{} ({})", mirror.location, notes.join(", ")),
        }
    }
}

/// For messages: the file, the prefix, and its effect.
impl fmt::Display for RegistryEntry {
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
            write!(f, "; mirrors tried first: {}", mirrors.join(", "))?;
        }
        Ok(())
    }
}
