//! `dnf5-oci publish`, `add` and `remove`: what is under a tag changes.

use std::error::Error;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use super::publishing::{Common, Output, in_segments, run_async, size};
use crate::error_kind::counted;
use crate::publish::{Change, Directory, Limits, Options, Outcome};
use crate::registry::{RateLimit, Signing};
use crate::settings::Settings;

/// Publish a directory of packages as a repository in a registry
///
/// If the directory has a "repodata", it is published as it is; otherwise createrepo_c(8) makes the metadata in a
/// temporary directory. Only what the registry lacks is pushed, through skopeo-copy(1), and the tag moves last, in
/// one step: if the command is interrupted, the tag leads to the old repository or to the new one, and the next run
/// continues from what has been pushed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = PUBLISH_EXAMPLES)]
pub struct PublishArguments {
    /// The directory with the packages, and their metadata if there is some
    directory: PathBuf,

    #[command(flatten)]
    target: Target,

    /// Make the metadata with createrepo_c, also if there is some
    #[arg(long)]
    createrepo: bool,
}

/// Add packages to a repository in a registry
///
/// The other packages need not be at hand. A repository that does not exist yet is started. A package with the
/// file name of another one and other bytes is refused: give it a new release, or use --replace.
#[derive(Debug, clap::Args)]
#[command(after_long_help = ADD_EXAMPLES)]
pub struct AddArguments {
    #[command(flatten)]
    target: Target,

    /// The packages
    #[arg(required = true, value_name = "RPM")]
    packages: Vec<PathBuf>,

    /// Let a package take the place of another one with its name
    #[arg(long)]
    replace: bool,
}

/// Remove packages from a repository in a registry
///
/// They leave the metadata, and stay in the registry until dnf5-oci-prune(1) removes them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = REMOVE_EXAMPLES)]
pub struct RemoveArguments {
    #[command(flatten)]
    target: Target,

    /// The packages: `NAME-[EPOCH:]VERSION-RELEASE.ARCH`, or their locations
    #[arg(required = true, value_name = "NEVRA")]
    packages: Vec<String>,
}

const PUBLISH_EXAMPLES: &str = "\
Examples:
  dnf5-oci publish . quay.io/acme/rpms:stable
  dnf5-oci publish --arch aarch64 aarch64/ quay.io/acme/rpms:stable
  dnf5-oci publish --sign-by-sigstore-private-key acme.private . quay.io/acme/rpms:stable";

