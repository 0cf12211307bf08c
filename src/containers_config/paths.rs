//! The home directory of the user this process runs as.

use std::env;
use std::path::PathBuf;

/// The directory, found as skopeo finds it: a service of systemd has no `$HOME`, and an empty one is
/// none. Empty if there is none.
pub fn home() -> PathBuf {
    let told = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    told.or_else(env::home_dir).unwrap_or_default()
}
