//! Which auth file holds for a registry.
//!
//! skopeo finds credentials by itself. This module knows only where it looks (containers-auth.json(5))
//! for two reasons: to put the system's own auth file before those of podman, and to say in an
//! error where was looked. No secret is ever taken out of a file here.
//!
//! The order: an explicit setting (alone, if given), [`SYSTEM_AUTH_FILE`], then what podman reads
//! for this user.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::reference::{Reference, RegistryReference};
use crate::registry::Access;

/// The auth file of the whole system. It is read where it has an entry for the repository; podman's
/// files are otherwise.
pub const SYSTEM_AUTH_FILE: &str = "/etc/dnf5-oci/auth.json";

/// The keys of an auth file; the secrets behind them are passed over.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: HashMap<String, IgnoredAny>,
    cred_helpers: HashMap<String, IgnoredAny>,
}

/// Whether `file` has an entry that holds for `reference`.
pub fn covers(file: &Path, reference: &Reference) -> bool {
    let Reference::Registry(registry) = reference else {
        return false;
    };
    let Ok(content) = std::fs::read(file) else {
        return false;
    };
    match serde_json::from_slice::<AuthFile>(&content) {
        Ok(auth) => auth.covers(registry),
        Err(error) => {
            // The message of the parser can quote the file: only its position is shown.
            let (line, column) = (error.line(), error.column());
            tracing::warn!(file = %file.display(), line, column, "the auth file is not valid JSON");
            false
        }
    }
}

/// The files that are searched for credentials, in order; none if they are given.
pub fn search_order(access: &Access) -> Vec<PathBuf> {
    match &access.auth_file {
        _ if access.login.is_some() => Vec::new(),
        Some(file) => vec![file.clone()],
        None => {
            let podman = podman_files(|name| env::var_os(name));
            std::iter::once(PathBuf::from(SYSTEM_AUTH_FILE)).chain(podman).collect()
        }
    }
}

/// The file whose entry holds for `reference`, if any has one.
pub fn in_effect(access: &Access, reference: &Reference) -> Option<PathBuf> {
    search_order(access).into_iter().find(|file| covers(file, reference))
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
    let home = set("HOME").or_else(env::home_dir).unwrap_or_default();
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
    /// Entries hold for a repository, for a path above it, or for the host; credential helpers for
    /// the host alone.
    fn covers(&self, registry: &RegistryReference) -> bool {
        let name = registry.name();
        let mut key = name.as_str();
        loop {
            if self.auths.contains_key(key) {
                return true;
            }
            match key.rsplit_once('/') {
                Some((parent, _)) => key = parent,
                None => break,
            }
        }
        self.cred_helpers.contains_key(registry.host())
            || self.auths.keys().any(|key| host_of_url(key) == Some(registry.host()))
    }
}

/// Old docker wrote URLs as keys.
fn host_of_url(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"))?;
    rest.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(content: &str, reference: &str) -> bool {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        std::fs::write(&file, content).expect("written");
        covers(&file, &reference.parse().expect("valid"))
    }

    #[test]
    fn entries_hold_for_what_is_below_them() {
        let scoped = r#"{"auths": {"quay.io/acme": {"auth": "c2VjcmV0"}}}"#;
        assert!(covered(scoped, "oci://quay.io/acme/rpms:1"));
        assert!(covered(scoped, "oci://quay.io/acme:1"));
        assert!(!covered(scoped, "oci://quay.io/other/rpms"));
        assert!(!covered(scoped, "oci://quay.io/acme-two/rpms"));
        let host = r#"{"auths": {"localhost:5000": {}}}"#;
        assert!(covered(host, "oci://localhost:5000/a/b"));
        assert!(!covered(host, "oci://localhost:5001/a/b"));
    }

    #[test]
    fn helpers_and_urls_are_entries() {
        assert!(covered(r#"{"credHelpers": {"quay.io": "pass"}}"#, "oci://quay.io/acme/rpms"));
        let url = r#"{"auths": {"https://quay.io/v1/": {}}}"#;
        assert!(covered(url, "oci://quay.io/acme/rpms"));
    }

    #[test]
    fn what_cannot_be_read_covers_nothing() {
        assert!(!covered("{", "oci://quay.io/acme/rpms"));
        assert!(!covers(Path::new("/nonexistent"), &"oci://quay.io/a".parse().expect("valid")));
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
    fn an_explicit_file_is_the_only_one() {
        let access = Access { auth_file: Some("/explicit".into()), ..Access::default() };
        assert_eq!(search_order(&access), [PathBuf::from("/explicit")]);
    }
}