const ADD_EXAMPLES: &str = "\
Examples:
  dnf5-oci add quay.io/acme/rpms:stable hello-2-1.x86_64.rpm
  dnf5-oci add quay.io/acme/rpms:stable rpms/*.rpm";

const REMOVE_EXAMPLES: &str = "\
Examples:
  dnf5-oci remove quay.io/acme/rpms:stable hello-1-1.x86_64";

/// What all of them have.
#[derive(Debug, clap::Args)]
struct Target {
    /// The repository, as in quay.io/acme/rpms:stable
    #[arg(value_name = "REF")]
    reference: String,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    signing: SigningArguments,

    /// The architecture that the metadata is for; default: all together
    #[arg(long)]
    arch: Option<String>,

    /// Sign repomd.xml with this GPG key, for repo_gpgcheck=1
    #[arg(long, value_name = "KEY")]
    sign_metadata: Option<String>,

    /// Let this tag lead to the same; can be given several times
    #[arg(long, value_name = "TAG")]
    tag_also: Vec<String>,

    /// Say what would be pushed, and push nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    transfer: TransferArguments,
}

/// How signatures are made.
#[derive(Debug, clap::Args)]
pub(super) struct SigningArguments {
    /// Sign with this sigstore private key, as skopeo copy does
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore_private_key: Option<PathBuf>,

    /// The file with the passphrase of the key
    #[arg(long, value_name = "FILE")]
    sign_passphrase_file: Option<PathBuf>,

    /// Sign with the GPG key with this fingerprint, as skopeo copy does
    #[arg(long, value_name = "FINGERPRINT")]
    sign_by: Option<String>,
}

/// What a registry takes.
#[derive(Debug, clap::Args)]
pub(super) struct TransferArguments {
    /// The most files of a manifest
    #[arg(long, value_name = "N", default_value_t = Limits::default().layers, value_parser = layers)]
    layers_per_manifest: usize,

    #[command(flatten)]
    speed: SpeedArguments,
}

/// How fast it goes.
#[derive(Debug, clap::Args)]
pub(super) struct SpeedArguments {
    /// The most requests a minute; default: no limit
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,

    /// How many skopeo processes push side by side
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=32))]
    parallel: u8,
}

/// A manifest needs a few layers for the metadata.
fn layers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(layers @ 8..=16_000) => Ok(layers),
        Ok(_) => Err("not between 8 and 16000".to_owned()),
        Err(_) => Err("not a number".to_owned()),
    }
}

impl SigningArguments {
    pub(super) fn signing(&self) -> Option<Signing> {
        let signing = Signing {
            sigstore_private_key: self.sign_by_sigstore_private_key.clone(),
            gpg_fingerprint: self.sign_by.clone(),
            passphrase_file: self.sign_passphrase_file.clone(),
            identity: None,
        };
        (signing.sigstore_private_key.is_some() || signing.gpg_fingerprint.is_some())
            .then_some(signing)
    }
}

impl TransferArguments {
    pub(super) fn apply(&self, options: &mut Options) {
        options.limits.layers = self.layers_per_manifest;
        if self.layers_per_manifest > Limits::default().layers {
            // Who allows more layers allows them the room that they take.
            options.limits.manifest_bytes = 4 << 20;
        }
        self.speed.apply(options);
    }
}

impl SpeedArguments {
    pub(super) fn apply(&self, options: &mut Options) {
        options.rate = self.rate.map(RateLimit::per_minute);
        options.parallel = self.parallel.into();
    }
}

pub(super) fn publish(
    arguments: &PublishArguments,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let (path, createrepo) = (arguments.directory.clone(), arguments.createrepo);
    update(&arguments.target, Change::Publish(Directory { path, createrepo }), settings)
}

pub(super) fn add(
    arguments: &AddArguments,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let (packages, replace) = (arguments.packages.clone(), arguments.replace);
    update(&arguments.target, Change::Add { packages, replace }, settings)
}

pub(super) fn remove(
    arguments: &RemoveArguments,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let packages = arguments.packages.clone();
    update(&arguments.target, Change::Remove { packages }, settings)
}

fn update(
    target: &Target,
    change: Change,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let source = target.common.source(&target.reference)?;
    let output = Output::new(&target.common);
    let mut options = Options {
        arch: target.arch.as_deref().map(|arch| crate::source::go_arch(arch).to_owned()),
        also: target.tag_also.clone(),
        signing: target.signing.signing(),
        metadata_key: target.sign_metadata.clone(),
        is_dry_run: target.dry_run,
        ..Options::default()
    };
    target.transfer.apply(&mut options);
    let publisher = super::publisher(settings);
    let outcome = run_async(async { publisher.update(&source, &change, &options, &output).await })?;
    output.result(&outcome, |out| describe(out, &outcome))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn describe(out: &mut dyn Write, outcome: &Outcome) -> std::io::Result<()> {
    let Outcome { reference, digest, .. } = outcome;
    let packages = counted(outcome.packages, "package");
    if !outcome.changed {
        return writeln!(out, "Nothing to do: {reference} has these {packages}");
    }
    let segments = in_segments(outcome.segments);
    let (added, removed) = (outcome.added.len(), outcome.removed.len());
    let (files, size) = (counted(outcome.pushed, "file"), size(outcome.bytes));
    let (published, pushed) = match outcome.dry_run {
        true => ("Would publish", "would push"),
        false => ("Published", "pushed"),
    };
    writeln!(
        out,
        "{published} {reference}: {packages}{segments}, {added} added, {removed} removed; \
         {pushed} {files}, {size}"
    )?;
    writeln!(out, "Digest: {digest}")
}
