//! `dnf5-oci doctor`: has the instance that dnf5 would use check a repository, and prints the result.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;
use zbus::Variant;

use super::instance::{self, Instance};
use crate::dbus;
use crate::doctor::Verdict;
use crate::reference::Reference;
use crate::settings::Settings;

/// Limits the whole check; each request in it has a much shorter timeout.
const TIMEOUT: Duration = Duration::from_secs(900);

/// Check step by step whether dnf5 can get packages from a repository
///
/// It takes the same steps as the requests of dnf5, in the instance of the service that dnf5 would use, fetches
/// the metadata and the smallest package, and leaves DNF's cache as it is. Each step is a line with its verdict:
/// ok, warning, failed, or skipped because something before it has failed. The exit status is 0 only if dnf5 can
/// use the repository.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The repository, as in baseurl of the .repo file
    #[arg(value_name = "oci://HOST/PATH:TAG")]
    reference: String,

    /// The architecture to take from an image index
    #[arg(long)]
    arch: Option<String>,

    /// Read credentials from this file alone
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// Verify TLS certificates; false is the same as sslverify=0 in the .repo file
    #[arg(long, value_name = "BOOL", hide_possible_values = true)]
    tls_verify: Option<bool>,

    /// DNF's cachedir, if dnf.conf sets one
    #[arg(long, value_name = "DIRECTORY")]
    cachedir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  dnf5-oci doctor oci://quay.io/acme/rpms:stable
  dnf5-oci doctor --authfile /root/auth.json oci://quay.io/acme/private:stable";

/// Step, verdict and text, as in the D-Bus interface.
type Step = (String, String, String);

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    if let Err(error) = arguments.reference.parse::<Reference>() {
        // Not as a value_parser: clap would show what may be a password in it.
        super::Arguments::command().error(ErrorKind::ValueValidation, error).exit();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (name, steps) = runtime.block_on(async {
        let instance = instance::connect(settings, arguments.cachedir.as_ref()).await?;
        let steps = tokio::time::timeout(TIMEOUT, ask(&instance, arguments))
            .await
            .map_err(|_| format!("the check timed out after {} s", TIMEOUT.as_secs()))??;
        Ok::<_, Box<dyn Error>>((instance.name, steps))
    })?;
    let works = steps.iter().all(|(_, verdict, _)| verdict != Verdict::Failed.name());
    print(name, &arguments.reference, &steps, works)?;
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(instance: &Instance, arguments: &Arguments) -> Result<Vec<Step>, Box<dyn Error>> {
    let connection = &instance.connection;
    let destination = connection.is_bus().then_some(dbus::NAME);
    let body = (&arguments.reference, arguments.options());
    let reply = connection
        .call_method(destination, dbus::PATH, Some(dbus::INTERFACE), "Diagnose", &body)
        .await
        .map_err(without_name)?;
    Ok(reply.body().deserialize()?)
}

/// Returns the service's message, without the name of the D-Bus error.
fn without_name(error: zbus::Error) -> Box<dyn Error> {
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
            ("environment", Some(Variant::from(proxy_variables()))),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The variables that dnf5 would pass on.
fn proxy_variables() -> HashMap<String, String> {
    let variables = dbus::PROXY_VARIABLES.into_iter();
    variables.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

fn print(name: &str, reference: &str, steps: &[Step], works: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (step, verdict, text) in steps {
        writeln!(out, "{step:<15}  {verdict:<7}  {text}")?;
    }
    let can = if works { "can" } else { "cannot" };
    writeln!(out, "{name} {can} serve {reference} to dnf5.")
}
