//! The D-Bus front end: arguments in, one call of the engine, one result out.
//!
//! | module | job |
//! |---|---|
//! | `interface` | the methods and properties |
//! | `options` | the dictionaries of options |
//! | `caller` | who calls, whether it may, and whether it is still there |
//! | `progress` | signals to the caller |
//! | `jobs` | what is being worked on |
//! | `runs` | the runs of dnf5 that the gateway serves |
//! | `error` | the interface's error names |

mod caller;
mod error;
mod interface;
mod jobs;
mod options;
mod progress;
mod sessions;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zbus::connection::Builder;
use zbus::{Connection, Guid};

use crate::engine::Engine;
use crate::gateway::Gateway;
use caller::Admission;
use interface::Backend1;
use jobs::Jobs;

/// The name on the bus.
pub const NAME: &str = "io.github.dnf5_oci";

/// The one interface.
pub const INTERFACE: &str = "io.github.dnf5_oci.Backend1";

/// The one object.
pub const PATH: &str = "/io/github/dnf5_oci";

/// How long the service on the bus stays without a call, unless somebody says otherwise.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long a call that has come takes to begin, at most. It is in this process by then: nothing is
/// waited for but its turn.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// What is served.
pub struct Instance {
    /// The operations.
    pub engine: Engine,
    /// The HTTP front end.
    pub gateway: Arc<Gateway>,
    /// If the settings cannot be read, the line that every call is refused with: whatever was done
    /// would not be what the administrator wants.
    pub refusal: Option<String>,
}

/// Serves the system bus, until nobody has wanted anything for `idle`, or the bus goes away, or
/// `stop` is cancelled; calls being worked on then fail as cancelled.
///
/// # Errors
/// If the bus cannot be reached or does not give us the name.
pub async fn serve_bus(
    instance: Instance,
    idle: Duration,
    stop: CancellationToken,
) -> zbus::Result<()> {
    let jobs = Jobs::default();
    let interface = Backend1::new(instance, jobs.clone(), Admission::Root);
    let start = async {
        let connection = Builder::system().serve_at(PATH, interface).build().await?;
        // Called at once by whoever had us started: everything is in place now.
        connection.request_name(NAME).await?;
        Ok::<_, zbus::Error>(connection)
    };
    let Some(connection) = stop.run_until_cancelled(start).await.transpose()? else {
        return Ok(());
    };
    tracing::info!("ready");
    tokio::select! {
        () = connection.closed() => {
            tracing::info!("the bus has gone");
            return Ok(());
        }
        () = jobs.none_for(idle) => tracing::info!("nothing to do"),
        () = stop.cancelled() => {
            tracing::info!("told to stop");
            jobs.give_up();
        }
    }
    retire(connection, &jobs).await
}

/// Serves the other end of a socket, until it is closed or `stop` is cancelled. That end has
/// started this process and may do what this process may.
///
/// # Errors
/// If the other end does not speak D-Bus.
pub async fn serve_socket(
    instance: Instance,
    socket: UnixStream,
    stop: CancellationToken,
) -> zbus::Result<()> {
    let jobs = Jobs::default();
    let interface = Backend1::new(instance, jobs.clone(), Admission::Anyone);
    let start = Builder::unix_stream(socket)
        .server(Guid::generate())
        .p2p()
        .serve_at(PATH, interface)
        .build();
    let Some(connection) = stop.run_until_cancelled(start).await.transpose()? else {
        return Ok(());
    };
    tokio::select! {
        () = connection.closed() => (),
        () = stop.cancelled() => {
            jobs.give_up();
            connection.graceful_shutdown().await;
        }
    }
    Ok(())
}

/// Gives the name up, and answers the calls that have come until then. For later ones the bus
/// starts another instance.
///
/// systemd sends SIGTERM to a service that loses its name; nobody listens for signals by now, so it
/// takes no call's answer away.
async fn retire(connection: Connection, jobs: &Jobs) -> zbus::Result<()> {
    connection.release_name(NAME).await?;
    // The bus passes on in order: what was sent to the name came before the answer to this.
    jobs.none_for(DRAIN_TIMEOUT).await;
    connection.graceful_shutdown().await;
    Ok(())
}
