//! A skopeo process and its requests.

use std::io;
use std::mem;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use containers_image_proxy as proxy;
use proxy::oci_spec::image::{Descriptor, Digest};
use proxy::{ImageProxy, OpenedImage};
use tokio::io::AsyncRead;
use tokio::net::unix::pipe;
use tokio_util::task::AbortOnDropHandle;

use super::child::Child;
use super::command::{self, Invocation, Reach};
use super::log::Log;
use super::messages::{self, OLDEST_PROTOCOL};
use super::places::Place;
use super::speed::{MinSpeed, Speedometer};
use super::{Error, Manifest, Settings};
use crate::blocking;
use crate::redact::Secrets;
use crate::source::{Access, Source};
use crate::temporary::TemporaryDir;

/// Size limit of manifests, in bytes; skopeo has the same.
pub(super) const MAX_MANIFEST: usize = 4 << 20;

/// How often a running request is looked at.
const TICK: Duration = Duration::from_millis(250);

/// Timeout for closing an image, which sends no request to the registry.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running skopeo. It answers one request at a time, and sends the bodies of blobs in parallel.
pub(super) struct Worker {
    proxy: ImageProxy,
    child: Child,
    log: Arc<Log>,
    _reading_the_log: AbortOnDropHandle<()>,
    pub(super) settings: Settings,
    pub(super) min_speed: MinSpeed,
    access: Access,
    _certificates: Option<TemporaryDir>,
    /// Whether it gets no other request.
    is_retired: AtomicBool,
    /// `None` once it has been killed.
    place: Mutex<Option<Place>>,
}

