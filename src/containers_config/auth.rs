//! Which auth file holds for a registry.
//!
//! skopeo finds credentials by itself. This module knows only where it looks (containers-auth.json(5))
//! for two reasons: to put the system's own auth file before those of podman, and to say in an
//! error where was looked. No secret is ever taken out of a file here.
//!
//! The order: an explicit setting (alone, if given), [`SYSTEM_AUTH_FILE`], then what podman reads
//! for this user: in a login session, if this process has no part in one, and in its environment.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use crate::containers_config::paths::home;
use crate::containers_config::registries::Registries;
use crate::reference::Reference;
use crate::source::Access;

/// The auth file of the whole system. It is read where it has an entry for the repository; podman's
/// files are otherwise.
pub const SYSTEM_AUTH_FILE: &str = "/etc/dnf5-oci/auth.json";

/// The bits that let group and others read a file.
const OTHERS: u32 = 0o044;

/// What an auth file has for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Credentials, or a helper that is asked for them.
    Credentials,
    /// Whatever it has, it is not valid from this line on, and skopeo looks no further. The message
    /// of the parser could quote the file: only the place is told.
    Malformed {
        /// Counted from 1.
        line: usize,
    },
}

/// The keys of an auth file; the secrets behind them are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    auths: Option<HashMap<String, Auth>>,
    cred_helpers: Option<HashMap<String, String>>,
}

/// An entry. docker leaves empty ones behind where a helper has the credentials.
#[derive(Deserialize)]
struct Auth {
    #[serde(default, rename = "auth", deserialize_with = "has_content")]
    is_given: bool,
}

fn has_content<'de, D: Deserializer<'de>>(text: D) -> Result<bool, D::Error> {
    let text = Option::<Cow<'_, str>>::deserialize(text)?;
    Ok(text.is_some_and(|text| !text.is_empty()))
}

/// The repositories, as host and path, for which credentials are looked for: those of the places
/// that registries.conf makes of a reference.
pub fn repositories(reference: &Reference) -> Vec<String> {
    match reference {
        Reference::Registry(registry) => Registries::read()
            .map_or_else(|_| vec![registry.name()], |registries| registries.places(registry)),
        Reference::Layout(_) => Vec::new(),
    }
}

/// The host of a repository, as credentials are filed under.
pub fn host(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// The file that is to be read instead of those that skopeo finds by itself: the first of `system`
/// and that of the user's session with anything for one of the repositories that `reference` leads
/// to.
pub fn chosen(system: &Path, reference: &Reference) -> Option<PathBuf> {
    let files = std::iter::once(system.to_owned()).chain(session_file(|name| env::var_os(name)));
    let mut there = files.filter(|file| file.exists()).peekable();
    there.peek()?;
    let repositories = repositories(reference);
    there.find(|file| repositories.iter().any(|name| entry(file, name).is_some()))
}

/// What `file` has for a repository, if it can be read and has anything.
fn entry(file: &Path, name: &str) -> Option<Entry> {
    let content = fs::read(file).ok()?;
    let covers = if file.file_name() == Some(OsStr::new(".dockercfg")) {
        serde_json::from_slice(&content).map(|auths| covers_host(&auths, host(name)))
    } else {
        serde_json::from_slice(&content).map(|file: AuthFile| file.covers(name))
    };
    match covers {
        Ok(covers) => covers.then_some(Entry::Credentials),
        Err(error) => Some(Entry::Malformed { line: error.line() }),
    }
}

/// The files that are searched for credentials, in order; none if they are given.
pub fn search_order(access: &Access) -> Vec<PathBuf> {
    match &access.auth_file {
        _ if access.login.is_some() => Vec::new(),
        Some(file) => vec![file.clone()],
        None => {
            let variable = |name: &str| env::var_os(name);
            let system = access.system_auth_file.clone();
            let system = system.unwrap_or_else(|| PathBuf::from(SYSTEM_AUTH_FILE));
            std::iter::once(system)
                .chain(session_file(variable))
                .chain(podman_files(variable))
                .collect()
        }
    }
}

/// The file that ends the search for a repository, if any does, and what it has.
pub fn effective(access: &Access, name: &str) -> Option<(PathBuf, Entry)> {
    let found = |file: PathBuf| entry(&file, name).map(|entry| (file, entry));
    search_order(access).into_iter().find_map(found)
}

/// What to say of a file, if others than its owner can read it.
pub fn exposure(file: &Path) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    let is_open = metadata.is_file() && metadata.permissions().mode() & OTHERS != 0;
    is_open.then(|| format!("others can read {0}: run \"chmod 600 {0}\"", file.display()))
}

