//! Which files are read, in which order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config_file::{self, Error};
use crate::containers_config::paths;

/// The main file; its drop-ins are in a directory beside it.
const NAME: &str = "registries.conf";

/// The files, in the order in which they are read.
#[derive(Clone, Debug)]
pub(super) struct Files {
    main: PathBuf,
    drop_ins: Vec<PathBuf>,
    /// The drop-ins of both system and user, whichever has the main file.
    all_drop_ins: Vec<PathBuf>,
}

impl Files {
    /// Finds the files that skopeo reads.
    pub(super) fn effective() -> Result<Self, Error> {
        Self::of(&paths::system(NAME), &paths::user(NAME))
    }

    /// A user's main file replaces the system's and its drop-ins.
    pub(super) fn of(system: &Path, user: &Path) -> Result<Self, Error> {
        let own = drop_ins(user)?;
        let mut all_drop_ins = drop_ins(system)?;
        all_drop_ins.extend_from_slice(&own);
        Ok(match user.exists() {
            true => Self { main: user.to_owned(), drop_ins: own, all_drop_ins },
            false => Self { main: system.to_owned(), drop_ins: all_drop_ins.clone(), all_drop_ins },
        })
    }

    /// Returns the files that skopeo reads with `--registries-conf main`.
    pub(super) fn with_main(&self, main: &Path) -> Self {
        let drop_ins = self.all_drop_ins.clone();
        Self { main: main.to_owned(), drop_ins, ..self.clone() }
    }

    pub(super) fn main(&self) -> &Path {
        &self.main
    }

    pub(super) fn drop_ins(&self) -> &[PathBuf] {
        &self.drop_ins
    }
}

/// Lists `registries.conf.d/*.conf` beside a file. skopeo ignores a link to such a directory.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, Error> {
    let directory = file.with_extension("conf.d");
    match fs::symlink_metadata(&directory).is_ok_and(|metadata| !metadata.is_dir()) {
        true => Ok(Vec::new()),
        false => config_file::drop_ins(&directory, ".conf"),
    }
}
