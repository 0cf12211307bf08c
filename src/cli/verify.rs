//! `dnf5-oci verify`: whether a repository is complete and right.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use super::publishing::{Common, Output, in_segments, run_async, size};
use crate::error_kind::{counted, printable};
use crate::publish::{Problem, Verified};
use crate::settings::Settings;
use crate::source::go_arch;

/// Check that a repository in a registry is complete and right
///
/// It opens the repository as dnf5 does, with the signature policy, and reads its metadata, manifests and tables.
/// Each package must be in a manifest of the repository, with the size that the metadata has. Each problem is a
/// line, and if there is one the exit status is 1.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The repository, as in quay.io/acme/rpms:stable
    #[arg(value_name = "REF")]
    reference: String,

    #[command(flatten)]
    common: Common,

    /// Download everything and check its digest, too
    #[arg(long)]
    deep: bool,

    /// Verify the metadata for this architecture alone, and its packages
    #[arg(long)]
    arch: Option<String>,
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let source = arguments.common.source(&arguments.reference)?;
    let output = Output::new(&arguments.common);
    let arch = arguments.arch.as_deref().map(go_arch);
    let publisher = super::publisher(settings);
    let verified =
        run_async(async { publisher.verify(&source, arch, arguments.deep, &output).await })?;
    verified.problems.iter().for_each(|problem| output.failure(&line(problem)));
    output.result(&verified, |out| describe(out, &verified))?;
    Ok(if verified.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(Problem { arch, subject, reason }: &Problem) -> String {
    let arch = arch.as_ref().map(|arch| format!("{arch}: ")).unwrap_or_default();
    printable(&format!("{arch}{subject}: {reason}"))
}

fn describe(out: &mut dyn Write, verified: &Verified) -> io::Result<()> {
    for problem in &verified.problems {
        writeln!(out, "{}", line(problem))?;
    }
    let Verified { reference, packages, segments, removed, .. } = verified;
    let packages = counted(*packages, "package");
    let segments = in_segments(*segments);
    let arches = match verified.architectures {
        0 | 1 => String::new(),
        number => format!(" of {}", counted(number, "architecture")),
    };
    let removed = match removed {
        0 => String::new(),
        number => format!(", {number} removed"),
    };
    let read = match verified.deep {
        true => {
            format!("; read {}, {}", counted(verified.blobs, "file"), size(verified.bytes))
        }
        false => String::new(),
    };
    let verdict = match verified.problems.len() {
        0 => "Verified".to_owned(),
        number => format!("{} in", counted(number, "problem")),
    };
    writeln!(
        out,
        "{verdict} {reference}: {packages}{arches}{segments}{removed}; metadata, signature{read}"
    )?;
    writeln!(out, "Digest: {}", verified.digest)
}