/// What podman reads and writes in a login session of the user this process runs as. There it goes
/// by a variable that a service does not have.
fn session_file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let is_told = ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"]
        .iter()
        .any(|name| variable(name).is_some_and(|value| !value.is_empty()));
    let uid = rustix::process::getuid().as_raw();
    (!is_told).then(|| PathBuf::from(format!("/run/user/{uid}/containers/auth.json")))
}

/// What podman reads for the user this process runs as, given its environment.
fn podman_files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = set("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let uid = rustix::process::getuid().as_raw();
    let runtime =
        set("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from(format!("/run/containers/{uid}")));
    let runtime_file = match set("XDG_RUNTIME_DIR") {
        Some(_) => runtime.join("containers/auth.json"),
        None => runtime.join("auth.json"),
    };
    let home = set("HOME").unwrap_or_else(home);
    let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    let docker = set("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
    vec![
        runtime_file,
        config.join("containers/auth.json"),
        docker.join("config.json"),
        home.join(".dockercfg"),
    ]
}

impl AuthFile {
    /// Whether podman would find credentials here. Helpers are filed under the host alone, and come
    /// first; of the entries the closest counts, be it empty.
    fn covers(&self, name: &str) -> bool {
        let host = host(name);
        if self.cred_helpers.as_ref().is_some_and(|helpers| helpers.contains_key(host)) {
            return true;
        }
        let Some(auths) = &self.auths else {
            return false;
        };
        let mut above =
            std::iter::successors(Some(name), |name| name.rsplit_once('/').map(|(above, _)| above));
        match above.find_map(|name| auths.get(name)) {
            Some(closest) => closest.is_given,
            None => covers_host(auths, host),
        }
    }
}

/// Whether there is an entry for the host, in any of the ways to write it.
fn covers_host(auths: &HashMap<String, Auth>, host: &str) -> bool {
    auths.iter().any(|(key, auth)| auth.is_given && usual(host_of(key)) == usual(host))
}

/// Old docker wrote URLs as keys.
fn host_of(key: &str) -> &str {
    let url = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    url.map_or(key, |rest| rest.split('/').next().unwrap_or(rest))
}

/// The names of one host are one.
fn usual(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, content: &str, repository: &str) -> Option<Entry> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join(name);
        fs::write(&file, content).expect("written");
        entry(&file, repository)
    }

    fn covered(content: &str, repository: &str) -> bool {
        found("auth.json", content, repository) == Some(Entry::Credentials)
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
            found(".dockercfg", &content, repository) == Some(Entry::Credentials)
        };
        assert!(old("quay.io", "quay.io/acme/rpms"));
        assert!(old("https://quay.io/v1/", "quay.io/acme/rpms"));
        assert!(!old("quay.io/acme", "quay.io/acme/rpms"));
    }

    #[test]
    fn what_cannot_be_understood_ends_the_search() {
        let malformed = found("auth.json", "{\n\"auths\": []}", "quay.io/acme/rpms");
        assert_eq!(malformed, Some(Entry::Malformed { line: 2 }));
        assert_eq!(found("auth.json", "{}", "quay.io/acme/rpms"), None);
        let missing = entry(Path::new("/nonexistent"), "quay.io/a");
        assert_eq!(missing, None);
    }

    #[test]
    fn podman_is_followed() {
        let environment = |pairs: &'static [(&str, &str)]| {
            podman_files(move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            })
        };
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(
            environment(&[("HOME", "/root")]),
            [
                &format!("/run/containers/{uid}/auth.json"),
                "/root/.config/containers/auth.json",
                "/root/.docker/config.json",
                "/root/.dockercfg",
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            environment(&[
                ("HOME", "/home/u"),
                ("XDG_RUNTIME_DIR", "/run/user/1"),
                ("XDG_CONFIG_HOME", "/c"),
                ("DOCKER_CONFIG", "/d"),
            ]),
            [
                "/run/user/1/containers/auth.json",
                "/c/containers/auth.json",
                "/d/config.json",
                "/home/u/.dockercfg",
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            environment(&[("REGISTRY_AUTH_FILE", "/only"), ("HOME", "/root")]),
            [PathBuf::from("/only")]
        );
    }

    #[test]
    fn the_session_is_looked_for_by_who_has_no_part_in_one() {
        let uid = rustix::process::getuid().as_raw();
        let file = PathBuf::from(format!("/run/user/{uid}/containers/auth.json"));
        assert_eq!(session_file(|_| None), Some(file));
        let set = |wanted| session_file(move |name| (name == wanted).then(|| "/x".into()));
        assert_eq!(set("XDG_RUNTIME_DIR"), None);
        assert_eq!(set("REGISTRY_AUTH_FILE"), None);
    }

    #[test]
    fn an_explicit_file_is_the_only_one() {
        let access = Access { auth_file: Some("/explicit".into()), ..Access::default() };
        assert_eq!(search_order(&access), [PathBuf::from("/explicit")]);
    }
}
