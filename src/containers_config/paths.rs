//! Where skopeo looks for its configuration: the system's, and that of the user this process runs as.

use std::env;
use std::path::{Path, PathBuf};

const SYSTEM: &str = "/etc/containers";
const VENDOR: &str = "/usr/share/containers";
const DATA: &str = "/var/lib/containers";
const DOCKER_CERTS_D: &str = "/etc/docker/certs.d";

/// Returns the home directory as skopeo finds it: a systemd service has no `$HOME`. Empty if the
/// user has none.
pub fn home() -> PathBuf {
    variable("HOME").or_else(env::home_dir).unwrap_or_default()
}

/// Returns the path in an environment variable; an empty variable counts as unset.
pub(super) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns where a file of the system is.
pub(super) fn system(name: &str) -> PathBuf {
    Path::new(SYSTEM).join(name)
}

/// Returns where the user has the same file. `$XDG_CONFIG_HOME` moves only auth files.
pub(super) fn user(name: &str) -> PathBuf {
    home().join(".config/containers").join(name)
}

/// Returns the directories with a directory of certificates for each registry, by precedence:
/// containers-certs.d(5).
pub(super) fn certs_d() -> [PathBuf; 3] {
    [user("certs.d"), system("certs.d"), DOCKER_CERTS_D.into()]
}

/// Returns the directories with the files of containers-registries.d(5); skopeo reads the first that exists.
pub(super) fn registries_d() -> [PathBuf; 2] {
    [user("registries.d"), system("registries.d")]
}

/// Returns where skopeo keeps data between runs.
pub(super) fn data(name: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return Path::new(DATA).join(name);
    }
    let data = variable("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"));
    data.join("containers").join(name)
}

/// Returns all directories that skopeo reads configuration from.
pub(super) fn directories() -> Vec<PathBuf> {
    let config = variable("XDG_CONFIG_HOME").map(|config| config.join("containers"));
    let fixed = [SYSTEM, VENDOR, DOCKER_CERTS_D].map(PathBuf::from);
    fixed.into_iter().chain([user("")]).chain(config).collect()
}

/// Returns the auth file of the user's login session. podman finds it through a variable that a
/// service does not have; `None` if this process has that variable, or one that overrides it.
pub(super) fn session_auth_file(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let is_set = |name| variable(name).is_some();
    let outside = !is_set("REGISTRY_AUTH_FILE") && !is_set("XDG_RUNTIME_DIR");
    outside.then(|| format!("/run/user/{}/containers/auth.json", uid()).into())
}

/// Returns the auth files that podman reads, in order: containers-auth.json(5).
pub(super) fn auth_files(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let runtime = match variable("XDG_RUNTIME_DIR") {
        Some(directory) => directory.join("containers"),
        None => format!("/run/containers/{}", uid()).into(),
    };
    let home = variable("HOME").unwrap_or_else(home);
    let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    let docker = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
    vec![
        runtime.join("auth.json"),
        config.join("containers/auth.json"),
        docker.join("config.json"),
        home.join(".dockercfg"),
    ]
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_followed() {
        let environment = |pairs: &'static [(&str, &str)]| {
            auth_files(move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
            })
        };
        let runtime = format!("/run/containers/{}/auth.json", uid());
        assert_eq!(
            environment(&[("HOME", "/root")]),
            [
                &runtime,
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
    fn a_process_outside_the_session_reads_the_sessions_file() {
        let file = PathBuf::from(format!("/run/user/{}/containers/auth.json", uid()));
        assert_eq!(session_auth_file(|_| None), Some(file));
        let set = |wanted| session_auth_file(move |name| (name == wanted).then(|| "/x".into()));
        assert_eq!(set("XDG_RUNTIME_DIR"), None);
        assert_eq!(set("REGISTRY_AUTH_FILE"), None);
    }
}
