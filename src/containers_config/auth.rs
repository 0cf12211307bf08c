//! Which auth file applies to a registry: containers-auth.json(5).
//!
//! skopeo finds credentials by itself. Its search is repeated here to put the system's own auth file
//! before podman's, and to name the files in messages. Secrets are skipped, never kept; only when something
//! has failed are they read, to remove them from the messages.
//!
//! The order: an explicit setting, and then nothing else; [`SYSTEM_AUTH_FILE`]; the auth file of the
//! user's login session, if this process is outside of it; the files that podman reads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::paths::{self, auth_files, session_auth_file};
use super::registries::{Registries, credential_helpers};
use crate::redact::Secrets;
use crate::reference::Reference;
use crate::source::Access;

/// The system's own auth file. It applies to the repositories that it has an entry for, podman's
/// files to all others.
pub const SYSTEM_AUTH_FILE: &str = "/etc/dnf5-oci/auth.json";

/// The permissions that let group and others read a file.
const READABLE_BY_OTHERS: u32 = 0o044;

/// What an auth file has for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthEntry {
    /// Credentials, or the name of a helper that has them.
    Credentials,
    /// A syntax error, at which skopeo ends its search. The parser's message could quote a secret,
    /// so only the position is kept.
    Malformed {
        /// Counted from 1.
        line: usize,
    },
}

/// The keys of an auth file, without the secrets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthFile {
    auths: Option<HashMap<String, Auth>>,
    cred_helpers: Option<HashMap<String, String>>,
    #[serde(skip)]
    has_hosts_only: bool,
}

/// An entry. docker leaves an empty one behind where a helper has the credentials.
#[derive(Debug, Deserialize)]
struct Auth {
    #[serde(default, rename = "auth", deserialize_with = "has_content")]
    is_given: bool,
}

fn has_content<'de, D: Deserializer<'de>>(text: D) -> Result<bool, D::Error> {
    let text = Option::<Cow<'_, str>>::deserialize(text)?;
    Ok(text.is_some_and(|text| !text.is_empty()))
}

/// Returns the repositories, as host and path, that skopeo may need credentials for: the pull sources
/// of the reference. The last is the registry itself, after its mirrors.
pub fn repositories(reference: &Reference) -> Vec<String> {
    match reference {
        Reference::Registry(registry) => Registries::read()
            .map_or_else(|_| vec![registry.name()], |registries| registries.pull_sources(registry)),
        Reference::Layout(_) => Vec::new(),
    }
}

