//! `skopeo copy`: into, within and out of registries.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use backon::{BackoffBuilder, ExponentialBackoff};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

use super::command::{self, Reach, not_prepared};
use super::messages;
use super::program::{Program, Running};
use super::{Error, RateLimit, Settings};
use crate::blocking;
use crate::containers_config;
use crate::reference::Reference;
use crate::source::Source;

/// The pause before the second attempt, as a multiple of that of a reader, and by how much each further one is
/// longer: a registry that is restarted is away for some seconds.
const PAUSE: u32 = 4;
const FACTOR: f32 = 4.0;

/// How long nothing may go on, as a multiple of that of a reader: a registry says nothing while it stores a large
/// blob that it has received.
const SILENCE: u32 = 10;

/// What is before the digest of a blob in the output, when its turn comes.
const BLOB: &str = "Copying blob ";

/// A copy of a manifest with its blobs, or of an index. Digests stay as they are.
pub struct Copy<'a> {
    /// A repository in a registry, or a layout.
    pub from: &'a Source,
    /// The tag, the digest, or the layout to write to. A layout gets no signatures.
    pub to: &'a Source,
    /// What is copied if `from` leads to an index.
    pub instances: Instances,
    /// How the copy is signed, if it is. skopeo signs it when the target has it: to have no tag lead to something
    /// unsigned, copy to the digest first, with the tag as the identity, and then to the tag without this.
    pub signing: Option<&'a Signing>,
    /// Whether `from` was made by this process, so that no signature policy applies to it.
    pub trusted: bool,
    /// The limit on requests, which other copies may share.
    pub rate: Option<&'a RateLimit>,
}

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// One manifest: that which the reference leads to, or the one in the index for the source's architecture.
    Manifest,
    /// The index without its manifests, which the target must have.
    IndexOnly,
    /// The index with all its manifests.
    All,
}

/// How a copy is signed: skopeo-copy(1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// The private key for a sigstore signature.
    pub sigstore_private_key: Option<PathBuf>,
    /// The fingerprint of the GPG key for a simple signature.
    pub gpg_fingerprint: Option<String>,
    /// The file with the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
    /// What the signature is for, as `HOST/PATH:TAG`; `None` is the target.
    pub identity: Option<String>,
}

impl Instances {
    /// The value of `--multi-arch`.
    fn option(self) -> &'static str {
        match self {
            Self::Manifest => "system",
            Self::IndexOnly => "index-only",
            Self::All => "all",
        }
    }
}

impl Signing {
    fn add_to(&self, command: &mut Command) {
        let paths = [
            ("--sign-by-sigstore-private-key", &self.sigstore_private_key),
            ("--sign-passphrase-file", &self.passphrase_file),
        ];
        for (option, path) in paths {
            command.args(path.iter().flat_map(|path| [option.as_ref(), path.as_os_str()]));
        }
        let texts = [("--sign-by", &self.gpg_fingerprint), ("--sign-identity", &self.identity)];
        for (option, text) in texts {
            command.args(text.iter().flat_map(|text| [option, text]));
        }
    }
}

/// Copies until an attempt succeeds. What the target has got is skipped by the next attempt.
pub(super) async fn run(
    settings: &Settings,
    copy: &Copy<'_>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), Error> {
    let mut begun = HashSet::new();
    let mut pauses = pauses(settings);
    loop {
        let Attempt { result, advanced } =
            Attempt::make(settings, copy, progress, &mut begun).await;
        let Err(error) = result else {
            return Ok(());
        };
        if advanced {
            pauses = self::pauses(settings);
        }
        let may_pass = error.is_worth_a_retry() || matches!(error, Error::Limited { .. });
        let Some(pause) = pauses.next().filter(|_| may_pass) else {
            return Err(error);
        };
        tracing::info!(to = %copy.to.reference, %error, ?pause, "copying again");
        tokio::time::sleep(pause).await;
    }
}

fn pauses(settings: &Settings) -> ExponentialBackoff {
    settings.pauses().with_min_delay(settings.backoff * PAUSE).with_factor(FACTOR).build()
}

