//! `dnf5-oci doctor`: asks the instance that dnf5 would use, and prints what it says.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::WellKnownName;
use zbus::{Connection, Variant};

use crate::dbus;
use crate::dnf_cache::default_cachedir;
use crate::doctor::Verdict;
use crate::reference::{InvalidReference, Reference};
use crate::settings::Settings;

/// How long an answer may take. Every request that it takes is bounded by far less.
const LIMIT: Duration = Duration::from_secs(900);

/// Arguments of `dnf5-oci doctor`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The repository, as its baseurl is written in the .repo file
    #[arg(value_name = "oci://HOST/PATH:TAG", value_parser = is_reference)]
    reference: String,

    /// Take an image index's entry for this architecture
    #[arg(long)]
    arch: Option<String>,

    /// Read credentials from this file alone
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// false: as sslverify=0 in the .repo file
    #[arg(long, value_name = "BOOL")]
    tls_verify: Option<bool>,

    /// DNF's cachedir, if dnf.conf sets one
    #[arg(long, value_name = "DIRECTORY")]
    cachedir: Option<PathBuf>,
}

/// (step, verdict, text), as the interface has them.
type Step = (String, String, String);

/// One that can be asked, and what people call it.
struct Instance {
    connection: Connection,
    name: &'static str,
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (name, steps) = runtime.block_on(async {
        let instance = connect(settings, arguments).await?;
        let steps = tokio::time::timeout(LIMIT, ask(&instance, arguments)).await??;
        Ok::<_, Box<dyn Error>>((instance.name, steps))
    })?;
    let works = steps.iter().all(|(_, verdict, _)| verdict != Verdict::Failed.name());
    print(name, &arguments.reference, &steps, works)?;
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The instance that the plugin would use: the system's for root and the usual cache where there is
/// one, else one that has this process's rights and credentials.
async fn connect(settings: &Settings, arguments: &Arguments) -> zbus::Result<Instance> {
    let is_usual = |cachedir: &PathBuf| cachedir.starts_with(default_cachedir());
    if rustix::process::geteuid().is_root()
        && arguments.cachedir.as_ref().is_none_or(is_usual)
        && let Ok(connection) = system_service().await
    {
        return Ok(Instance { connection, name: "The system service" });
    }
    let (ours, theirs) = UnixStream::pair()?;
    let instance = super::instance(settings);
    tokio::spawn(dbus::serve_socket(instance, theirs, CancellationToken::new()));
    let connection = Builder::unix_stream(ours).p2p().build().await?;
    Ok(Instance { connection, name: "A private instance" })
}

async fn system_service() -> zbus::Result<Connection> {
    let connection = Connection::system().await?;
    let name = WellKnownName::from_static_str(dbus::NAME)?;
    DBusProxy::new(&connection).await?.start_service_by_name(name, 0).await?;
    Ok(connection)
}

async fn ask(instance: &Instance, arguments: &Arguments) -> Result<Vec<Step>, Box<dyn Error>> {
    let connection = &instance.connection;
    let destination = connection.is_bus().then_some(dbus::NAME);
    let body = (&arguments.reference, arguments.options());
    let reply = connection
        .call_method(destination, dbus::PATH, Some(dbus::INTERFACE), "Diagnose", &body)
        .await
        .map_err(what_it_says)?;
    Ok(reply.body().deserialize()?)
}

/// The service's own line, without the name of the error.
fn what_it_says(error: zbus::Error) -> Box<dyn Error> {
    match error {
        zbus::Error::MethodError(_, Some(line), _) => line.into(),
        other => other.into(),
    }
}

impl Arguments {
    fn options(&self) -> HashMap<&'static str, Variant<'static>> {
        let path = |path: &PathBuf| Variant::from(path.to_string_lossy().into_owned());
        let given = [
            ("arch", self.arch.clone().map(Variant::from)),
            ("auth-file", self.authfile.as_ref().map(path)),
            ("tls-verify", self.tls_verify.map(Variant::from)),
            ("cachedir", self.cachedir.as_ref().map(path)),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn is_reference(text: &str) -> Result<String, InvalidReference> {
    text.parse::<Reference>().map(|_| text.to_owned())
}

fn print(name: &str, reference: &str, steps: &[Step], works: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (step, verdict, text) in steps {
        writeln!(out, "{step:<15}  {verdict:<7}  {text}")?;
    }
    let can = if works { "can" } else { "cannot" };
    writeln!(out, "{name} {can} serve {reference} to dnf5.")
}
