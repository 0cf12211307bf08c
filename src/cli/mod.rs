//! The command line.

mod config;
mod doctor;
mod generate;
mod instance;
mod list;
pub mod logging;
mod mirror;
mod promote;
mod prune;
mod publish;
mod publishing;
mod run;
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

/// RPM repositories from container registries, for dnf5
///
/// dnf5 installs packages from a repository with baseurl=oci://HOST/PATH:TAG, which libdnf5-oci(8) describes.
/// This program is the service that fetches them, and has the commands to publish such repositories, to look at
/// them, to use them with other programs, and to find out why something fails.
///
/// skopeo(1) talks to registries, so mirrors, credentials, certificates and the signature policy are those of
/// podman, in /etc/containers.
#[derive(Debug, Parser)]
#[command(name = "dnf5-oci", version, after_long_help = DETAILS)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Run(run::Arguments),
    Doctor(doctor::Arguments),
    Publish(publish::PublishArguments),
    Add(publish::AddArguments),
    Remove(publish::RemoveArguments),
    Promote(promote::Arguments),
    Mirror(mirror::Arguments),
    List(list::ListArguments),
    Diff(list::DiffArguments),
    Verify(verify::Arguments),
    Prune(prune::Arguments),
    /// Print the settings of the service and the files they come from
    ///
    /// Each line is a setting in the syntax of dnf5-oci.toml(5), with the file that has set it. Passwords in
    /// the addresses of proxies are not shown.
    Config,
    #[command(hide = true)]
    Generate(generate::Arguments),
}

/// What `--help` shows below the options, and dnf5-oci(8) as sections.
const DETAILS: &str = "\
Exit status:
  0  success
  1  failure
  2  invalid arguments

Environment:
  DNF5_OCI_LOG           what is logged, such as \"debug\"; the syntax is that of RUST_LOG
  REGISTRY_AUTH_FILE     the auth file, as for podman
  CONTAINERS_REGISTRIES_CONF
                         instead of /etc/containers/registries.conf, as for podman
  XDG_RUNTIME_DIR, XDG_CONFIG_HOME, XDG_CACHE_HOME
                         where an ordinary user's socket and auth file, configuration, and unpacked layers are
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY
                         proxies on the way to the registry, for run and commands that publish

Files:
  /etc/dnf5-oci/config.toml, /etc/dnf5-oci/config.toml.d/*.toml
                         settings: dnf5-oci.toml(5)
  /etc/dnf5-oci/auth.json
                         credentials for the whole system: containers-auth.json(5)
  /etc/dnf/libdnf5-plugins/oci.conf
                         settings of the plugin: libdnf5-oci(8)
  /run/dnf5-oci/gateway, $XDG_RUNTIME_DIR/dnf5-oci/gateway
                         the proxy for other programs, with dnf5-oci.socket
  /etc/containers        registries.conf, certs.d, policy.json, registries.d
  /var/cache/libdnf5     DNF's cache, where metadata and packages go
  /var/cache/dnf5-oci    unpacked layers; it may be removed when the service is stopped
  /usr/share/dbus-1/interfaces/io.github.dnf5_oci.Backend1.xml
                         the D-Bus interface, with its error names";

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
        Command::Run(arguments) => return run::run(&arguments, &loaded?.settings),
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
        Command::Generate(arguments) => generate::run(&arguments)?,
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
    Instance { engine, gateway, refusal: None, jobs: Default::default() }
}
