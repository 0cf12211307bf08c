//! The command line.

mod doctor;
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
    /// Say step by step why dnf5 does or does not get packages from a repository
    Doctor(doctor::Arguments),
}

/// Runs what was asked for. A failure has been reported when this returns.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{}", crate::failure::one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