/// Returns the host of a repository, under which its credentials are filed.
pub fn host(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// Selects the auth file for skopeo to read instead of those that it finds by itself: `system` or that
/// of the user's session, the first with an entry for a pull source of `reference`.
pub fn selected(system: &Path, reference: &Reference) -> Option<PathBuf> {
    let files = std::iter::once(system.to_owned()).chain(session_auth_file(paths::variable));
    let mut existing = files.filter(|file| file.exists()).peekable();
    existing.peek()?;
    let repositories = repositories(reference);
    existing.find(|file| repositories.iter().any(|name| entry(file, name).is_some()))
}

/// Returns what `file` has for a repository; `None` also if it cannot be read.
fn entry(file: &Path, name: &str) -> Option<AuthEntry> {
    let text = fs::read(file).ok()?;
    let parsed = match file.file_name() == Some(OsStr::new(".dockercfg")) {
        true => AuthFile::parse_dockercfg(&text),
        false => AuthFile::parse(&text),
    };
    match parsed {
        Ok(auth_file) => auth_file.covers(name).then_some(AuthEntry::Credentials),
        Err(error) => Some(AuthEntry::Malformed { line: error.line() }),
    }
}

/// Returns the files that are searched for credentials, in order; none if the caller gave a login.
pub fn search_order(access: &Access) -> Vec<PathBuf> {
    match &access.auth_file {
        _ if access.login.is_some() => Vec::new(),
        Some(file) => vec![file.clone()],
        None => {
            let system = access.system_auth_file.clone();
            let system = system.unwrap_or_else(|| PathBuf::from(SYSTEM_AUTH_FILE));
            std::iter::once(system)
                .chain(session_auth_file(paths::variable))
                .chain(auth_files(paths::variable))
                .collect()
        }
    }
}

/// Returns the file that ends the search for a repository, and what it has; `None` if no file has an
/// entry.
pub fn effective(access: &Access, name: &str) -> Option<(PathBuf, AuthEntry)> {
    let found = |file: PathBuf| entry(&file, name).map(|entry| (file, entry));
    search_order(access).into_iter().find_map(found)
}

/// Whether skopeo may ask a credential helper for this source.
pub fn uses_helper(access: &Access) -> bool {
    let names_one = |file: PathBuf| {
        let parsed = fs::read(file).ok().and_then(|text| AuthFile::parse(&text).ok());
        parsed
            .and_then(|auth_file| auth_file.cred_helpers)
            .is_some_and(|helpers| !helpers.is_empty())
    };
    credential_helpers().is_ok_and(|helpers| !helpers.is_empty())
        || search_order(access).into_iter().any(names_one)
}

/// Returns everything secret that skopeo may have used for a source: what the caller gave, and all that is in
/// the auth files that are searched.
pub fn secrets(access: &Access) -> Secrets {
    let mut secrets = access.secrets();
    for file in search_order(access) {
        if let Ok(text) = fs::read(file) {
            add_secrets_in(&text, &mut secrets);
        }
    }
    secrets
}

/// Adds the secrets in the text of an auth file; none if it is not JSON.
pub fn add_secrets_in(text: &[u8], secrets: &mut Secrets) {
    if let Ok(value) = serde_json::from_slice(text) {
        add_secrets(&value, secrets);
    }
}

/// Adds the secrets in the entries of an auth file: containers-auth.json(5), and those of docker's
/// config.json that podman does not read.
fn add_secrets(value: &Value, secrets: &mut Secrets) {
    for (key, member) in value.as_object().into_iter().flatten() {
        match (key.as_str(), member.as_str()) {
            ("auth", Some(text)) => {
                secrets.add(text);
                let login = BASE64.decode(text).unwrap_or_default();
                let login = String::from_utf8_lossy(&login);
                let (username, password) = login.split_once(':').unwrap_or(("", &login));
                secrets.add_login(username, password.trim_end_matches('\0'));
            }
            ("identitytoken" | "registrytoken" | "password", Some(text)) => secrets.add(text),
            _ => add_secrets(member, secrets),
        }
    }
}

/// Returns a warning if others than its owner can read the file.
pub fn exposure(file: &Path) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    let is_exposed = metadata.is_file() && metadata.permissions().mode() & READABLE_BY_OTHERS != 0;
    is_exposed.then(|| format!("others can read {0}; run \"chmod 600 {0}\"", file.display()))
}

impl AuthFile {
    /// Parses the text of an auth.json or of docker's config.json.
    ///
    /// # Errors
    /// If the text is not JSON, or does not have the form of such a file.
    pub fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// Parses the text of a .dockercfg, which has hosts at its top level.
    ///
    /// # Errors
    /// If the text is not JSON, or does not have the form of such a file.
    pub fn parse_dockercfg(text: &[u8]) -> serde_json::Result<Self> {
        let auths = serde_json::from_slice(text)?;
        Ok(Self { auths: Some(auths), cred_helpers: None, has_hosts_only: true })
    }

    /// Whether podman would find credentials for a repository. Helpers are filed under the host alone
    /// and come first. The closest entry counts, even if it is empty.
    pub fn covers(&self, name: &str) -> bool {
        let host = host(name);
        if self.cred_helpers.as_ref().is_some_and(|helpers| helpers.contains_key(host)) {
            return true;
        }
        let Some(auths) = &self.auths else {
            return false;
        };
        let mut names =
            std::iter::successors((!self.has_hosts_only).then_some(name), |name: &&str| {
                name.rsplit_once('/').map(|(parent, _)| parent)
            });
        match names.find_map(|name| auths.get(name)) {
            Some(closest) => closest.is_given,
            None => auths.iter().any(|(key, auth)| auth.is_given && is_host(key, host)),
        }
    }
}

