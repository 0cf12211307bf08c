//! Why publishing failed: the one line for the user.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::blocking::Cancelled;
use crate::engine;
use crate::error_kind::{Failure, Kind, shortened};
use crate::registry;
use crate::source::Source;

/// The most that a reason from elsewhere has, in characters: the line must say the rest as well.
const MAX_REASON: usize = 120;

/// What the system says if a disk is full: strerror(3).
const NO_SPACE: &str = "no space left on device";

/// Why publishing failed. Its text is the whole line that a user sees.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry has refused a request, or reading the repository failed.
    #[error(transparent)]
    Repository(Box<engine::Error>),
    /// The tag leads to something else.
    #[error(
        "{reference} is not an RPM repository that can be updated: {reason}; choose another tag"
    )]
    NotARepository {
        /// The reference.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory of the user's cannot be used.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A program cannot be run, or failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// What was asked for does not fit what is there.
    #[error("{reference}: {reason}")]
    Conflict {
        /// The reference.
        reference: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The tag leads to something else than what the work is based on.
    #[error("{0} was changed by others at each attempt; try again later")]
    Contended(String),
    /// The work was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    pub(super) fn registry(source: &Source, error: registry::Error) -> Self {
        engine::Error::new(None, source, error.into()).into()
    }

    /// A failure while a blob was read.
    pub(super) fn reading(source: &Source, error: io::Error) -> Self {
        let cause = engine::error::Cause::reading(error);
        engine::Error::new(None, source, cause).into()
    }

    pub(super) fn not_a_repository(source: &Source, reason: impl Display) -> Self {
        let reason = shortened(&reason.to_string(), MAX_REASON);
        Self::NotARepository { reference: source.reference.to_string(), reason }
    }

    pub(super) fn conflict(source: &Source, reason: impl Display) -> Self {
        let (reference, reason) = (source.reference.to_string(), reason.to_string());
        Self::Conflict { reference, reason }
    }

    pub(super) fn program(program: &'static str, reason: &str) -> Self {
        Self::Program { program, reason: with_room(reason) }
    }

    pub(super) fn file(path: &Path, reason: impl Display) -> Self {
        Self::File { path: path.to_owned(), reason: plain(&reason.to_string()) }
    }
}

/// A reason as our messages have it: the standard library adds the number of a system error to its text, which
/// begins with a capital.
fn plain(reason: &str) -> String {
    match reason.rsplit_once(" (os error ") {
        Some((text, _)) => with_room(&text.to_lowercase()),
        None => reason.to_owned(),
    }
}

/// A reason, and what helps if it is that the disk is full.
fn with_room(reason: &str) -> String {
    match reason.to_lowercase().contains(NO_SPACE) {
        true => format!("{reason}; set TMPDIR to a directory with more space"),
        false => reason.to_owned(),
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::Repository(Box::new(error))
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Repository(error) => error.kind(),
            Self::NotARepository { .. } => Kind::BadRepository,
            Self::Cancelled(_) => Kind::Cancelled,
            _ => Kind::CacheDirectory,
        }
    }
}
