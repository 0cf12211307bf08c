//! The command line.

pub mod logging;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// RPM repositories from container registries, for dnf5.
#[derive(Debug, Parser)]
#[command(name = "dnf5-oci", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the libdnf5 plugin, on the system bus or on a socket
    Serve(serve::Arguments),
}

/// Runs what was asked for.
///
/// The exit code is 0 for success, 1 for a failure that has been reported, and 2 (from the parser
/// of arguments) for a command line that cannot be understood.
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
