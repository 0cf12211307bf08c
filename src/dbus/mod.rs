//! The D-Bus front end: each method parses its arguments, calls the engine and returns its result.
//!
//! | module | job |
//! |---|---|
//! | `interface` | the methods and properties |
//! | `options` | the options of a call |
//! | `caller` | who calls, whether it may, and whether it is still connected |
//! | `progress` | progress signals to the caller |
//! | `sessions` | the gateway's sessions, one for each caller |
//! | `error` | the interface's error names |

mod caller;
mod error;
mod interface;
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
use crate::jobs::Jobs;
use caller::Admission;
use interface::Backend1;
pub use options::PROXY_VARIABLES;

/// The well-known bus name.
pub const NAME: &str = "io.github.dnf5_oci";

/// The one interface.
pub const INTERFACE: &str = "io.github.dnf5_oci.Backend1";

/// The one object.
pub const PATH: &str = "/io/github/dnf5_oci";

/// Default time without a call after which the service on the bus exits.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long calls that were received before the name was released may take to start.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// What the service works with.
pub struct Instance {
    /// The operations behind most methods.
    pub engine: Engine,
    /// The HTTP front end.
    pub gateway: Arc<Gateway>,
    /// Why the settings are invalid. Every call is refused with this line, because without the settings it
    /// could do what the administrator has forbidden.
    pub refusal: Option<String>,
    /// What the service is busy with.
    pub jobs: Jobs,
}

/// Serves the system bus until there has been no call for `idle`, the bus closes the connection, or `stop`
/// is cancelled, which cancels the running calls.
///
/// # Errors
/// If connecting to the bus or acquiring the name fails.
pub async fn serve_bus(
    instance: Instance,
    idle: Duration,
    stop: CancellationToken,
) -> zbus::Result<()> {
    let (jobs, gateway) = (instance.jobs.clone(), Arc::clone(&instance.gateway));
    let interface = Backend1::new(instance, Admission::Root);
    let start = async {
        let connection = Builder::system().serve_at(PATH, interface).build().await?;
        // The call that has activated the service comes at once, so the name comes last.
        connection.request_name(NAME).await?;
        Ok::<_, zbus::Error>(connection)
    };
    let Some(connection) = stop.run_until_cancelled(start).await.transpose()? else {
        return Ok(());
    };
    tracing::info!("ready");
    tokio::select! {
        () = connection.closed() => {
            tracing::info!("the bus has closed the connection");
            return Ok(());
        }
        () = jobs.idle_for(idle) => tracing::info!("idle"),
        () = stop.cancelled() => {
            tracing::info!("stopping");
            jobs.cancelled.cancel();
        }
    }
    gateway.leave_programs();
    retire(connection, &jobs, &stop).await
}

/// Serves the other end of a socket until it is closed or `stop` is cancelled, which cancels the running
/// calls. The other end has started this process, so it may call everything.
///
/// # Errors
/// If the D-Bus handshake fails.
pub async fn serve_socket(
    instance: Instance,
    socket: UnixStream,
    stop: CancellationToken,
) -> zbus::Result<()> {
    let jobs = instance.jobs.clone();
    let interface = Backend1::new(instance, Admission::Anyone);
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
            jobs.cancelled.cancel();
            connection.graceful_shutdown().await;
        }
    }
    Ok(())
}

/// Releases the name, and finishes the calls that were sent to it. For later ones the bus starts another
/// instance, but systemd does so only when this one has exited.
///
/// systemd sends SIGTERM to a service that loses its name, so `stop` must not cancel these calls. It ends
/// sessions, which can last as long as dnf5 runs.
async fn retire(connection: Connection, jobs: &Jobs, stop: &CancellationToken) -> zbus::Result<()> {
    connection.release_name(NAME).await?;
    // Messages arrive in order, so calls that were sent to the name have been received before the reply.
    if stop.run_until_cancelled(jobs.idle_for(DRAIN_TIMEOUT)).await.is_none() {
        jobs.sessions_ended.cancel();
        jobs.idle_for(DRAIN_TIMEOUT).await;
    }
    connection.graceful_shutdown().await;
    Ok(())
}
