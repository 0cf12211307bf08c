//! Where skopeo has to write. As a rule that is nowhere.

use std::env;
use std::path::PathBuf;

use super::{auth, paths, policy};
use crate::source::Access;

/// Returns the directories below which skopeo and the programs that it starts have to write for a source: a
/// credential helper keeps what it likes in the user's directories, and GPG has a keyring for each check of a
/// signature among the temporary files.
pub fn writable(access: &Access) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let has_helper = auth::uses_helper(access);
    if has_helper {
        directories.push(paths::home());
        directories.extend(paths::variable("XDG_RUNTIME_DIR"));
    }
    if has_helper || policy::uses_gpg() {
        directories.push(env::temp_dir());
    }
    directories
}
