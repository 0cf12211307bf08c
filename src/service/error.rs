//! The interface's error names.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::failure::{Failure, Kind, one_line};

/// An error as it goes over the bus: a name and one line.
#[derive(Debug)]
pub(super) struct Error {
    name: &'static str,
    line: String,
}

impl Error {
    /// An option or argument that cannot be understood.
    pub(super) fn invalid_arguments(line: String) -> Self {
        Self { name: "org.freedesktop.DBus.Error.InvalidArgs", line }
    }

    pub(super) fn access_denied(line: String) -> Self {
        Self { name: name(Kind::AccessDenied), line }
    }

    /// The same, for a repository that the error does not name by itself.
    pub(super) fn of_repository(self, id: &str) -> Self {
        Self { line: format!("repository {id}: {}", self.line), ..self }
    }

    pub(super) fn cancelled() -> Self {
        Self { name: name(Kind::Cancelled), line: "the caller has gone".to_owned() }
    }
}

impl<E: Failure> From<E> for Error {
    fn from(error: E) -> Self {
        let line = one_line(&error);
        tracing::warn!("{line}");
        Self { name: name(error.kind()), line }
    }
}

/// What a kind of failure is called on the bus.
pub(super) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidReference => "io.github.dnf5_oci.Error.InvalidReference",
        Kind::NotFound => "io.github.dnf5_oci.Error.NotFound",
        Kind::Unauthorized => "io.github.dnf5_oci.Error.Unauthorized",
        Kind::PolicyRejected => "io.github.dnf5_oci.Error.PolicyRejected",
        Kind::Unreachable => "io.github.dnf5_oci.Error.Unreachable",
        Kind::BadRepository => "io.github.dnf5_oci.Error.BadRepository",
        Kind::BadMetadata => "io.github.dnf5_oci.Error.BadMetadata",
        Kind::DigestMismatch => "io.github.dnf5_oci.Error.DigestMismatch",
        Kind::PackageNotInRepository => "io.github.dnf5_oci.Error.PackageNotInRepository",
        Kind::CacheDirectory => "io.github.dnf5_oci.Error.CacheDirectory",
        Kind::NoSpace => "io.github.dnf5_oci.Error.NoSpace",
        Kind::Stalled => "io.github.dnf5_oci.Error.Stalled",
        Kind::SkopeoMissing => "io.github.dnf5_oci.Error.SkopeoMissing",
        Kind::SkopeoTooOld => "io.github.dnf5_oci.Error.SkopeoTooOld",
        Kind::Cancelled => "io.github.dnf5_oci.Error.Cancelled",
        Kind::AccessDenied => "io.github.dnf5_oci.Error.AccessDenied",
    }
}

impl zbus::DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&(&self.line,))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.line)
    }
}
