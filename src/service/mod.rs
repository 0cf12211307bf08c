//! The D-Bus front end: arguments in, one call of the backend, one result out.
//!
//! | module | job |
//! |---|---|
//! | `interface` | the methods and properties |
//! | `options` | the dictionaries of options |
//! | `caller` | who calls, whether it may, and whether it is still there |
//! | `progress` | signals to the caller |
//! | `jobs` | what is being worked on |
//! | `error` | the interface's error names |

mod caller;
mod error;
mod interface;
mod jobs;
mod options;
mod progress;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use zbus::connection::Builder;
use zbus::{Connection, Guid};

use crate::backend::Backend;
use caller::Admission;
use interface::Backend1;
use jobs::Jobs;

/// The name on the bus.
pub const NAME: &str = "io.github.dnf5_oci";

/// The one object.
pub const PATH: &str = "/io/github/dnf5_oci";

/// How long to wait for calls that were on their way when the name was given up.
const LAST_CALLS: Duration = Duration::from_millis(200);

/// Serves the system bus, until nobody has wanted anything for `idle`.
///
/// # Errors
/// If the bus cannot be reached or does not give us the name.
pub async fn serve_bus(backend: Backend, idle: Duration) -> zbus::Result<()> {
    let jobs = Jobs::default();
    let interface = Backend1::new(backend, jobs.clone(), Admission::Root);
    let connection = Builder::system().serve_at(PATH, interface).build().await?;
    // Called at once by whoever had us started: everything is in place now.
    connection.request_name(NAME).await?;
    tracing::info!("ready");
    tokio::select! {
        () = connection.closed() => tracing::info!("the bus has gone"),
        result = until_idle(&connection, &jobs, idle) => result?,
    }
    Ok(())
}

/// Serves the other end of a socket, until it is closed. That end has started this process and may
/// do what this process may.
///
/// # Errors
/// If the other end does not speak D-Bus.
pub async fn serve_socket(backend: Backend, socket: UnixStream) -> zbus::Result<()> {
    let interface = Backend1::new(backend, Jobs::default(), Admission::Anyone);
    let connection = Builder::unix_stream(socket)
        .server(Guid::generate())
        .p2p()
        .serve_at(PATH, interface)
        .build()
        .await?;
    connection.closed().await;
    Ok(())
}

/// Returns when there has been nothing to do for `idle` and the name has been given up.
async fn until_idle(connection: &Connection, jobs: &Jobs, idle: Duration) -> zbus::Result<()> {
    loop {
        jobs.none_for(idle).await;
        // From here on the bus starts another instance for new calls; those that it has already
        // passed on are still answered.
        connection.release_name(NAME).await?;
        if tokio::time::timeout(LAST_CALLS, jobs.some()).await.is_err() {
            tracing::info!("nothing to do");
            return Ok(());
        }
        jobs.none_for(Duration::ZERO).await;
        connection.request_name(NAME).await?;
    }
}
