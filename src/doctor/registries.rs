//! Which entry of registries.conf holds for a reference: containers-registries.conf(5).
//!
//! This is information for people. skopeo reads the same files, and decides by itself.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The file of the whole system, and the directory of its drop-ins.
const SYSTEM: &str = "/etc/containers/registries.conf";

/// The entry that holds, and the file that has it.
#[derive(Debug)]
pub(super) struct Entry {
    file: PathBuf,
    registry: Registry,
}

/// A file that skopeo cannot read either.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .file.display())]
pub(super) struct Unreadable {
    file: PathBuf,
    reason: String,
}

impl Unreadable {
    fn new(file: &Path, reason: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    registry: Vec<Registry>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

/// Finds the entry for a name as skopeo gets it: host, path, and tag or digest.
pub(super) fn entry(name: &str) -> Result<Option<Entry>, Unreadable> {
    let home = env::var_os("HOME").map(PathBuf::from).or_else(env::home_dir).unwrap_or_default();
    let user = home.join(".config/containers/registries.conf");
    holding(name, &files(Path::new(SYSTEM), &user)?)
}

/// The files that are read, later ones before earlier ones. A user's own file stands in for the
/// system's, and for its drop-ins.
fn files(system: &Path, user: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let mut files = Vec::new();
    if user.exists() {
        files.push(user.to_owned());
    } else {
        files.push(system.to_owned());
        files.extend(drop_ins(system)?);
    }
    files.extend(drop_ins(user)?);
    Ok(files)
}

/// `registries.conf.d/*.conf` beside a file, by name.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let directory = file.with_extension("conf.d");
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Unreadable::new(&directory, error))?,
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    Ok(files)
}

/// The entry with the longest prefix; of one prefix, the last.
fn holding(name: &str, files: &[PathBuf]) -> Result<Option<Entry>, Unreadable> {
    let mut entries = BTreeMap::new();
    for file in files {
        for registry in read(file)? {
            let prefix = registry.prefix().to_owned();
            entries.insert(prefix, Entry { file: file.clone(), registry });
        }
    }
    let matching = entries
        .into_iter()
        .filter_map(|(prefix, entry)| Some((matched(name, &prefix)?, entry)))
        .max_by_key(|(length, _)| *length);
    Ok(matching.map(|(_, entry)| entry))
}

fn read(file: &Path) -> Result<Vec<Registry>, Unreadable> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| Unreadable::new(file, error))?,
    };
    let document: Document = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Unreadable::new(file, format!("line {line}: {}", error.message()))
    })?;
    Ok(document.registry)
}

/// How much of a name a prefix matches, if it does.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        // `*.example.com`: any host below that one.
        Some(domain) if domain.starts_with('.') => {
            let begin = name.find(domain).filter(|begin| !name[..*begin].contains('/'))?;
            begin + domain.len()
        }
        _ => name.starts_with(prefix).then_some(prefix.len())?,
    };
    let rest = &name[end..];
    (rest.is_empty() || rest.starts_with([':', '/', '@'])).then_some(end)
}

impl Entry {
    /// Whether it forbids all access.
    pub(super) fn is_blocked(&self) -> bool {
        self.registry.blocked
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Registry { location, insecure, blocked, .. } = &self.registry;
        let prefix = self.registry.prefix();
        write!(f, "{}: {prefix}", self.file.display())?;
        if *blocked {
            return write!(f, " is blocked");
        }
        if !location.is_empty() && location != prefix {
            write!(f, " is at {location}")?;
        }
        if *insecure {
            write!(f, " (insecure)")?;
        }
        let mirrors: Vec<_> =
            self.registry.mirror.iter().map(|mirror| self.registry.describe(mirror)).collect();
        if !mirrors.is_empty() {
            write!(f, ", after its mirrors {}", mirrors.join(", "))?;
        }
        Ok(())
    }
}

impl Registry {
    fn prefix(&self) -> &str {
        if self.prefix.is_empty() { &self.location } else { &self.prefix }
    }

