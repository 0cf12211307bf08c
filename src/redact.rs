//! Secrets, which no output shows.

use std::fmt;

/// Replaces a secret in output.
const HIDDEN: &str = "***";

/// A password, or a URL that may contain one. `Debug` prints `***` and there is no `Display`, so it does
/// not get into a log or a message by accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Returns the text, to pass it on to the program that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Removes everything that could be a secret: the user information of URLs (`//user:password@`), their
/// queries, which contain the signature of links to a registry's storage, and the word after an
/// authorization scheme.
pub fn without_secrets(message: &str) -> String {
    let mut clean = String::with_capacity(message.len());
    let mut follows_scheme = false;
    for word in message.split_inclusive(char::is_whitespace) {
        let text = word.trim_end();
        if follows_scheme && !text.is_empty() {
            clean.push_str(HIDDEN);
        } else {
            without_secrets_of_urls(text, &mut clean);
        }
        clean.push_str(&word[text.len()..]);
        if !text.is_empty() {
            follows_scheme = text.ends_with("Basic") || text.ends_with("Bearer");
        }
    }
    clean
}

/// Appends a word without the secrets in its URLs.
fn without_secrets_of_urls(word: &str, clean: &mut String) {
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let authority = after.split(['/', '"', '?', '#']).next().unwrap_or(after);
        let url = authority.rfind('@').map_or(after, |at| &after[at + 1..]);
        let end = url.find('"').unwrap_or(url.len());
        let Some(query) = url[..end].find('?') else {
            rest = url;
            continue;
        };
        clean.push_str(&url[..query]);
        rest = &url[end..];
    }
    clean.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret::from("x".to_owned()))), "Some(***)");
    }

    #[test]
    fn secrets_are_cut_out() {
        for (message, clean) in [
            ("Get \"https://user:pa@ss@host/v2/\": refused", "Get \"https://host/v2/\": refused"),
            ("proxyconnect http://u:p@proxy:3128 x@y", "proxyconnect http://proxy:3128 x@y"),
            ("https://host/a@b", "https://host/a@b"),
            ("a://b://c", "a://b://c"),
            (
                "Get \"https://cdn/b?X-Signature=1a&t=2b\": dial https://u:p@cdn?t=2b",
                "Get \"https://cdn/b\": dial https://cdn",
            ),
            ("Authorization: Bearer  e30.e30 sent", "Authorization: Bearer  *** sent"),
        ] {
            assert_eq!(without_secrets(message), clean);
        }
    }
}
