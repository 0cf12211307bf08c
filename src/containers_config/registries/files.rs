//! Which files are read, in which order.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Unreadable;
use crate::containers_config::paths::home;

/// The file of the whole system; its drop-ins are in a directory beside it, as with a user's own.
const SYSTEM: &str = "/etc/containers/registries.conf";

/// The files of a user, below the home directory.
const USER: &str = ".config/containers/registries.conf";

/// The files, in the order in which they are read.
#[derive(Clone, Debug)]
pub(super) struct Files {
    main: PathBuf,
    drop_ins: Vec<PathBuf>,
    /// Those of the system and the user, whatever the main file is.
    all_drop_ins: Vec<PathBuf>,
}

impl Files {
    /// Those that skopeo reads.
    pub(super) fn in_force() -> Result<Self, Unreadable> {
        Self::of(Path::new(SYSTEM), &home().join(USER))
    }

    /// A user's own main file stands in for the system's, and for its drop-ins.
    pub(super) fn of(system: &Path, user: &Path) -> Result<Self, Unreadable> {
        let own = drop_ins(user)?;
        let mut all_drop_ins = drop_ins(system)?;
        all_drop_ins.extend_from_slice(&own);
        Ok(match user.exists() {
            true => Self { main: user.to_owned(), drop_ins: own, all_drop_ins },
            false => Self { main: system.to_owned(), drop_ins: all_drop_ins.clone(), all_drop_ins },
        })
    }

    /// The same when skopeo is told which its main file is.
    pub(super) fn with_main(&self, main: &Path) -> Self {
        let drop_ins = self.all_drop_ins.clone();
        Self { main: main.to_owned(), drop_ins, ..self.clone() }
    }

    pub(super) fn main(&self) -> &Path {
        &self.main
    }

    /// Those that come after the main file.
    pub(super) fn drop_ins(&self) -> &[PathBuf] {
        &self.drop_ins
    }
}

/// A file that is not there says nothing.
pub(super) fn text(file: &Path) -> Result<String, Unreadable> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(|error| Unreadable::new(file, error)),
    }
}

/// `registries.conf.d/*.conf` beside a file, by name. As skopeo has it, neither a directory nor
/// a link to one counts: not below it, nor in its place.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let directory = file.with_extension("conf.d");
    match fs::symlink_metadata(&directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Unreadable::new(&directory, error)),
    }
    let entries = fs::read_dir(&directory).map_err(|error| Unreadable::new(&directory, error))?;
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.as_os_str().as_encoded_bytes().ends_with(b".conf"))
        .collect();
    files.sort();
    Ok(files)
}
