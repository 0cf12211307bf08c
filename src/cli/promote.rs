//! `dnf5-oci promote`: a tag leads to what another one leads to.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use super::publish::{SigningArguments, SpeedArguments};
use super::publishing::{Common, Output, run_async};
use crate::error_kind::counted;
use crate::publish::{Options, Transferred};
use crate::settings::Settings;

/// Let a tag lead to what another one leads to, in the same or another registry
///
/// In one repository this pushes the index alone. Elsewhere it copies what is missing there, after it has checked
/// the signature that the policy requires. It prints the digest that the tag led to before: promote that to roll
/// back.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The repository to copy, as in quay.io/acme/rpms:testing, or with its digest
    from: String,

    /// The tag that is to lead to the same, as in quay.io/acme/rpms:stable
    to: String,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    signing: SigningArguments,

    #[command(flatten)]
    speed: SpeedArguments,

    /// Say what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  dnf5-oci promote quay.io/acme/rpms:testing quay.io/acme/rpms:stable
  dnf5-oci promote quay.io/acme/rpms@sha256:0c92... quay.io/acme/rpms:stable";

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let from = arguments.common.source(&arguments.from)?;
    let to = arguments.common.source(&arguments.to)?;
    let output = Output::new(&arguments.common);
    let mut options = Options {
        signing: arguments.signing.signing(),
        is_dry_run: arguments.dry_run,
        ..Options::default()
    };
    arguments.speed.apply(&mut options);
    let publisher = super::publisher(settings);
    let outcome = run_async(async { publisher.promote(&from, &to, &options, &output).await })?;
    output.result(&outcome, |out| describe(out, &outcome))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes what was copied.
pub(super) fn describe(out: &mut dyn Write, outcome: &Transferred) -> io::Result<()> {
    let Transferred { reference, digest, .. } = outcome;
    if !outcome.changed {
        return writeln!(out, "Nothing to do: {reference} is the same already");
    }
    let (copied, segments) =
        (counted(outcome.copied, "manifest"), counted(outcome.segments, "segment"));
    match outcome.dry_run {
        true => writeln!(out, "Would copy {copied} to {reference}, which would have {segments}")?,
        false => writeln!(out, "Copied {copied} to {reference}, which has {segments}")?,
    }
    writeln!(out, "Digest: {digest}")
}
