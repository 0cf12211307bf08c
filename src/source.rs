//! A repository, and how to reach it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::redact::{Secret, Secrets};
use crate::reference::Reference;

/// A repository, and how to reach it. Requests with the same source share skopeo processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Where the repository is.
    pub reference: Reference,
    /// How to reach it.
    pub access: Access,
}

/// What a caller sets about reaching a repository; the rest comes from podman's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// The only file to read credentials from (containers-auth.json(5)).
    pub auth_file: Option<PathBuf>,
    /// The file to search for credentials before podman's; `None` is the default one.
    pub system_auth_file: Option<PathBuf>,
    /// The credentials for the reference's own registry. No auth file is read then.
    pub login: Option<Login>,
    /// `false` accepts any certificate, and plain HTTP.
    pub tls_verify: Option<bool>,
    /// The certificates to use; if empty, those of containers-certs.d(5).
    pub certificates: Certificates,
    /// The URL of the proxy, with its credentials; `None` is that of the environment.
    pub proxy: Option<Secret>,
    /// The proxies of the environment, and the exceptions from them.
    pub environment: Environment,
    /// The architecture to select from an image index, as Go names it; `None` is the machine's.
    pub arch: Option<String>,
    /// The variant of the segment to select from an image index, instead of the manifest with the metadata:
    /// dnf5-oci-layout(7), "Segments".
    pub segment: Option<String>,
    /// The lowest speed of a transfer that is accepted, in bytes per second; `None` is the default, and 0
    /// accepts any.
    pub min_rate: Option<u64>,
    /// For how long a transfer may be slower; `None` and 0 are the service's default.
    pub timeout: Option<Duration>,
}

/// The operating system and the architecture in the platform of a segment: dnf5-oci-layout(7), "The index".
pub const UNKNOWN: &str = "unknown";

/// Where the proxies of the environment come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// The environment that skopeo has, except for these variables of the caller, under Go's names:
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
    With(BTreeMap<&'static str, Secret>),
    /// There is no proxy.
    WithoutProxies,
}

impl Default for Environment {
    fn default() -> Self {
        Self::With(BTreeMap::new())
    }
}

impl Access {
    /// The secrets in it: what the registry and a proxy are given.
    pub fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        if let Some(Login { username, password }) = &self.login {
            secrets.add_login(username, password.reveal());
        }
        let variables = match &self.environment {
            Environment::With(variables) => Some(variables.values()),
            Environment::WithoutProxies => None,
        };
        for url in self.proxy.iter().chain(variables.into_iter().flatten()) {
            secrets.add_url(url.reveal());
        }
        secrets
    }
}

/// Credentials for a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The name of the user.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

/// Certificate files, in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Certificates {
    /// A certificate authority to trust besides those of the system.
    pub authority: Option<PathBuf>,
    /// The client certificate.
    pub client: Option<PathBuf>,
    /// The key of the client certificate; `None` is the file of the certificate, as for curl.
    pub key: Option<PathBuf>,
}

impl Certificates {
    /// Returns the files that are set, under the names that skopeo looks for: containers-certs.d(5).
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let key = self.key.as_ref().or(self.client.as_ref());
        let files = [self.authority.as_ref(), self.client.as_ref(), key];
        ["ca.crt", "client.cert", "client.key"]
            .into_iter()
            .zip(files)
            .filter_map(|(name, file)| Some((name, file?)))
    }
}

/// The Go name of an architecture, which image indexes use, from its RPM or Rust name.
pub fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" | "i486" | "i586" | "i686" => "386",
        "armhfp" | "armv7hl" | "armv7hnl" => "arm",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}
