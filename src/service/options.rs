//! The dictionaries of options.

use std::collections::HashMap;
use std::path::PathBuf;

use zbus::OwnedVariant;

use super::error::Error;
use crate::cache::MaxAge;
use crate::registry::Access;

/// The options of a call, of which each must be taken by its name: one that is left over is
/// unknown.
pub(super) struct Options(HashMap<String, OwnedVariant>);

impl Options {
    pub(super) fn new(options: HashMap<String, OwnedVariant>) -> Self {
        Self(options)
    }

    fn take<T>(&mut self, name: &str, wanted: &str) -> Result<Option<T>, Error>
    where
        T: TryFrom<OwnedVariant>,
    {
        self.0
            .remove(name)
            .map(|value| {
                T::try_from(value).map_err(|_| {
                    Error::invalid_arguments(format!("the option {name:?} is not {wanted}"))
                })
            })
            .transpose()
    }

    fn path(&mut self, name: &str) -> Result<Option<PathBuf>, Error> {
        Ok(self.take::<String>(name, "a string")?.map(PathBuf::from))
    }

    /// How the registry is reached.
    pub(super) fn access(&mut self) -> Result<Access, Error> {
        Ok(Access {
            auth_file: self.path("auth-file")?,
            tls_verify: self.take("tls-verify", "a boolean")?,
            arch: self.take::<String>("arch", "a string")?.map(|arch| go_arch(&arch).to_owned()),
        })
    }

    /// How old cached metadata may be.
    pub(super) fn max_age(&mut self) -> Result<MaxAge, Error> {
        let seconds = self.take::<i64>("max-age", "a 64-bit number")?.unwrap_or_default();
        Ok(u64::try_from(seconds).map_or(MaxAge::Forever, MaxAge::Seconds))
    }

    pub(super) fn repo_file(&mut self) -> Result<Option<PathBuf>, Error> {
        self.path("repo-file")
    }

    /// DNF's directory for all its caches.
    pub(super) fn cachedir(&mut self) -> Result<Option<PathBuf>, Error> {
        self.path("cachedir")
    }

    /// The number that the caller has given the call.
    pub(super) fn job(&mut self) -> Result<Option<u64>, Error> {
        self.take("job", "an unsigned 64-bit number")
    }

    /// Ends the taking: what is left is unknown.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.0.into_keys().next() {
            Some(name) => {
                Err(Error::invalid_arguments(format!("there is no option {name:?} here")))
            }
            None => Ok(()),
        }
    }
}

/// An architecture in Go's names, which registries use, if it is in RPM's.
fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i486" | "i586" | "i686" => "386",
        "armhfp" | "armv7hl" | "armv7hnl" => "arm",
        "loongarch64" => "loong64",
        other => other,
    }
}