/// What an attempt has done.
struct Attempt {
    result: Result<(), Error>,
    /// Whether the target has got anything that it had not before.
    advanced: bool,
}

impl Attempt {
    async fn make(
        settings: &Settings,
        copy: &Copy<'_>,
        progress: &(dyn Fn(&str) + Sync),
        begun: &mut HashSet<String>,
    ) -> Self {
        let blobs = match &copy.to.reference {
            Reference::Layout(layout) => Some(layout.directory().join("blobs/sha256")),
            Reference::Registry(_) => None,
        };
        let before = blobs.as_deref().map(count);
        let mut running = match start(settings, copy).await {
            Ok(running) => running,
            Err(error) => return Self { result: Err(error), advanced: false },
        };
        let result = finish(settings, copy, &mut running, progress, begun).await;
        let advanced = running.log.uploaded() > 0 || blobs.as_deref().map(count) > before;
        Self { result, advanced }
    }
}

/// How many files a directory has.
fn count(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

async fn finish(
    settings: &Settings,
    copy: &Copy<'_>,
    running: &mut Running,
    progress: &(dyn Fn(&str) + Sync),
    begun: &mut HashSet<String>,
) -> Result<(), Error> {
    let report = async |stdout: ChildStdout| {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            let digest = line.strip_prefix(BLOB).filter(|digest| !begun.contains(*digest));
            if let Some(digest) = digest {
                progress(digest);
                begun.insert(digest.to_owned());
            }
        }
        Ok(())
    };
    let ended = running.finish(settings.stall * SILENCE, report).await?;
    ended.map_err(|failure| messages::of_copy(failure, &copy.from.reference, &copy.to.reference))
}

async fn start(settings: &Settings, copy: &Copy<'_>) -> Result<Running, Error> {
    let settings = settings.clone();
    let (from, to) = (copy.from.clone(), copy.to.clone());
    let (signing, instances, trusted) = (copy.signing.cloned(), copy.instances, copy.trusted);
    let limit = copy.rate.cloned();
    let program = blocking::run(move || {
        let (source, target) = (Reach::new(&from)?, Reach::new(&to)?);
        let registry = if matches!(to.reference, Reference::Registry(_)) { &to } else { &from };
        let mut command = command::command(&settings, &registry.access);
        command.arg("--debug");
        command.args(command::platform(&from.access));
        if trusted {
            command.arg("--insecure-policy");
        }
        command.args(["copy", "--preserve-digests", "--multi-arch", instances.option()]);
        if let Reference::Layout(_) = &to.reference {
            // skopeo would fail, since a layout cannot store them.
            command.arg("--remove-signatures");
        }
        if let Some(signing) = &signing {
            signing.add_to(&mut command);
        }
        command.args(source.options("src-")).args(target.options("dest-"));
        command.arg(from.reference.to_skopeo()).arg(to.reference.to_skopeo());
        // GPG has its agent and its keyring wherever it is configured to, and so has a smart card.
        let signs_with_gpg = signing.is_some_and(|signing| signing.gpg_fingerprint.is_some());
        let rules = match signs_with_gpg {
            true => None,
            false => {
                let written = written(&to.reference).map_err(not_prepared)?;
                Some(command::rules(&settings, [&from.access, &to.access], &written)?)
            }
        };
        let reaches = vec![source, target];
        let accesses = vec![from.access, to.access];
        Ok::<_, Error>(Program { settings, command, reaches, accesses, rules, limit })
    });
    program.await?.start().await
}

/// The directories that are written to, besides those of a reader. They must exist for the rules to allow it.
fn written(target: &Reference) -> io::Result<Vec<PathBuf>> {
    match target {
        Reference::Layout(layout) => {
            fs::create_dir_all(layout.directory())?;
            let mut written = vec![layout.directory().to_owned()];
            // It may be a link into another layout.
            written.extend(fs::canonicalize(layout.directory().join("blobs")));
            Ok(written)
        }
        Reference::Registry(_) => Ok(containers_config::written_by_pushes()),
    }
}
