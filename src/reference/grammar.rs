//! The grammar of references, as the distribution project and containers/image have it
//! (distribution/reference, regexp.go).
//!
//! By hand: the one regular expression that says all of it takes longer to compile than everything
//! else that a private instance does before it answers dnf5.

use crate::checksum::{Algorithm, Checksum};

/// The longest path, in bytes.
const MAX_PATH: usize = 255;

/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

/// `HOST` or `HOST:PORT`: labels of letters, digits and inner hyphens, with dots between.
pub(super) fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    name.split('.').all(is_label) && is_port(port)
}

pub(super) fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Components of lower-case letters and digits, with slashes between; inside a component one dot,
/// one or two underscores, or any number of hyphens may part them.
pub(super) fn is_path(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_component = |component: &str| {
        let bytes = component.as_bytes();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.split(alphanumeric).all(|between| {
                matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-')
            })
    };
    text.len() <= MAX_PATH && text.split('/').all(is_component)
}

/// Letters, digits, underscores, dots and hyphens, the last two not first.
pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// `ALGORITHM:HEX`, of one of the algorithms that registries use.
pub(super) fn is_digest(text: &str) -> bool {
    use Algorithm::{Sha256, Sha384, Sha512};
    text.parse::<Checksum>().is_ok_and(|checksum| {
        matches!(checksum.algorithm(), Sha256 | Sha384 | Sha512) && checksum.to_string() == text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those for which it holds, and those for which it does not.
    #[track_caller]
    fn holds(what: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(what(text), "{text:?}");
        }
        for text in bad {
            assert!(!what(text), "{text:?}");
        }
    }

    #[test]
    fn hosts() {
        holds(
            is_host,
            &["quay.io", "localhost:5000", "127.0.0.1", "a", "xn--n3h.com", "A-b.C:1"],
            &["", ":5000", "a:", "a:b", "a:1:2", "-a", "a-", "a..b", ".a", "a_b", "a b", "ä.de"],
        );
    }

    #[test]
    fn paths() {
        let (long, too_long) = ("a".repeat(255), "a".repeat(256));
        holds(
            is_path,
            &["a", "a/b/c", "a.b", "a_b", "a__b", "a---b", "0/1-2_3.4", &long],
            &[
                "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "a-.b", "-a", "a-",
                "a_", ".a", "a b", "ä", &too_long,
            ],
        );
    }

    #[test]
    fn tags() {
        let (long, too_long) = ("a".repeat(128), "a".repeat(129));
        holds(
            is_tag,
            &["latest", "1", "_x", "V1.0-rc_2", "a..b", &long],
            &["", ".a", "-a", "a:b", "a/b", "a b", "é", &too_long],
        );
    }

    #[test]
    fn digests() {
        let hex = "0123456789abcdef".repeat(4);
        let sha512 = format!("sha512:{hex}{hex}");
        holds(
            is_digest,
            &[&format!("sha256:{hex}"), &sha512],
            &[
                "",
                &hex,
                "sha256:",
                "sha256:abc",
                &format!("sha256:{}", hex.to_uppercase()),
                &format!("sha256:{hex}0"),
                &format!("md5:{}", &hex[..32]),
                &format!("other:{hex}"),
            ],
        );
    }
}
