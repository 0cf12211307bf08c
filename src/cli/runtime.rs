//! The runtime of commands, and the signals that end them.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// The work is I/O-bound; two worker threads are enough.
const THREADS: usize = 2;

/// How long cancelled work may take to remove its temporary files.
pub(super) const CLEAN_UP: Duration = Duration::from_secs(2);

pub(super) fn new() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()
}

/// Handles SIGTERM and SIGINT from now on. The future ends when one of them comes.
pub(super) fn terminated() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}
