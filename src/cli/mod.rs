//! The command line.

mod config;
mod doctor;
mod instance;
mod list;
pub mod logging;
mod mirror;
mod promote;
mod prune;
mod publish;
mod publishing;
mod runtime;
mod serve;
mod verify;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::dbus::Instance;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::publish::Publisher;
use crate::registry::Registry;
use crate::settings::{self, Loaded, Settings};

/// The exit codes of [`run`] and of the argument parser.
const EXIT_STATUS: &str = "Exit status: 0 success, 1 failure, 2 invalid arguments.";

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
    /// Check step by step whether dnf5 can get packages from a repository
    Doctor(doctor::Arguments),
    /// Publish a directory of packages as a repository in a registry
    Publish(publish::PublishArguments),
    /// Add packages to a repository in a registry
    Add(publish::AddArguments),
    /// Remove packages from a repository in a registry
    Remove(publish::RemoveArguments),
    /// Let a tag lead to what another one leads to, in the same or another registry
    Promote(promote::Arguments),
    /// Copy a repository from a web server or a directory into a registry, or out of it
    Mirror(mirror::Arguments),
    /// List the packages and segments of a repository, with their sizes
    List(list::ListArguments),
    /// Compare the packages of two repositories
    Diff(list::DiffArguments),
    /// Check that a repository in a registry is complete and right
    Verify(verify::Arguments),
    /// Remove what is no longer needed from a repository in a registry
    Prune(prune::Arguments),
    /// Print the settings of the service and the files they come from
    Config,
}

/// Runs a command and reports its failure.
pub fn run(arguments: Arguments) -> ExitCode {
    let is_service = matches!(arguments.command, Command::Serve(_));
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            let line = crate::error_kind::one_line(error.as_ref());
            if is_service {
                tracing::error!("{line}");
            } else {
                // As the argument parser does; the time is of no interest to who has typed the command.
                let _ = writeln!(io::stderr(), "error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    logging::start(match &command {
        Command::Serve(arguments) => arguments.log_level(),
        _ => LevelFilter::ERROR,
    });
    let loaded = Loaded::read(Path::new(settings::FILE));
    match command {
        Command::Serve(arguments) => serve::run(arguments, loaded)?,
        Command::Doctor(arguments) => return doctor::run(&arguments, &loaded?.settings),
        Command::Publish(arguments) => return publish::publish(&arguments, &loaded?.settings),
        Command::Add(arguments) => return publish::add(&arguments, &loaded?.settings),
        Command::Remove(arguments) => return publish::remove(&arguments, &loaded?.settings),
        Command::Promote(arguments) => return promote::run(&arguments, &loaded?.settings),
        Command::Mirror(arguments) => return mirror::run(&arguments, &loaded?.settings),
        Command::List(arguments) => return list::list(&arguments, &loaded?.settings),
        Command::Diff(arguments) => return list::diff(&arguments, &loaded?.settings),
        Command::Verify(arguments) => return verify::run(&arguments, &loaded?.settings),
        Command::Prune(arguments) => return prune::run(&arguments, &loaded?.settings),
        Command::Config => config::run(&loaded?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates a publisher with these settings.
fn publisher(settings: &Settings) -> Publisher {
    let registry = Registry::new(settings.registry());
    Publisher::new(registry.clone(), Engine::new(registry, settings.engine()))
}

/// Creates an instance with these settings.
fn instance(settings: &Settings) -> Instance {
    let engine = Engine::new(Registry::new(settings.registry()), settings.engine());
    let gateway = Arc::new(Gateway::new(engine.clone()));
    Instance { engine, gateway, refusal: None }
}
