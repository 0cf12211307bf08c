//! The instance of the service that the plugin would use: the same choice, for the doctor.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, WellKnownName};

use crate::dbus;
use crate::dnf_cache::default_cachedir;
use crate::settings::Settings;

/// The plugin's configuration.
const PLUGIN_CONF: &str = "/etc/dnf/libdnf5-plugins/oci.conf";

/// How long the bus may take to start the service, and how long where a private instance does as well.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const START_TIMEOUT_WITH_ALTERNATIVE: Duration = Duration::from_secs(1);

/// An instance that can be called.
pub(super) struct Instance {
    pub(super) connection: Connection,
    /// What the doctor calls it.
    pub(super) name: &'static str,
}

/// `backend=` of the plugin's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Auto,
    System,
    Private,
}

/// Connects to the instance that dnf5 would use with this cachedir.
///
/// # Errors
/// If dnf5 would not get one either.
pub(super) async fn connect(
    settings: &Settings,
    cachedir: Option<&PathBuf>,
) -> zbus::Result<Instance> {
    let backend = Backend::parse(&fs::read_to_string(PLUGIN_CONF).unwrap_or_default());
    let is_default = cachedir.is_none_or(|cachedir| cachedir.starts_with(default_cachedir()));
    if backend == Backend::System {
        let connection = system_service(START_TIMEOUT).await?;
        return Ok(Instance { connection, name: "The system service" });
    }
    if backend == Backend::Auto
        && rustix::process::geteuid().is_root()
        && is_default
        && let Ok(connection) = system_service(START_TIMEOUT_WITH_ALTERNATIVE).await
        && shares_cache(&connection).await
    {
        return Ok(Instance { connection, name: "The system service" });
    }
    let (ours, theirs) = UnixStream::pair()?;
    let instance = super::instance(settings);
    tokio::spawn(dbus::serve_socket(instance, theirs, CancellationToken::new()));
    let connection = Builder::unix_stream(ours).p2p().build().await?;
    Ok(Instance { connection, name: "A private instance" })
}

async fn system_service(start_timeout: Duration) -> zbus::Result<Connection> {
    let start = async {
        let connection = Connection::system().await?;
        let name = WellKnownName::from_static_str(dbus::NAME)?;
        DBusProxy::new(&connection).await?.start_service_by_name(name, 0).await?;
        Ok(connection)
    };
    let silent = |_| zbus::Error::Failure("the system bus gives no answer".to_owned());
    tokio::time::timeout(start_timeout, start).await.map_err(silent)?
}

/// Whether the service has the same cache under the same name. It has not when the bus is that of a host
/// and this process is in a chroot or a container, or the other way round.
async fn shares_cache(connection: &Connection) -> bool {
    let service = async {
        let name = BusName::from_static_str(dbus::NAME)?;
        DBusProxy::new(connection).await?.get_connection_unix_process_id(name).await
    };
    let Ok(process) = service.await else {
        return false;
    };
    let cachedir = default_cachedir();
    let relative = cachedir.strip_prefix("/").unwrap_or(&cachedir);
    let theirs = Path::new("/proc").join(process.to_string()).join("root").join(relative);
    let file = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    file(&theirs).is_some_and(|theirs| file(&cachedir) == Some(theirs))
}

impl Backend {
    /// What the text of the configuration says. The plugin refuses any other value by itself.
    fn parse(text: &str) -> Self {
        let value = |line: &str| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "backend").then(|| value.trim().to_owned())
        };
        match text.lines().rev().find_map(value).as_deref() {
            Some("system") => Self::System,
            Some("private") => Self::Private,
            _ => Self::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_configuration_is_followed() {
        for (text, expected) in [
            ("", Backend::Auto),
            ("[main]\nbackend = auto\n", Backend::Auto),
            ("[main]\nbackend=system\n", Backend::System),
            ("[main]\n# backend = system\nbackend = private\n", Backend::Private),
        ] {
            assert_eq!(Backend::parse(text), expected, "{text:?}");
        }
        assert_eq!(
            Backend::parse(include_str!("../../integration/plugin/oci.conf")),
            Backend::Auto
        );
    }
}
