//! The kinds of failure a caller can tell apart.
//!
//! Every layer has an error type of its own that states one fact; the kind says which of the
//! interface's error names it goes by, so that no front end ever reads an error's text.

/// What went wrong, in the terms of the D-Bus interface: each variant is one error name below
/// `io.github.dnf5_oci.Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The reference is not one: no registry host, an unknown scheme, a bad tag.
    InvalidReference,
    /// The registry has no such repository, tag or digest.
    NotFound,
    /// The registry wants credentials, or others than it was given.
    Unauthorized,
    /// The signature policy (containers-policy.json(5)) refuses the image.
    PolicyRejected,
    /// The registry could not be reached, or answered that it is out of order.
    Unreachable,
    /// The artifact is not laid out as an RPM repository.
    BadRepository,
    /// The repodata is damaged or hostile.
    BadMetadata,
    /// Bytes are not those that their size or checksum promised.
    DigestMismatch,
    /// The repository has no such package.
    PackageNotInRepository,
    /// DNF's cache directory cannot be used.
    CacheDirectory,
    /// No space is left where the cache is.
    NoSpace,
    /// The registry stopped sending and did not go on.
    Stalled,
    /// There is no skopeo to run.
    SkopeoMissing,
    /// The skopeo there is cannot do what is needed.
    SkopeoTooOld,
    /// The caller went away or the service is stopping.
    Cancelled,
    /// The caller may not do this.
    AccessDenied,
    /// The service's own settings cannot be read.
    InvalidSettings,
}

/// An error that knows its [`Kind`].
pub trait Failure: std::error::Error {
    /// Which of the interface's errors this is.
    fn kind(&self) -> Kind;
}

/// The error and all its causes on one line, as D-Bus and dnf5 show it.
///
/// Control characters, which a hostile registry could use to write over a terminal, are shown
/// escaped; a line break becomes a space.
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
