//! `dnf5-oci prune`: what is no longer needed leaves a repository.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use super::publish::{SigningArguments, TransferArguments};
use super::publishing::{Common, Output, run_async, size};
use crate::error_kind::{counted, printable};
use crate::publish::{Options, Pruned, Pruning};
use crate::settings::Settings;

/// Remove what is no longer needed from a repository in a registry
///
/// Packages stay for a while after they have left the metadata, because machines have the old metadata. If less
/// than half of a segment is needed, new segments take its place. A repository that is signed must be signed
/// again. The registry frees the space when it collects its garbage, unless another tag leads to what was removed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The repository, as in quay.io/acme/rpms:stable
    #[arg(value_name = "REF")]
    reference: String,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    signing: SigningArguments,

    /// How long packages stay after they have left the metadata
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = humantime::parse_duration)]
    keep: std::time::Duration,

    /// Prune; without this option, only say what would be done
    #[arg(long)]
    yes: bool,

    /// Let this tag lead to the same; can be given several times
    #[arg(long, value_name = "TAG")]
    tag_also: Vec<String>,

    #[command(flatten)]
    transfer: TransferArguments,
}

const EXAMPLES: &str = "\
Examples:
  dnf5-oci prune --keep 30d quay.io/acme/rpms:stable
  dnf5-oci prune --keep 30d --yes quay.io/acme/rpms:stable";

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let source = arguments.common.source(&arguments.reference)?;
    let output = Output::new(&arguments.common);
    let mut options = Options {
        also: arguments.tag_also.clone(),
        signing: arguments.signing.signing(),
        is_dry_run: !arguments.yes,
        ..Options::default()
    };
    arguments.transfer.apply(&mut options);
    let pruning = Pruning { keep: arguments.keep };
    let publisher = super::publisher(settings);
    let pruned = run_async(async { publisher.prune(&source, &pruning, &options, &output).await })?;
    output.result(&pruned, |out| describe(out, &pruned))?;
    Ok(ExitCode::SUCCESS)
}

fn describe(out: &mut dyn Write, pruned: &Pruned) -> io::Result<()> {
    let reference = &pruned.reference;
    if !pruned.changed {
        return writeln!(out, "Nothing to do: {reference} has nothing that is not needed");
    }
    for location in &pruned.packages {
        writeln!(out, "- {}", printable(location))?;
    }
    let would = if pruned.dry_run { "Would prune" } else { "Pruned" };
    let replaced = match (pruned.segments.len(), pruned.new_segments) {
        (0, _) => String::new(),
        (gone, 0) => format!(", {}", counted(gone, "segment")),
        (gone, new) => format!(", {} replaced by {new}", counted(gone, "segment")),
    };
    writeln!(
        out,
        "{would} {reference}: {}{replaced}; {} of {} no longer needed",
        counted(pruned.packages.len(), "package"),
        counted(pruned.blobs, "file"),
        size(pruned.bytes)
    )?;
    if pruned.dry_run {
        return writeln!(out, "Nothing was changed; use --yes to do it");
    }
    writeln!(out, "The registry frees the space when it collects its garbage")?;
    writeln!(out, "Digest: {}", pruned.digest)
}