/// Whether a key stands for a host. Old versions of docker wrote URLs as keys.
fn is_host(key: &str, host: &str) -> bool {
    let url = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    canonical_host(url.map_or(key, self::host)) == canonical_host(host)
}

fn canonical_host(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, content: &str, repository: &str) -> Option<AuthEntry> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join(name);
        fs::write(&file, content).expect("written");
        entry(&file, repository)
    }

    fn covered(content: &str, repository: &str) -> bool {
        found("auth.json", content, repository) == Some(AuthEntry::Credentials)
    }

    #[test]
    fn entries_hold_for_what_is_below_them() {
        let scoped = r#"{"auths": {"quay.io/acme": {"auth": "c2VjcmV0"}}}"#;
        assert!(covered(scoped, "quay.io/acme/rpms"));
        assert!(covered(scoped, "quay.io/acme"));
        assert!(!covered(scoped, "quay.io/other/rpms"));
        assert!(!covered(scoped, "quay.io/acme-two/rpms"));
        let host = r#"{"auths": {"localhost:5000": {"auth": "c2VjcmV0"}}}"#;
        assert!(covered(host, "localhost:5000/a/b"));
        assert!(!covered(host, "localhost:5001/a/b"));
    }

    #[test]
    fn the_closest_entry_counts_and_empty_ones_hold_nothing() {
        let content = r#"{"auths": {"h.io/a": {}, "h.io": {"auth": "c2VjcmV0"}}}"#;
        assert!(!covered(content, "h.io/a/rpms"));
        assert!(covered(content, "h.io/b/rpms"));
        assert!(!covered(r#"{"auths": {"h.io": {"auth": ""}}}"#, "h.io/a"));
        assert!(!covered(r#"{"auths": {"h.io": {"auth": null}}}"#, "h.io/a"));
    }

    #[test]
    fn helpers_and_urls_are_entries() {
        assert!(covered(r#"{"credHelpers": {"quay.io": "pass"}}"#, "quay.io/acme/rpms"));
        let url = r#"{"auths": {"https://quay.io/v1/": {"auth": "c2VjcmV0"}}}"#;
        assert!(covered(url, "quay.io/acme/rpms"));
        let docker = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "c2VjcmV0"}}}"#;
        assert!(covered(docker, "docker.io/acme/rpms"));
    }

    #[test]
    fn the_oldest_form_has_hosts_alone() {
        let old = |key: &str, repository: &str| {
            let content = format!(r#"{{"{key}": {{"auth": "c2VjcmV0"}}}}"#);
            found(".dockercfg", &content, repository) == Some(AuthEntry::Credentials)
        };
        assert!(old("quay.io", "quay.io/acme/rpms"));
        assert!(old("https://quay.io/v1/", "quay.io/acme/rpms"));
        assert!(!old("quay.io/acme", "quay.io/acme/rpms"));
    }

    #[test]
    fn what_cannot_be_understood_ends_the_search() {
        let malformed = found("auth.json", "{\n\"auths\": []}", "quay.io/acme/rpms");
        assert_eq!(malformed, Some(AuthEntry::Malformed { line: 2 }));
        assert_eq!(found("auth.json", "{}", "quay.io/acme/rpms"), None);
        let missing = entry(Path::new("/nonexistent"), "quay.io/a");
        assert_eq!(missing, None);
    }

    #[test]
    fn the_secrets_of_all_entries_are_known() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        let content =
            r#"{"auths": {"h.io": {"auth": "bWU6YTpi"}, "i.io": {"identitytoken": "opaque"}}}"#;
        fs::write(&file, content).expect("written");
        let secrets = secrets(&Access { auth_file: Some(file), ..Access::default() });
        for text in ["bWU6YTpi", "me:a:b", "a:b", "opaque"] {
            assert_eq!(secrets.hide(&format!("no {text} yes")), "no *** yes");
        }
    }

    #[test]
    fn an_explicit_file_is_the_only_one() {
        let access = Access { auth_file: Some("/explicit".into()), ..Access::default() };
        assert_eq!(search_order(&access), [PathBuf::from("/explicit")]);
    }
}
