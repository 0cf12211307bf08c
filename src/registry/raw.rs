//! Manifests and indexes byte for byte, and their deletion.

use backon::Retryable;
use tokio::io::AsyncReadExt;

use super::command::{self, Reach};
use super::messages;
use super::program::{Failure, Program};
use super::pull_source::{PullSource, RegistriesConf};
use super::worker::MAX_MANIFEST;
use super::{Error, Settings};
use crate::blocking;
use crate::checksum::{Algorithm, Hasher};
use crate::reference::Reference;
use crate::source::Source;

/// A manifest or an index, byte for byte as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// The digest of the bytes: `sha256:` and hexadecimal digits.
    pub digest: String,
    /// The bytes: JSON.
    pub bytes: Vec<u8>,
}

/// Reads what a reference leads to, from the registry itself.
pub(super) async fn read(settings: &Settings, source: &Source) -> Result<RawManifest, Error> {
    let own = without_mirrors(source).await?;
    let bytes = run(settings, source, &["inspect", "--raw"], own.as_ref(), messages::of_inspect);
    let bytes = bytes.await?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&bytes);
    let digest = hasher.finish().to_string();
    match source.reference.digest() {
        Some(expected) if expected != digest => {
            Err(Error::DigestMismatch { expected: expected.to_owned(), found: digest })
        }
        _ => Ok(RawManifest { digest, bytes }),
    }
}

/// Deletes the manifest that a reference leads to.
pub(super) async fn delete(settings: &Settings, source: &Source) -> Result<(), Error> {
    run(settings, source, &["delete"], None, messages::of_delete).await.map(drop)
}

/// The registries.conf with which skopeo reads from where it pushes to, if the default one does not do.
async fn without_mirrors(source: &Source) -> Result<Option<RegistriesConf>, Error> {
    let Reference::Registry(reference) = &source.reference else {
        return Ok(None);
    };
    let first = PullSource::first(source).await?;
    let names = first.names().await?;
    let name = reference.name();
    if let Some(location) = names.last().filter(|last| **last != name) {
        return Err(Error::Redirected { name, location: location.clone() });
    }
    match first.skipping(names.len().saturating_sub(1)).registries_conf().await {
        Err(Error::NoOtherPullSource) => Err(Error::MirrorsNotSkipped(name)),
        other => other,
    }
}

/// Runs a command of skopeo about a source, until an attempt succeeds: its output, at most that of a manifest.
async fn run(
    settings: &Settings,
    source: &Source,
    arguments: &[&str],
    registries_conf: Option<&RegistriesConf>,
    explain: fn(Failure) -> Error,
) -> Result<Vec<u8>, Error> {
    let attempt = async || {
        let program = program(settings, source, arguments, registries_conf).await?;
        let mut running = program.start().await?;
        let output = async |stdout: tokio::process::ChildStdout| {
            let mut output = Vec::new();
            stdout.take(MAX_MANIFEST as u64 + 1).read_to_end(&mut output).await?;
            match output.len() > MAX_MANIFEST {
                true => Err(Error::BadManifest(format!("larger than {MAX_MANIFEST} bytes"))),
                false => Ok(output),
            }
        };
        running.finish(settings.stall, output).await?.map_err(explain)
    };
    attempt
        .retry(settings.pauses())
        .when(Error::is_worth_a_retry)
        .notify(|error, pause| tracing::info!(%error, ?pause, "trying again"))
        .await
}

async fn program(
    settings: &Settings,
    source: &Source,
    arguments: &[&str],
    registries_conf: Option<&RegistriesConf>,
) -> Result<Program, Error> {
    let (settings, source) = (settings.clone(), source.clone());
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let registries_conf = registries_conf.map(|file| file.path().to_owned());
    blocking::run(move || {
        let reach = Reach::new(&source)?;
        let mut command = command::command(&settings, &source.access);
        command.arg("--debug");
        if let Some(file) = registries_conf {
            command.arg("--registries-conf").arg(file);
        }
        command.args(arguments).args(reach.options("")).arg(source.reference.to_skopeo());
        let rules = command::rules(&settings, [&source.access], &[])?;
        let (reaches, accesses) = (vec![reach], vec![source.access]);
        Ok(Program { settings, command, reaches, accesses, rules: Some(rules), limit: None })
    })
    .await
}
