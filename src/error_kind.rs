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

/// The most that a line for the user has, in characters.
pub const MAX_LINE: usize = 300;

/// Stands for what [`shortened`] leaves out.
const OMITTED: &str = " … ";

/// Formats an error and all its causes on one line, joined by `: `, as D-Bus and dnf5 show it: at most
/// [`MAX_LINE`] characters, all of them [`printable`].
pub fn one_line(error: &dyn std::error::Error) -> String {
    shortened(&facts(error), MAX_LINE)
}

/// The same, however long it is.
pub fn facts(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let facts: Vec<_> = causes.map(|cause| printable(cause.to_string().trim())).collect();
    facts.join(": ")
}

/// A text on one line. A line break becomes a space. Characters that a terminal does not show as they are,
/// such as control and format characters, are escaped: a hostile registry could use them to overwrite parts
/// of the terminal, or to turn the text around.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            '\'' | '"' | '\\' => line.push(character),
            // Also what has no width: combining characters can be piled up without end.
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

/// A text without its middle, if it has more than `max` characters. The beginning says what failed, the end,
/// of which more is kept, why.
pub fn shortened(text: &str, max: usize) -> String {
    let length = text.chars().count();
    if length <= max {
        return text.to_owned();
    }
    let shown = max.saturating_sub(OMITTED.chars().count());
    let head: String = text.chars().take(shown / 3).collect();
    let tail: String = text.chars().skip(length - (shown - shown / 3)).collect();
    format!("{}{OMITTED}{}", head.trim_end(), tail.trim_start())
}

/// A number of things: `1 package`, `2 packages`.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn characters_that_deceive_are_escaped() {
        for (text, expected) in [
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\u{200b}b\u{feff}\u{2066}", "a\\u{200b}b\\u{feff}\\u{2066}"),
            ("a\u{2028}b\u{2029}c\u{85}", "a\\u{2028}b\\u{2029}c\\u{85}"),
            (
                "\u{e000}\u{e0041}\u{378}\u{fe0f}\u{301}",
                "\\u{e000}\\u{e0041}\\u{378}\\u{fe0f}\\u{301}",
            ),
            ("\"Äö\" 'ß' \\ 中 😀", "\"Äö\" 'ß' \\ 中 😀"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn the_middle_of_a_long_text_is_left_out() {
        assert_eq!(shortened("0123456789", 10), "0123456789");
        assert_eq!(shortened("0123456789abc", 10), "01 … 89abc");
        assert_eq!(shortened("éééééééééééé", 6), "é … éé");
    }

    proptest! {
        #[test]
        fn a_line_is_bounded_and_printable(text in "\\PC*|.*|(?s).{0,700}") {
            let line = printable(&text);
            prop_assert!(line.chars().all(|c| c == ' ' || !c.is_whitespace() && !c.is_control()));
            prop_assert_eq!(&printable(&line), &line);
            prop_assert!(shortened(&line, MAX_LINE).chars().count() <= MAX_LINE);
        }
    }
}
