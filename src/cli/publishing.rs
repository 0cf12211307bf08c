//! What the commands that publish share: where the repository is, and how progress and results are shown.

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::runtime;
use crate::error_kind::{counted, printable};
use crate::publish::Progress;
use crate::reference::{Reference, SCHEME};
use crate::source::{Access, Source};

/// Arguments of all commands that publish.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Common {
    /// Read credentials from this file, as --authfile of podman does
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// false accepts any certificate, and plain HTTP
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, hide_possible_values = true)]
    tls_verify: Option<bool>,

    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,

    /// Print no progress, and no result but that of --json
    #[arg(long)]
    quiet: bool,
}

impl Common {
    /// The repository that a reference means: `quay.io/acme/rpms:stable`, with or without `oci://`.
    pub(super) fn source(&self, reference: &str) -> Result<Source, Box<dyn Error>> {
        let reference = match reference.contains("://") {
            true => reference.parse::<Reference>()?,
            false => format!("{SCHEME}{reference}").parse()?,
        };
        let access = Access {
            auth_file: self.authfile.clone(),
            tls_verify: self.tls_verify,
            ..Access::default()
        };
        Ok(Source { reference, access })
    }
}

/// Runs a command's work.
pub(super) fn run_async<T, E: Into<Box<dyn Error>>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Box<dyn Error>> {
    runtime::new()?.block_on(async {
        let terminated = runtime::terminated()?;
        tokio::select! {
            result = work => result.map_err(Into::into),
            // Work that is dropped removes its temporary files.
            () = terminated => Err("interrupted".into()),
        }
    })
}

/// Shows progress on standard error, and the result on standard output.
pub(super) struct Output {
    is_json: bool,
    is_quiet: bool,
    bar: Option<ProgressBar>,
}

impl Output {
    pub(super) fn new(common: &Common) -> Self {
        let bar = (!common.quiet && io::stderr().is_terminal()).then(ProgressBar::hidden);
        Self { is_json: common.json, is_quiet: common.quiet, bar }
    }

    /// Prints a result: as JSON, or as `describe` writes it.
    pub(super) fn result(
        &self,
        result: &impl Serialize,
        describe: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let mut out = BufWriter::new(io::stdout().lock());
        let written = if self.is_json {
            writeln!(out, "{}", serde_json::to_string(result)?)
        } else if !self.is_quiet {
            describe(&mut out)
        } else {
            Ok(())
        };
        match written.and_then(|()| out.flush()) {
            // Who closes standard output, as head does, has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Prints a failure that the result tells as well, where nothing else would show it.
    pub(super) fn failure(&self, text: &str) {
        if self.is_quiet && !self.is_json {
            let _ = writeln!(io::stderr(), "error: {}", printable(text));
        }
    }

    /// Shows a bar for that many bytes, on a terminal.
    fn show_bar(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_length(bytes);
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
    }

    fn line(&self, text: &str) {
        if !self.is_quiet {
            // Who closes standard error does not want it.
            let _ = writeln!(io::stderr(), "{}", printable(text));
        }
    }
}

impl Progress for Output {
    fn step(&self, what: &str) {
        self.line(what);
    }

    fn warn(&self, what: &str) {
        self.line(&format!("Warning: {what}"));
    }

    fn begin(&self, blobs: usize, bytes: u64) {
        self.line(&format!("Pushing {}, {}", counted(blobs, "file"), size(bytes)));
        self.show_bar(bytes);
    }

    fn begin_reading(&self, blobs: usize, bytes: u64) {
        self.line(&format!("Reading {}, {}", counted(blobs, "file"), size(bytes)));
        self.show_bar(bytes);
    }

    fn pushed(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Where packages are, if they are in segments: ` in 2 segments`.
pub(super) fn in_segments(number: usize) -> String {
    match number {
        0 => String::new(),
        number => format!(" in {}", counted(number, "segment")),
    }
}

/// A size as people read it: `1.50 MiB`.
pub(super) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
