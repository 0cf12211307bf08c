//! The home directory of the user this process runs as.

use std::env;
use std::path::PathBuf;

/// The directory, found as skopeo finds it: a service of systemd has no `$HOME`. Empty if there is
/// none.
pub fn home() -> PathBuf {
    env::home_dir().unwrap_or_default()
}
