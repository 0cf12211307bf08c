//! Reading configuration files and their drop-ins, with errors that name the file.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A configuration file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .file.display())]
pub struct Error {
    file: PathBuf,
    reason: String,
}

impl Error {
    pub(crate) fn new(file: &Path, reason: impl Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a file; a missing file is an empty one.
pub(crate) fn read(file: &Path) -> Result<String, Error> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(|error| Error::new(file, error)),
    }
}

/// Lists the files of a directory with this suffix, sorted by name; none if there is no directory.
pub(crate) fn drop_ins(directory: &Path, suffix: &str) -> Result<Vec<PathBuf>, Error> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let has_suffix = entry.file_name().as_encoded_bytes().ends_with(suffix.as_bytes());
            if has_suffix && !entry.file_type()?.is_dir() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    };
    match list() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        files => files.map_err(|error| Error::new(directory, error)),
    }
}

/// Describes an error in a TOML text, with its line counted from 1.
pub(crate) fn describe(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    match error.message().strip_prefix("unknown field ") {
        // serde's word for a key is "field".
        Some(field) => format!("line {line}: unknown key {}", field.replace('`', "\"")),
        None => format!("line {line}: {}", error.message()),
    }
}
