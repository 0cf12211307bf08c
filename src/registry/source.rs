//! Which repository, and how it is reached.

use std::path::PathBuf;

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
    /// `false`: any certificate is good, and so is plain HTTP.
    pub tls_verify: Option<bool>,
    /// Which instance of an image index to take, in Go's names of architectures; the machine's
    /// own if not given.
    pub arch: Option<String>,
}
