//! One file: its entries, held to what skopeo requirements of them.

use std::collections::HashSet;

use serde::Deserialize;

use crate::containers_config::toml_line;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    registry: Vec<Registry>,
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

/// For which references a mirror is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PullFromMirror {
    /// For all, unless the entry has `mirror-by-digest-only`.
    #[default]
    #[serde(rename = "")]
    Unset,
    All,
    DigestOnly,
    TagOnly,
}

/// The entries of a file; of those with the same prefix, only the first. What is wrong is told on
/// one line, with the line of the file if it is known.
pub(super) fn parse(text: &str) -> Result<Vec<Registry>, String> {
    let document: Document = toml::from_str(text)
        .map_err(|error| format!("line {}: {}", toml_line::of(&error, text), error.message()))?;
    let mut entries: Vec<Registry> = Vec::new();
    for mut registry in document.registry {
        registry.normalize();
        registry.check()?;
        if let Some(other) = entries.iter().find(|other| registry.contradicts(other)) {
            return Err(format!(
                "{:?} has entries that contradict each other in \"insecure\" or \"blocked\"",
                other.location
            ));
        }
        entries.push(registry);
    }
    let mut seen = HashSet::new();
    entries.retain(|registry| seen.insert(registry.prefix.clone()));
    Ok(entries)
}

/// An entry that blocks one repository. Its location has no meaning, but must not be that of any
/// other entry, which is not blocked.
pub(super) fn blocking(name: &str) -> String {
    format!(
        "[[registry]]\nprefix = \"{name}\"\nlocation = \"passed-over.invalid\"\nblocked = true\n"
    )
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
            return Err(format!("{url:?} must be written without its scheme"));
        }
        let prefix = &self.prefix;
        let is_wildcard = prefix.starts_with("*.");
        let limited = |mirror: &Mirror| mirror.pull_from_mirror != PullFromMirror::Unset;
        let reason = if prefix.is_empty() {
            "an entry has neither prefix nor location".to_owned()
        } else if self.location.is_empty() && !is_wildcard {
            format!("the entry for {prefix:?} has no location")
        } else if is_wildcard && prefix.contains(['/', '@', ':']) {
            format!("the prefix {prefix:?} has more than a host after its wildcard")
        } else if !self.pull_from_mirror.is_empty() {
            format!("pull-from-mirror belongs to a mirror of {prefix:?}, not to the entry itself")
        } else if self.mirror.iter().any(|mirror| mirror.location.is_empty()) {
            format!("a mirror of {prefix:?} has no location")
        } else if self.mirror_by_digest_only && self.mirror.iter().any(limited) {
            format!("{prefix:?} has mirror-by-digest-only and a mirror with pull-from-mirror")
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
