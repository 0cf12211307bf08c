//! One file: its entries, checked as skopeo checks them.

use std::collections::HashSet;

use serde::Deserialize;

use crate::config_file;

/// A registries.conf or one of its drop-ins.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Document {
    pub(super) registry: Vec<Registry>,
    pub(super) credential_helpers: Vec<String>,
}

/// `[[registry]]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Registry {
    pub(super) prefix: String,
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirror_by_digest_only: bool,
    pull_from_mirror: String,
    pub(super) mirror: Vec<Mirror>,
}

/// `[[registry.mirror]]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) pull_from_mirror: PullFromMirror,
}

/// Which references a mirror is used for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PullFromMirror {
    /// All, unless the entry has `mirror-by-digest-only`.
    #[default]
    #[serde(rename = "")]
    Unset,
    All,
    DigestOnly,
    TagOnly,
}

impl Document {
    /// Parses the text of a file. Of several entries with one prefix, the first counts.
    ///
    /// # Errors
    /// A line that says why skopeo rejects the file, with the number of the line where it is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut document: Self =
            toml::from_str(text).map_err(|error| config_file::describe(&error, text))?;
        let mut entries: Vec<Registry> = Vec::new();
        for mut registry in document.registry {
            registry.normalize();
            registry.check()?;
            if let Some(other) = entries.iter().find(|other| registry.contradicts(other)) {
                return Err(format!(
                    "entries for {:?} differ in \"insecure\" or \"blocked\"",
                    other.location
                ));
            }
            entries.push(registry);
        }
        let mut seen = HashSet::new();
        entries.retain(|registry| seen.insert(registry.prefix.clone()));
        document.registry = entries;
        Ok(document)
    }
}

/// Returns an entry that blocks one repository. skopeo never uses its location, but it must differ
/// from that of any entry that is not blocked.
pub(super) fn blocking(name: &str) -> String {
    format!("[[registry]]\nprefix = \"{name}\"\nlocation = \"skipped.invalid\"\nblocked = true\n")
}

impl Registry {
    fn normalize(&mut self) {
        trim(&mut self.location);
        trim(&mut self.prefix);
        if self.prefix.is_empty() {
            self.prefix.clone_from(&self.location);
        }
        for mirror in &mut self.mirror {
            trim(&mut mirror.location);
        }
    }

    fn check(&self) -> Result<(), String> {
        let mirrors = self.mirror.iter().map(|mirror| &mirror.location);
        let mut urls = [&self.prefix, &self.location].into_iter().chain(mirrors);
        let is_url = |name: &str| name.starts_with("http://") || name.starts_with("https://");
        if let Some(url) = urls.find(|name| is_url(name)) {
            return Err(format!("{url:?} must not have a scheme"));
        }
        let prefix = &self.prefix;
        let is_wildcard = prefix.starts_with("*.");
        let limited = |mirror: &Mirror| mirror.pull_from_mirror != PullFromMirror::Unset;
        let reason = if prefix.is_empty() {
            "an entry has neither \"prefix\" nor \"location\"".to_owned()
        } else if self.location.is_empty() && !is_wildcard {
            format!("the entry for {prefix:?} has no \"location\"")
        } else if is_wildcard && prefix.contains(['/', '@', ':']) {
            format!("the prefix {prefix:?} has more than a host after the wildcard")
        } else if !self.pull_from_mirror.is_empty() {
            format!("\"pull-from-mirror\" is for the mirrors of {prefix:?}, not for the entry")
        } else if self.mirror.iter().any(|mirror| mirror.location.is_empty()) {
            format!("a mirror of {prefix:?} has no \"location\"")
        } else if self.mirror_by_digest_only && self.mirror.iter().any(limited) {
            format!("{prefix:?} has both \"mirror-by-digest-only\" and \"pull-from-mirror\"")
        } else {
            return Ok(());
        };
        Err(reason)
    }

    fn contradicts(&self, other: &Self) -> bool {
        self.location == other.location
            && (!self.location.is_empty() || self.prefix == other.prefix)
            && (self.insecure, self.blocked) != (other.insecure, other.blocked)
    }
}

fn trim(name: &mut String) {
    name.truncate(name.trim_end_matches('/').len());
}
