//! A repository, and how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use crate::redact::Secret;
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
    /// The URL of the proxy, with its credentials; `None` is the proxy of the environment.
    pub proxy: Option<Secret>,
    /// The architecture to select from an image index, as Go names it; `None` is the machine's.
    pub arch: Option<String>,
    /// The lowest speed of a transfer that is accepted, in bytes per second; `None` is the default, and 0
    /// accepts any.
    pub min_rate: Option<u64>,
    /// For how long a transfer may be slower; `None` and 0 are the service's default.
    pub timeout: Option<Duration>,
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
    /// The key of the client certificate.
    pub key: Option<PathBuf>,
}

impl Certificates {
    /// Returns the files that are set, under the names that skopeo looks for: containers-certs.d(5).
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        [("ca.crt", &self.authority), ("client.cert", &self.client), ("client.key", &self.key)]
            .into_iter()
            .filter_map(|(name, file)| Some((name, file.as_ref()?)))
    }
}
