//! Where skopeo has to write. When it reads, that is nowhere as a rule.

use std::env;
use std::fs;
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

/// Returns the directories below which skopeo writes when it pushes: where it keeps which registry has which
/// blob, and where it stages signatures for a web server, as containers-registries.d(5) says. Makes them if
/// they are missing.
pub fn written_by_pushes() -> Vec<PathBuf> {
    let mut directories = vec![paths::data("cache"), paths::data("sigstore")];
    for file in paths::registries_d().iter().flat_map(|directory| fs::read_dir(directory).ok()) {
        let files = file.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        directories.extend(files.flat_map(|text| file_urls(&text)));
    }
    // What cannot be made cannot be written to either, and skopeo says so if it has to.
    directories.retain(|directory| fs::create_dir_all(directory).is_ok());
    directories
}

/// Returns the paths in the `file:` URLs of a text. Which of them counts is skopeo's decision.
fn file_urls(text: &str) -> Vec<PathBuf> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let urls = lines.filter_map(|line| line.split_once("file://").map(|(_, path)| path));
    let path = |url: &str| url.split(['"', '\'', '#']).next().unwrap_or_default().trim().to_owned();
    urls.map(path).filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookasides_are_found_wherever_they_are() {
        let text = "docker:\n  quay.io/acme:\n    lookaside: https://sigs.example\n    \
                    lookaside-staging: file:///srv/sigs\n  # file:///none\n  other:\n    \
                    sigstore: \"file:///srv/my sigs\" # old\n    lookaside: file://host/x\n";
        assert_eq!(file_urls(text), ["/srv/sigs", "/srv/my sigs"].map(PathBuf::from));
    }
}
