//! Logging, to the journal under systemd and to standard error otherwise.

use std::env;
use std::io::IsTerminal;

use rustix::fs::fstat;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;

/// The environment variable for the filter, in the syntax of `RUST_LOG`.
const FILTER: &str = "DNF5_OCI_LOG";

/// Starts logging at `level`, or as the environment variable says.
pub fn start(level: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var(FILTER)
        .from_env_lossy();
    // These crates show secrets: spans have the command with its environment, which may have a proxy's password,
    // and lines the user names of clients. A directive would not do: a narrower one in the variable would
    // override it.
    let others = filter_fn(|metadata| {
        !["containers_image_proxy", "fast_socks5"]
            .iter()
            .any(|name| metadata.target().starts_with(name))
    });
    let registry = tracing_subscriber::registry().with(filter).with(others);
    match journal() {
        Some(journal) => registry.with(journal).init(),
        None => {
            let terminal = std::io::stderr().is_terminal();
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(terminal)
                .with_target(false);
            registry.with(lines).init();
        }
    }
}

/// Returns the journal, if standard error is connected to it: systemd.exec(5), `$JOURNAL_STREAM`.
fn journal() -> Option<tracing_journald::Layer> {
    let stream = env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(std::io::stderr()).ok()?;
    (stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)).then(tracing_journald::layer)?.ok()
}
