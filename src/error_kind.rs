//! The kinds of failure that callers can tell apart.
//!
//! Every layer has its own error type, whose text states one fact. The kind selects the D-Bus error
//! name, so that no front end parses an error's text.

/// The kind of a failure. Each variant is a D-Bus error name below `io.github.dnf5_oci.Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The reference is invalid: no registry host, an unknown scheme, a bad tag.
    InvalidReference,
    /// The registry has no such repository, tag or digest.
    NotFound,
    /// The registry requires credentials, or rejects the given ones.
    Unauthorized,
    /// The signature policy (containers-policy.json(5)) rejects the image.
    PolicyRejected,
    /// The registry cannot be reached, or reports a server error.
    Unreachable,
    /// The artifact does not have the layout of an RPM repository.
    BadRepository,
    /// The repository's metadata is damaged or hostile.
    BadMetadata,
    /// The size or checksum of a download is not the expected one.
    DigestMismatch,
    /// The repository has no such package.
    PackageNotInRepository,
    /// DNF's cache directory cannot be used.
    CacheDirectory,
    /// No space is left on the cache's file system.
    NoSpace,
    /// The registry stopped sending in the middle of a download.
    Stalled,
    /// skopeo is not installed.
    SkopeoMissing,
    /// The installed skopeo lacks a feature that is needed.
    SkopeoTooOld,
    /// The caller went away or the service is stopping.
    Cancelled,
    /// The caller may not do this.
    AccessDenied,
    /// The settings of the service are invalid or cannot be read.
    InvalidSettings,
}

/// An error that knows its [`Kind`].
pub trait Failure: std::error::Error {
    /// Returns the kind of the failure.
    fn kind(&self) -> Kind;
}

/// Formats an error and all its causes on one line, joined by `: `, as D-Bus and dnf5 show it.
///
/// A line break becomes a space. Other control characters are escaped, because a hostile registry
/// could use them to overwrite parts of a terminal.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let fact = cause.to_string();
        if !line.is_empty() {
            line.push_str(": ");
        }
        for character in fact.trim().chars() {
            match character {
                '\n' | '\r' | '\t' => line.push(' '),
                c if c.is_control() => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer\nfact")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner \u{1b}[31mfact")]
    struct Inner;

    #[test]
    fn a_chain_is_one_clean_line() {
        assert_eq!(one_line(&Outer(Inner)), "outer fact: inner \\u{1b}[31mfact");
    }
}
