//! The command line.

pub mod logging;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What [`run`] and the parser of arguments return.
const EXIT_STATUS: &str = "Exit status: 0 success, 1 failure, 2 wrong arguments.";

/// RPM repositories from container registries, for dnf5.
#[derive(Debug, Parser)]
#[command(name = "dnf5-oci", version, about, after_help = EXIT_STATUS)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the libdnf5 plugin, on the system bus or on a socket
    Serve(serve::Arguments),
}

/// Runs what was asked for. A failure has been reported when this returns.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", crate::failure::one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