    fn describe(&self, mirror: &Mirror) -> String {
        let only = match mirror.pull_from_mirror.as_str() {
            "digest-only" => Some("for digests only"),
            "tag-only" => Some("for tags only"),
            _ if self.mirror_by_digest_only => Some("for digests only"),
            _ => None,
        };
        let notes: Vec<_> = only.into_iter().chain(mirror.insecure.then_some("insecure")).collect();
        match notes.is_empty() {
            true => mirror.location.clone(),
            false => format!("{} ({})", mirror.location, notes.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entry for a name, without the directory of its file.
    fn found(name: &str, files: &[(&str, &str)]) -> String {
        let top = tempfile::tempdir().expect("a temporary directory");
        let system = top.path().join("etc/registries.conf");
        let user = top.path().join("home/registries.conf");
        for (file, text) in files {
            let path = top.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let files = super::files(&system, &user);
        let text = match files.and_then(|files| holding(name, &files)) {
            Ok(Some(entry)) => entry.to_string(),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        };
        text.replace(&format!("{}/", top.path().display()), "")
    }

    #[test]
    fn the_longest_prefix_holds() {
        let file = "[[registry]]\nlocation = \"quay.io\"\ninsecure = true\n\
                    [[registry]]\nprefix = \"quay.io/acme\"\nlocation = \"mirror.example/quay\"\n\
                    [[registry]]\nprefix = \"*.example.com\"\nblocked = true\n";
        for (name, expected) in [
            ("quay.io/acme/rpms:1", "etc/registries.conf: quay.io/acme is at mirror.example/quay"),
            ("quay.io/acme-two/rpms:1", "etc/registries.conf: quay.io (insecure)"),
            ("quay.io@sha256:00", "etc/registries.conf: quay.io (insecure)"),
            ("a.b.example.com:5000/x:1", "etc/registries.conf: *.example.com is blocked"),
            ("example.com/x:1", "none"),
            ("host/a.example.com/x:1", "none"),
            ("quay.iota/x:1", "none"),
        ] {
            assert_eq!(found(name, &[("etc/registries.conf", file)]), expected, "{name}");
        }
    }

    #[test]
    fn mirrors_are_named_in_order_with_what_limits_them() {
        let file = "[[registry]]\nlocation = \"quay.io\"\n\
                    [[registry.mirror]]\nlocation = \"one.example\"\ninsecure = true\n\
                    pull-from-mirror = \"digest-only\"\n\
                    [[registry.mirror]]\nlocation = \"two.example\"\npull-from-mirror = \"tag-only\"\n\
                    [[registry.mirror]]\nlocation = \"three.example\"\n";
        assert_eq!(
            found("quay.io/a:1", &[("etc/registries.conf", file)]),
            "etc/registries.conf: quay.io, after its mirrors one.example (for digests only, \
             insecure), two.example (for tags only), three.example"
        );
    }

    #[test]
    fn drop_ins_come_later_and_a_users_file_stands_in_for_the_systems() {
        let entry =
            |host: &str| format!("[[registry]]\nprefix = \"quay.io\"\nlocation = \"{host}\"\n");
        let (main, first, second, own) =
            (entry("main"), entry("first"), entry("second"), entry("own"));
        let mut all = vec![
            ("etc/registries.conf", main.as_str()),
            ("etc/registries.conf.d/20.conf", &second),
            ("etc/registries.conf.d/10.conf", &first),
            ("etc/registries.conf.d/30.conf.off", "not TOML"),
        ];
        assert_eq!(
            found("quay.io/a:1", &all),
            "etc/registries.conf.d/20.conf: quay.io is at second"
        );
        all.push(("home/registries.conf", &own));
        assert_eq!(found("quay.io/a:1", &all), "home/registries.conf: quay.io is at own");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_line() {
        let line = found("quay.io/a:1", &[("etc/registries.conf", "[[registry]]\nprefix = 1\n")]);
        assert!(line.starts_with("etc/registries.conf: line 2: "), "{line}");
        assert_eq!(found("quay.io/a:1", &[]), "none");
    }
}