impl Worker {
    /// Starts skopeo on this thread, which must not end before it: see [`Child`]. skopeo reads
    /// `registries_conf`, if given, when it opens the first image.
    pub(super) async fn start(
        settings: Settings,
        source: &Source,
        registries_conf: Option<&Path>,
        place: Place,
    ) -> Result<Self, Error> {
        let Invocation { mut command, mut config, reach, rules } =
            Invocation::new(&settings, source, registries_conf)?;
        let Reach { certificates, auth_file, .. } = reach;
        // Kills the process when it is dropped because something here fails or is cancelled.
        let child = Child::of(&mut command, auth_file.into_iter().collect(), Some(rules))?;
        let (log, stderr) = io::pipe()?;
        command.stderr(stderr);
        let (log, _reading_the_log) = Log::read(log, None)?;
        // The log goes to the pipe: without this, containers-image-proxy collects it in memory.
        config.debug = true;
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
                return Err(explained(error, &log, &secrets).await);
            }
        };
        let version = proxy.protocol_version();
        if (version.major, version.minor, version.patch) < OLDEST_PROTOCOL {
            return Err(Error::too_old(version.to_string()));
        }
        tracing::debug!(pid = child.pid()?, protocol = %proxy.protocol_version(), "skopeo started");
        let (min_speed, access) = (MinSpeed::of(&source.access, &settings), source.access.clone());
        Ok(Self {
            proxy,
            child,
            log,
            _reading_the_log,
            settings,
            min_speed,
            access,
            _certificates: certificates,
            is_retired: AtomicBool::default(),
            place: Mutex::new(Some(place)),
        })
    }

    /// Opens an image: skopeo asks the registry for its manifest and checks the signature policy.
    pub(super) async fn open(&self, source: &Source) -> Result<OpenedImage, Error> {
        let reference = source.reference.to_skopeo();
        let speed = Some(Speedometer::new(self.min_speed));
        self.request(self.settings.open, speed, self.proxy.open_image(&reference)).await
    }

    /// Closes an image.
    pub(super) async fn close(&self, image: &OpenedImage) -> Result<(), Error> {
        self.request(CLOSE_TIMEOUT, None, self.proxy.close_image(image)).await
    }

    /// Reads the manifest of an open image. Behind an index, skopeo asks the registry for it now.
    pub(super) async fn manifest(&self, image: &OpenedImage) -> Result<Manifest, Error> {
        let manifest = self.proxy.fetch_manifest_raw_oci(image);
        let speed = Some(Speedometer::new(self.min_speed));
        let (digest, raw) = self.request(self.settings.open, speed, manifest).await?;
        if raw.len() > MAX_MANIFEST {
            return Err(Error::BadManifest(format!("larger than {MAX_MANIFEST} bytes")));
        }
        let digest = digest.parse().map_err(|_| Error::UnknownDigest(digest))?;
        let image =
            serde_json::from_slice(&raw).map_err(|error| Error::BadManifest(error.to_string()))?;
        Ok(Manifest { digest, image })
    }

    /// Whether it has [`Self::blob`]. Otherwise there is only [`Self::checked_blob`].
    pub(super) fn has_raw_blobs(&self) -> bool {
        self.proxy.supports_get_raw_blob()
    }

    /// Requests a blob with GetRawBlob: its data, and a future that tells why they ended.
    pub(super) async fn blob(
        &self,
        image: &OpenedImage,
        digest: &Digest,
    ) -> Result<(pipe::Receiver, impl Future<Output = Result<(), proxy::GetBlobError>>), Error>
    {
        let blob = self.proxy.get_raw_blob(image, digest);
        let (_, data, outcome) = self.request(self.min_speed.time, None, blob).await?;
        Ok((pipe::Receiver::from_file(data.into_std().await)?, outcome))
    }

    /// Requests a blob with GetBlob: its data, which do not end before the future is polled. The future tells
    /// why they ended, for [`Self::end_of_blob`]. Until then skopeo answers no other request.
    pub(super) async fn checked_blob(
        &self,
        image: &OpenedImage,
        blob: &Descriptor,
    ) -> Result<(impl AsyncRead, impl Future<Output = Result<(), proxy::Error>>), Error> {
        let blob = self.proxy.get_blob(image, blob.digest(), blob.size());
        self.request(self.min_speed.time, None, blob).await
    }

    /// Awaits a request. If that takes longer than `limit`, is too slow or is cancelled, skopeo is killed,
    /// since it is still busy with this request.
    async fn request<T>(
        &self,
        limit: Duration,
        speed: Option<Speedometer>,
        request: impl Future<Output = Result<T, proxy::Error>>,
    ) -> Result<T, Error> {
        let mut guard = KillOnDrop(Some(self));
        self.log.begin();
        let answer = tokio::select! {
            biased;
            answer = request => answer,
            error = self.give_up(limit, speed) => return Err(error),
        };
        guard.0 = None;
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => explained(error, &self.log, &self.secrets().await?).await,
        };
        if matches!(error, Error::Process(_) | Error::Crashed(_)) {
            self.kill("it failed");
        }
        let has_waited = !self.log.paused().0.is_zero();
        Err(match error {
            Error::Limited { message, .. } => Error::Limited { message, waited: has_waited },
            error => error,
        })
    }

    /// Why a body of [`Self::checked_blob`] ended, as skopeo reports it.
    pub(super) async fn end_of_blob(&self, end: Result<(), proxy::Error>) -> Result<(), Error> {
        let Err(error) = end else {
            return Ok(());
        };
        let secrets = self.secrets().await?;
        match error {
            proxy::Error::RequestInitiationFailure { error, .. }
            | proxy::Error::RetryableRequestFailure { error, .. } => {
                messages::end_of_checked(error, &secrets)
            }
            error => Err(explained(error, &self.log, &secrets).await),
        }
    }

    /// Why a body of [`Self::blob`] ended, as skopeo reports it.
    pub(super) async fn body_error(&self, error: proxy::GetBlobError) -> Error {
        match self.secrets().await {
            Ok(secrets) => messages::body(error, &secrets),
            Err(error) => error,
        }
    }

    async fn secrets(&self) -> Result<Secrets, Error> {
        secrets(&self.settings, &self.access).await
    }

    /// Returns when a request has taken too long, without the time that skopeo waits because the registry
    /// limits requests.
    async fn give_up(&self, limit: Duration, speed: Option<Speedometer>) -> Error {
        let (mut left, mut lines) = (limit, self.log.lines());
        let mut measured = speed.map(|speed| (speed, self.received()));
        loop {
            let begin = Instant::now();
            tokio::time::sleep(left.min(TICK)).await;
            let (paused, is_paused) = self.log.paused();
            if paused > self.settings.limited {
                let seconds = self.settings.limited.as_secs();
                let message = format!("it asks to wait for more than {seconds} s");
                return Error::Limited { message, waited: true };
            }
            if is_paused {
                continue;
            }
            let waited = begin.elapsed();
            left = left.saturating_sub(waited);
            if left.is_zero() {
                return Error::Stalled(limit);
            }
            let Some((speed, received)) = &mut measured else {
                continue;
            };
            let received_before = mem::replace(received, self.received());
            let lines_before = mem::replace(&mut lines, self.log.lines());
            if lines != lines_before {
                // Another request, perhaps to another mirror.
                *speed = Speedometer::new(self.min_speed);
            } else if speed.is_too_slow(waited, received.saturating_sub(received_before)) {
                return self.too_slow();
            }
        }
    }

    /// Whether skopeo waits because the registry limits requests, and not for too long.
    pub(super) fn is_paused(&self) -> bool {
        let (paused, is_paused) = self.log.paused();
        is_paused && paused <= self.settings.limited
    }

    /// The error for a transfer that is too slow.
    pub(super) fn too_slow(&self) -> Error {
        match self.min_speed {
            MinSpeed { rate: 0, time } => Error::Stalled(time),
            MinSpeed { rate, time } => Error::Slow { rate, time },
        }
    }

    /// How many bytes it has received since its start.
    fn received(&self) -> u64 {
        self.child.transferred().read
    }

    /// Whether it can serve another request.
    pub(super) fn is_alive(&self) -> bool {
        !self.is_retired.load(Ordering::Relaxed) && self.child.is_alive()
    }

    /// Has it get no other request, and end with its last transfer; `reason` is for the log.
    pub(super) fn retire(&self, reason: &str) {
        if !self.is_retired.swap(true, Ordering::Relaxed) {
            tracing::debug!(pid = self.child.pid().ok(), reason, "skopeo gets no other request");
        }
    }

    /// Kills it, and with it all its transfers; `reason` is for the log.
    pub(super) fn kill(&self, reason: &str) {
        self.child.kill(reason);
        // Whoever reads a body of it must not keep another one from starting.
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
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

/// What an error means. If it is that the process has ended, the reason is in its log.
async fn explained(error: proxy::Error, log: &Log, secrets: &Secrets) -> Error {
    match messages::failed(error, secrets) {
        Error::Process(status) => match log.last_words().await {
            Some(words) => messages::ended(&status, &words, secrets),
            None => Error::Process(status),
        },
        error => error,
    }
}

async fn secrets(settings: &Settings, access: &Access) -> Result<Secrets, Error> {
    let (settings, access) = (settings.clone(), access.clone());
    blocking::run(move || Ok(command::secrets(&settings, [&access]))).await
}

/// Distinguishes a missing program from a lack of resources.
pub(super) fn not_run(skopeo: &Path, error: &io::Error) -> Error {
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
