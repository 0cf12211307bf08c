//! The pull sources of a repository: its mirrors, then the registry itself.
//!
//! When skopeo opens an image, it uses the first pull source that has the manifest, and does not report
//! which one that was. If that one lacks a blob, the image is opened again with the first pull source
//! skipped, then the first two, and so on. A blob is identified by its digest, so it does not matter which
//! manifest the other pull sources have.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use crate::blocking;
use crate::containers_config::Fingerprint;
use crate::containers_config::registries::Registries;
use crate::reference::{Reference, RegistryReference};
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// A source, with some of its pull sources skipped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PullSource {
    pub(super) source: Source,
    /// State of podman's files when the request came: a worker that has read older ones does not serve it.
    fingerprint: Fingerprint,
    /// Number of pull sources to skip.
    pub(super) skip: usize,
}

/// A registries.conf for skopeo to read instead of the default one. Dropping it removes it.
#[derive(Debug)]
pub(super) struct RegistriesConf {
    path: PathBuf,
    _directory: TemporaryDir,
}

impl PullSource {
    /// The first pull source. Reads the state of podman's files.
    pub(super) async fn first(source: &Source) -> Result<Self, Error> {
        let source = source.clone();
        blocking::run(move || {
            let fingerprint = Fingerprint::now(&source.access);
            Ok(Self { source, fingerprint, skip: 0 })
        })
        .await
    }

    /// The same source with that many pull sources skipped.
    pub(super) fn skipping(&self, skip: usize) -> Self {
        Self { skip, ..self.clone() }
    }

    /// The names of all pull sources of the source, in order. A local layout has none.
    pub(super) async fn names(&self) -> Result<Vec<String>, Error> {
        let names =
            self.read_registries(|all, reference| Some(all.pull_sources(reference))).await?;
        Ok(names.unwrap_or_default())
    }

    /// The registries.conf for skopeo, if it must not use the default one.
    pub(super) async fn registries_conf(&self) -> Result<Option<RegistriesConf>, Error> {
        let skip = self.skip;
        if skip == 0 {
            return Ok(None);
        }
        let file = self
            .read_registries(move |all, reference| {
                Some(RegistriesConf::write(&all.skipping(reference, skip)?))
            })
            .await?;
        Ok(Some(file.ok_or(Error::NoOtherPullSource)??))
    }

    async fn read_registries<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Registries, &RegistryReference) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let Reference::Registry(reference) = self.source.reference.clone() else {
            return Ok(None);
        };
        blocking::run(move || Ok(Registries::read().ok().and_then(|all| read(&all, &reference))))
            .await
    }
}

impl RegistriesConf {
    fn write(text: &str) -> io::Result<Self> {
        let directory = TemporaryDir::new()?;
        let path = directory.path().join("registries.conf");
        fs::write(&path, text)?;
        Ok(Self { path, _directory: directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Access;
    use futures_util::FutureExt;
    use std::sync::mpsc;

    #[test]
    fn podmans_files_are_read_on_a_thread_that_may_block() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let reference = "oci://registry.invalid/acme".parse().expect("valid");
            let source = Source { reference, access: Access::default() };
            let second = PullSource::first(&source).await.expect("read").skipping(1);
            let (release, wait) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            let mut first = Box::pin(PullSource::first(&source));
            let mut names = Box::pin(second.names());
            let mut registries_conf = Box::pin(second.registries_conf());
            assert!((&mut first).now_or_never().is_none());
            assert!((&mut names).now_or_never().is_none());
            assert!((&mut registries_conf).now_or_never().is_none());
            drop(release);
            busy.await.expect("no panic").expect_err("released");
            assert_eq!(first.await.expect("read").skip, 0);
            assert_eq!(names.await.expect("read"), ["registry.invalid/acme"]);
            let error = registries_conf.await.expect_err("there is one pull source");
            assert!(matches!(error, Error::NoOtherPullSource), "{error}");
        });
    }
}
