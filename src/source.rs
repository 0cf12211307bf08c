//! Which repository, and how it is reached.

use std::path::PathBuf;

use crate::redact::Secret;
use crate::reference::Reference;

/// A repository and how it is reached: requests with the same source share processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Where it is.
    pub reference: Reference,
    /// How it is reached, apart from what /etc/containers says.
    pub access: Access,
}

/// What a caller says about reaching a repository; the rest is in /etc/containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// Credentials are read from this file alone (containers-auth.json(5)).
    pub auth_file: Option<PathBuf>,
    /// Credentials are looked for in this file before podman's; the usual one if not given.
    pub system_auth_file: Option<PathBuf>,
    /// These credentials are used for the reference's own registry, and no file is read.
    pub login: Option<Login>,
    /// `false`: any certificate is good, and so is plain HTTP.
    pub tls_verify: Option<bool>,
    /// The certificates to use; those of containers-certs.d(5) if there are none.
    pub certificates: Certificates,
    /// The URL of the proxy to go through, with its credentials; what the environment says if not
    /// given.
    pub proxy: Option<Secret>,
    /// Which instance of an image index to take, in Go's names of architectures; the machine's
    /// own if not given.
    pub arch: Option<String>,
}

/// A user of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// Its name.
    pub username: String,
    /// What proves it.
    pub password: Secret,
}

/// Certificate files, in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Certificates {
    /// Of an authority that the registry's certificate may be of, beside those of the system.
    pub authority: Option<PathBuf>,
    /// Of the client.
    pub client: Option<PathBuf>,
    /// The key of the client's.
    pub key: Option<PathBuf>,
}

impl Certificates {
    /// The files that there are, under the names that skopeo looks for: containers-certs.d(5).
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        [("ca.crt", &self.authority), ("client.cert", &self.client), ("client.key", &self.key)]
            .into_iter()
            .filter_map(|(name, file)| Some((name, file.as_ref()?)))
    }
}
