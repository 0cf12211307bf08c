//! One skopeo process and the image it has open.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use containers_image_proxy::oci_spec::image::Digest;
use containers_image_proxy::{ImageProxy, ImageProxyConfig, OpenedImage};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::classify::{self, WANTED_PROTOCOL};
use super::{Access, Error, Manifest, Settings};

/// The largest manifest that is read; skopeo itself reads no larger one.
const MAX_MANIFEST: usize = 4 << 20;

/// A running skopeo. It answers one request at a time; the bodies of blobs flow beside that.
pub(super) struct Process {
    proxy: ImageProxy,
    pidfd: Option<OwnedFd>,
    dead: AtomicBool,
}

/// The body of a blob on its way.
pub(super) struct Body {
    /// The bytes, unchecked.
    pub(super) data: pipe::Receiver,
    /// What skopeo said of the body once it ended.
    pub(super) end: oneshot::Receiver<Result<(), Error>>,
}

impl Process {
    /// Starts skopeo and greets it.
    pub(super) async fn start(settings: &Settings, access: &Access) -> Result<Self, Error> {
        let (mut reports, report) = std::io::pipe().map_err(Error::from)?;
        let mut config = ImageProxyConfig::default();
        config.skopeo_cmd = Some(command(&settings.skopeo, access, report));
        config.authfile.clone_from(&access.auth_file);
        config.insecure_skip_tls_verification = access.tls_verify.map(|verify| !verify);
        let proxy = ImageProxy::new_with_config(config).await.map_err(|error| {
            missing(&settings.skopeo, &error).unwrap_or_else(|| classify::failed(error))
        })?;
        if !proxy.supports_get_raw_blob() {
            let found = proxy.protocol_version().to_string();
            return Err(Error::SkopeoTooOld { found, wanted: WANTED_PROTOCOL });
        }
        let mut pid = [0; 4];
        let pidfd = reports.read_exact(&mut pid).ok().and_then(|()| open(u32::from_ne_bytes(pid)));
        tracing::debug!(pid = u32::from_ne_bytes(pid), "skopeo started");
        Ok(Self { proxy, pidfd, dead: AtomicBool::new(false) })
    }

    /// Opens an image: the registry is asked for its manifest, the policy is checked.
    pub(super) async fn open(
        &self,
        reference: &str,
        limit: Duration,
    ) -> Result<OpenedImage, Error> {
        self.request(limit, self.proxy.open_image(reference)).await
    }

    /// Closes an image that is not needed any more.
    pub(super) async fn close(&self, image: &OpenedImage, limit: Duration) -> Result<(), Error> {
        self.request(limit, self.proxy.close_image(image)).await
    }

    /// Reads the manifest of an open image.
    pub(super) async fn manifest(
        &self,
        image: &OpenedImage,
        limit: Duration,
    ) -> Result<Manifest, Error> {
        let (digest, raw) = self.request(limit, self.proxy.fetch_manifest_raw_oci(image)).await?;
        if raw.len() > MAX_MANIFEST {
            return Err(Error::BadManifest(format!("it is larger than {MAX_MANIFEST} bytes")));
        }
        let digest = digest.parse().map_err(|_| Error::UnknownDigest(digest))?;
        let image =
            serde_json::from_slice(&raw).map_err(|error| Error::BadManifest(error.to_string()))?;
        Ok(Manifest { digest, image })
    }

    /// Has skopeo send a blob: returns when the registry has begun to answer.
    pub(super) async fn blob(
        self: &Arc<Self>,
        image: &Arc<OpenedImage>,
        digest: &Digest,
        limit: Duration,
    ) -> Result<Body, Error> {
        let (process, image, digest) = (Arc::clone(self), Arc::clone(image), digest.clone());
        let (begun, begin) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        // What skopeo says at the end of the body comes as a future that borrows the process: this
        // task keeps the process until then.
        tokio::spawn(async move {
            let request = process.proxy.get_raw_blob(&image, &digest);
            match process.request(limit, request).await {
                Ok((_, data, end)) => {
                    // Both receivers are gone when nobody wants the blob any more.
                    let _ = begun.send(Ok(data));
                    let _ = ended.send(end.await.map_err(classify::body));
                }
                Err(error) => {
                    let _ = begun.send(Err(error));
                }
            }
        });
        let data = begin.await.map_err(|_| Error::Process("it was given up".to_owned()))??;
        let data = pipe::Receiver::from_file(data.into_std().await)?;
        Ok(Body { data, end })
    }

    /// Awaits one request. When it takes longer than `limit`, or nobody waits for it any more,
    /// skopeo is in the middle of it and good for nothing else: it is killed.
    async fn request<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, containers_image_proxy::Error>>,
    ) -> Result<T, Error> {
        let mut unfinished = KillOnDrop { process: self, armed: true };
        let answer = tokio::time::timeout(limit, request).await;
        unfinished.armed = answer.is_err();
        answer.map_err(|_| Error::Stalled(limit))?.map_err(|error| {
            let error = classify::failed(error);
            if matches!(error, Error::Process(_)) {
                self.kill();
            }
            error
        })
    }

    /// Whether it can serve another request.
    pub(super) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Relaxed)
    }

    /// Ends it at once, and with it all bodies that it sends.
    pub(super) fn kill(&self) {
        if self.dead.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(pidfd) = &self.pidfd {
            // It may have ended by itself, which is as good.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct KillOnDrop<'a> {
    process: &'a Process,
    armed: bool,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            tracing::debug!("killing a skopeo whose request was not answered or not wanted");
            self.process.kill();
        }
    }
}

/// The command, to which the crate adds the proxy's own arguments. The process reports its id and
/// dies with this one.
fn command(skopeo: &Path, access: &Access, mut report: std::io::PipeWriter) -> Command {
    let mut command = Command::new(skopeo);
    if let Some(arch) = &access.arch {
        command.arg("--override-arch").arg(arch);
    }
    #[expect(unsafe_code, reason = "the standard library has no safe way to do this")]
    // SAFETY: between fork and exec only what is async-signal-safe may be called. These are two
    // system calls, getpid and prctl, and a write to a pipe; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            report.write_all(&std::process::id().to_ne_bytes())
        });
    }
    command
}

fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Tells a program that is not there from one that failed.
fn missing(skopeo: &Path, error: &containers_image_proxy::Error) -> Option<Error> {
    match error {
        containers_image_proxy::Error::SkopeoSpawnError(reason) => {
            Some(Error::SkopeoMissing { skopeo: skopeo.to_owned(), reason: reason.to_string() })
        }
        _ => None,
    }
}

/// Asks the program for its version: `skopeo version 1.22.0`.
pub(super) async fn skopeo_version(skopeo: &Path) -> Result<String, Error> {
    let mut command = Command::new(skopeo);
    command.arg("--version");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|error| Error::Process(error.to_string()))?
        .map_err(|error| Error::SkopeoMissing {
            skopeo: skopeo.to_owned(),
            reason: error.to_string(),
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .nth(2)
        .map(str::to_owned)
        .ok_or_else(|| Error::Process(format!("it says of its version: {:?}", text.trim())))
}
