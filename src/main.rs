//! The `dnf5-oci` command.

use std::process::ExitCode;

use clap::Parser;
use dnf5_oci::cli;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
