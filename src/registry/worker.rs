//! A skopeo process and its requests.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use containers_image_proxy as proxy;
use proxy::oci_spec::image::Digest;
use proxy::{ImageProxy, OpenedImage};
use tokio::fs::File;

use super::child::Child;
use super::command::{self, Invocation};
use super::messages::{self, WANTED_PROTOCOL};
use super::{Error, Manifest, Settings};
use crate::blocking;
use crate::redact::Secrets;
use crate::source::{Access, Source};
use crate::temporary::TemporaryDir;

/// Size limit of manifests, in bytes; skopeo has the same.
const MAX_MANIFEST: usize = 4 << 20;

/// Timeout for closing an image, which sends no request to the registry.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often, and after which time, a process that has ended is asked for the reason.
const LAST_WORDS: usize = 20;
const LAST_WORDS_PAUSE: Duration = Duration::from_millis(10);

/// A running skopeo. It answers one request at a time, and sends the bodies of blobs in parallel.
pub(super) struct Worker {
    proxy: ImageProxy,
    child: Child,
    pub(super) settings: Settings,
    access: Access,
    _certificates: Option<TemporaryDir>,
}

impl Worker {
    /// Starts skopeo on this thread, which must not end before it: see [`Child`]. skopeo reads
    /// `registries_conf`, if given, when it opens the first image.
    pub(super) async fn start(
        settings: Settings,
        source: &Source,
        registries_conf: Option<&Path>,
    ) -> Result<Self, Error> {
        let Invocation { mut command, mut config, certificates, auth_file, rules } =
            Invocation::new(&settings, source, registries_conf)?;
        // Kills the process when it is dropped because something here fails or is cancelled.
        let child = Child::of(&mut command, auth_file, rules)?;
        config.skopeo_cmd = Some(command);
        let proxy = tokio::time::timeout(settings.stall, ImageProxy::new_with_config(config))
            .await
            .map_err(|_| Error::Stalled(settings.stall))?;
        let proxy = match proxy {
            Ok(proxy) => proxy,
            Err(proxy::Error::SkopeoSpawnError(error)) => {
                return Err(not_run(&settings.skopeo, &error));
            }
            Err(error) => {
                let secrets = secrets(&settings, &source.access).await?;
                return Err(messages::failed(error, &secrets));
            }
        };
        if !proxy.supports_get_raw_blob() {
            let found = proxy.protocol_version().to_string();
            return Err(Error::SkopeoTooOld { found, wanted: WANTED_PROTOCOL });
        }
        tracing::debug!(pid = child.pid()?, protocol = %proxy.protocol_version(), "skopeo started");
        let access = source.access.clone();
        Ok(Self { proxy, child, settings, access, _certificates: certificates })
    }

    /// Opens an image: skopeo asks the registry for its manifest and checks the signature policy.
    pub(super) async fn open(&self, source: &Source) -> Result<OpenedImage, Error> {
        let reference = source.reference.to_skopeo();
        self.request(self.settings.open, self.proxy.open_image(&reference)).await
    }

    /// Closes an image.
    pub(super) async fn close(&self, image: &OpenedImage) -> Result<(), Error> {
        self.request(CLOSE_TIMEOUT, self.proxy.close_image(image)).await
    }

    /// Reads the manifest of an open image.
    pub(super) async fn manifest(&self, image: &OpenedImage) -> Result<Manifest, Error> {
        let manifest = self.proxy.fetch_manifest_raw_oci(image);
        let (digest, raw) = self.request(self.settings.open, manifest).await?;
        if raw.len() > MAX_MANIFEST {
            return Err(Error::BadManifest(format!("larger than {MAX_MANIFEST} bytes")));
        }
        let digest = digest.parse().map_err(|_| Error::UnknownDigest(digest))?;
        let image =
            serde_json::from_slice(&raw).map_err(|error| Error::BadManifest(error.to_string()))?;
        Ok(Manifest { digest, image })
    }

    /// Requests a blob: its data, and a future that tells why they ended.
    pub(super) async fn blob(
        &self,
        image: &OpenedImage,
        digest: &Digest,
    ) -> Result<(File, impl Future<Output = Result<(), proxy::GetBlobError>>), Error> {
        let blob = self.proxy.get_raw_blob(image, digest);
        let (_, data, outcome) = self.request(self.settings.stall, blob).await?;
        Ok((data, outcome))
    }

    /// Awaits a request. If that takes longer than `limit`, or is cancelled, skopeo is killed, since it is
    /// still busy with this request.
    async fn request<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, proxy::Error>>,
    ) -> Result<T, Error> {
        let mut guard = KillOnDrop(Some(self));
        let answer = tokio::time::timeout(limit, request).await;
        guard.0 = answer.is_err().then_some(self);
        match answer.map_err(|_| Error::Stalled(limit))? {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let error = match messages::has_ended(&error) {
                    true => self.last_words().await.unwrap_or(error),
                    false => error,
                };
                let error = messages::failed(error, &self.secrets().await?);
                if matches!(error, Error::Process(_) | Error::Crashed(_)) {
                    self.kill("it failed");
                }
                Err(error)
            }
        }
    }

    /// What skopeo printed before it ended. The crate reports that as the error of a request, but not of the
    /// first one, if the end of the connection comes first.
    async fn last_words(&self) -> Option<proxy::Error> {
        for _ in 0..LAST_WORDS {
            tokio::time::sleep(LAST_WORDS_PAUSE).await;
            match self.proxy.open_image("").await {
                Err(error) if messages::has_ended(&error) => {}
                outcome => return outcome.err(),
            }
        }
        None
    }

    /// Why a body ended, as skopeo reports it.
    pub(super) async fn body_error(&self, error: proxy::GetBlobError) -> Error {
        match self.secrets().await {
            Ok(secrets) => messages::body(error, &secrets),
            Err(error) => error,
        }
    }

    async fn secrets(&self) -> Result<Secrets, Error> {
        secrets(&self.settings, &self.access).await
    }

    /// Whether it can serve another request.
    pub(super) fn is_alive(&self) -> bool {
        self.child.is_alive()
    }

    /// Kills it, and with it all its transfers; `reason` is for the log.
    pub(super) fn kill(&self, reason: &str) {
        self.child.kill(reason);
    }
}

struct KillOnDrop<'a>(Option<&'a Worker>);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.0 {
            worker.kill("a request timed out or was cancelled");
        }
    }
}

async fn secrets(settings: &Settings, access: &Access) -> Result<Secrets, Error> {
    let (settings, access) = (settings.clone(), access.clone());
    blocking::run(move || Ok(command::secrets(&settings, &access))).await
}

/// Distinguishes a missing program from a lack of resources.
fn not_run(skopeo: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            Error::SkopeoMissing { skopeo: skopeo.to_owned(), reason: error.to_string() }
        }
        _ => Error::Process(error.to_string()),
    }
}

/// Reads the version from skopeo's output: `skopeo version 1.22.0`.
pub(super) async fn skopeo_version(skopeo: &Path) -> Result<String, Error> {
    let skopeo = skopeo.to_owned();
    let output = blocking::run(move || {
        Command::new(&skopeo).arg("--version").output().map_err(|error| not_run(&skopeo, &error))
    })
    .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .nth(2)
        .map(str::to_owned)
        .ok_or_else(|| Error::Process(format!("no version in its output {:?}", text.trim())))
}
