//! The interface's error names.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::error_kind::{Failure, Kind, one_line};

/// An error as it is sent over the bus: a name and one line.
#[derive(Debug)]
pub(super) struct Error {
    name: &'static str,
    line: String,
}

impl Error {
    /// An invalid option or argument.
    pub(super) fn invalid_arguments(line: String) -> Self {
        Self { name: "org.freedesktop.DBus.Error.InvalidArgs", line }
    }

    pub(super) fn new(kind: Kind, line: impl Into<String>) -> Self {
        let line = line.into();
        tracing::info!("{line}");
        Self { name: name(kind), line }
    }

    /// Adds the repository to an error that does not name it.
    pub(super) fn of_repository(self, id: &str) -> Self {
        Self { line: format!("repository {id}: {}", self.line), ..self }
    }
}

impl<E: Failure> From<E> for Error {
    fn from(error: E) -> Self {
        let line = one_line(&error);
        tracing::warn!("{line}");
        Self { name: name(error.kind()), line }
    }
}

/// The error name of a kind of failure.
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
        Kind::InvalidSettings => "io.github.dnf5_oci.Error.InvalidSettings",
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

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 17] = [
        Kind::InvalidReference,
        Kind::NotFound,
        Kind::Unauthorized,
        Kind::PolicyRejected,
        Kind::Unreachable,
        Kind::BadRepository,
        Kind::BadMetadata,
        Kind::DigestMismatch,
        Kind::PackageNotInRepository,
        Kind::CacheDirectory,
        Kind::NoSpace,
        Kind::Stalled,
        Kind::SkopeoMissing,
        Kind::SkopeoTooOld,
        Kind::Cancelled,
        Kind::AccessDenied,
        Kind::InvalidSettings,
    ];

    #[test]
    fn every_kind_has_the_name_that_the_contract_lists() {
        let contract = include_str!("../../dbus/io.github.dnf5_oci.Backend1.xml");
        let list = contract.split("NAME being one of").nth(1).expect("a list");
        let list = list.split('.').next().expect("a sentence");
        let listed: Vec<_> = list
            .split([',', '\n'])
            .flat_map(str::split_whitespace)
            .filter(|word| *word != "and")
            .map(|word| format!("io.github.dnf5_oci.Error.{word}"))
            .collect();
        assert_eq!(KINDS.map(name).to_vec(), listed);
    }
}
