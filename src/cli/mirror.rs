//! `dnf5-oci mirror`: from a web server or a layout into a registry, and out of it.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use super::promote;
use super::publish::{SigningArguments, TransferArguments, describe};
use super::publishing::{Common, Output, run_async};
use crate::publish::{Options, Url};
use crate::reference::{Reference, SCHEME};
use crate::settings::Settings;
use crate::source::Source;

/// How a layout is written, as in skopeo.
const LAYOUT: &str = "oci:";

/// Copy a repository from a web server or a directory into a registry, or out of it
///
/// Metadata and its signature stay as they are. From a web server only the packages that the registry lacks are
/// downloaded, with curl(1), and each is checked against the metadata; nothing is written to the registry if it
/// has everything. Run the command again to update the copy, or after it was interrupted.
///
/// A directory is an OCI image layout, oci:DIRECTORY:TAG. It carries a repository to where no network leads;
/// dnf5 can install from it as oci:///DIRECTORY:TAG.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A repository: `https://HOST/PATH`, `HOST/PATH:TAG` in a registry, or `oci:DIRECTORY:TAG`
    #[arg(value_name = "FROM")]
    from: String,

    /// `HOST/PATH:TAG` in a registry, or `oci:DIRECTORY:TAG`; the default tag is `latest`
    #[arg(value_name = "TO")]
    to: String,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    signing: SigningArguments,

    #[command(flatten)]
    transfer: TransferArguments,

    /// Leave out what was in the state with this digest: only what is new goes into the directory
    #[arg(long, value_name = "DIGEST")]
    since: Option<String>,

    /// The architecture that the metadata of a web server is for; default: all together
    #[arg(long)]
    arch: Option<String>,

    /// Say what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  dnf5-oci mirror https://download.example/fedora/44/x86_64/ quay.io/acme/fedora:44
  dnf5-oci mirror quay.io/acme/rpms:stable oci:/media/stick:stable
  dnf5-oci mirror oci:/media/stick:stable registry.internal/acme/rpms:stable";

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let common = &arguments.common;
    let output = Output::new(common);
    let mut options = Options {
        arch: arguments.arch.as_deref().map(|arch| crate::source::go_arch(arch).to_owned()),
        signing: arguments.signing.signing(),
        is_dry_run: arguments.dry_run,
        ..Options::default()
    };
    arguments.transfer.apply(&mut options);
    let publisher = super::publisher(settings);
    let to = source(common, &arguments.to)?;
    let is_url = ["http://", "https://"].iter().any(|scheme| arguments.from.starts_with(scheme));
    if arguments.since.is_some() && (is_url || matches!(to.reference, Reference::Registry(_))) {
        return Err("--since is for what goes from a registry into a directory".into());
    }
    if is_url {
        let url: Url = arguments.from.parse()?;
        let outcome = run_async(async { publisher.mirror(&url, &to, &options, &output).await })?;
        output.result(&outcome, |out| describe(out, &outcome))?;
        return Ok(ExitCode::SUCCESS);
    }
    let from = source(common, &arguments.from)?;
    let outcome = match (&from.reference, &to.reference) {
        (Reference::Layout(_), Reference::Layout(_)) => {
            return Err("one of the two must be in a registry; copy a directory with cp".into());
        }
        (_, Reference::Layout(layout)) => {
            let since = arguments.since.as_deref();
            run_async(async { publisher.export(&from, layout, since, &options, &output).await })?
        }
        _ => run_async(async { publisher.promote(&from, &to, &options, &output).await })?,
    };
    output.result(&outcome, |out| promote::describe(out, &outcome))?;
    Ok(ExitCode::SUCCESS)
}

/// What a name means: a layout may be relative to the current directory.
fn source(common: &Common, name: &str) -> Result<Source, Box<dyn Error>> {
    match name.strip_prefix(LAYOUT) {
        Some(path) if !name.starts_with(SCHEME) => {
            let path = std::path::absolute(Path::new(path))?;
            common.source(&format!("{SCHEME}{}", path.display()))
        }
        _ => common.source(name),
    }
}
