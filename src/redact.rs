//! Secrets, which no output shows.

mod escapes;

use std::fmt;
use std::ops::Range;

use escapes::View;

/// Replaces a secret in output.
const HIDDEN: &str = "***";

/// The part of a text that is searched for secrets, in bytes, and of this the part that is shown: if the end
/// of the first cuts a secret off, its beginning is not in the second.
const SEARCHED: usize = 32 << 10;
const SHOWN: usize = 16 << 10;

/// How often a secret may have been escaped, one way or another: as JSON in a quoted string of Go in a URL.
const ESCAPED: usize = 3;

/// The shortest secret that is looked for in encoded words. A shorter one would be found everywhere.
const MIN_ENCODED: usize = 3;

/// The shortest word that may be the encoded credentials of a program that we do not know.
const MIN_CREDENTIALS: usize = 12;

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

/// Secrets that a peer was given. It may repeat them in any form.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds a password or token.
    pub fn add(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.push(secret.to_owned().into());
        }
    }

    /// Adds a password, and what is sent for it by HTTP basic authentication.
    pub fn add_login(&mut self, username: &str, password: &str) {
        self.add(password);
        if !password.is_empty() {
            self.add(&format!("{username}:{password}"));
        }
    }

    /// Adds the password in a URL.
    pub fn add_url(&mut self, url: &str) {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let Some((login, _)) = rest.rsplit_once('@') else {
            return;
        };
        let decoded = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        let (username, password) = login.split_once(':').unwrap_or(("", login));
        self.add(password);
        self.add_login(&decoded(username), &decoded(password));
    }

    /// Adds other secrets.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Removes these secrets, whether plain, escaped or encoded, and everything that
    /// [`without_secrets`] removes. The end of a very long text is cut off.
    pub fn hide(&self, text: &str) -> String {
        let searched = beginning(text, SEARCHED);
        let mut hidden = vec![false; searched.len()];
        self.mark(&View::of(searched.as_bytes().to_vec()), ESCAPED, &mut hidden);
        let shown = replace(searched, &hidden);
        let end = if searched.len() < text.len() { SHOWN } else { shown.len() };
        without_secrets(beginning(&shown, end))
    }

    /// Marks the bytes of secrets in a view of the text, and in those with one escape less.
    fn mark(&self, view: &View, escaped: usize, hidden: &mut [bool]) {
        for secret in &self.0 {
            for found in view.find_all(secret.0.as_bytes()) {
                hidden[found].fill(true);
            }
        }
        for word in view.words(is_encoded) {
            // One escape, as of JSON, bounds the work for a text that is made to be slow.
            let stands_for_one = |bytes| self.is_in(&View::of(bytes), escaped.min(1));
            if are_credentials(word.bytes()) || decodings(word.bytes()).any(stands_for_one) {
                hidden[word.range()].fill(true);
            }
        }
        for word in view.words(|byte| is_encoded(byte) || byte == b'.') {
            // Any JSON web token (RFC 7519): the beginning of a JSON object in base64.
            if let Some(at) =
                position(word.bytes(), b"eyJ").filter(|_| word.bytes().contains(&b'.'))
            {
                hidden[word.from(at)].fill(true);
            }
        }
        if escaped > 0 {
            for less in view.unescaped() {
                self.mark(&less, escaped - 1, hidden);
            }
        }
    }

    /// Whether a secret is in the bytes that a word stands for.
    fn is_in(&self, view: &View, escaped: usize) -> bool {
        let mut long = self.0.iter().map(|secret| secret.0.as_bytes());
        long.any(|secret| secret.len() >= MIN_ENCODED && view.find_all(secret).next().is_some())
            || escaped > 0 && view.unescaped().any(|less| self.is_in(&less, escaped - 1))
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
            follows_scheme = is_scheme(text);
        }
    }
    clean
}

/// Whether a word ends in an authorization scheme that is followed by a secret. In lower case that is part
/// of sentences, as in "bearer token".
fn is_scheme(word: &str) -> bool {
    word.ends_with("Basic") || word.ends_with("Bearer")
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

/// At most `max` bytes of a text.
fn beginning(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// Replaces each run of hidden bytes.
fn replace(text: &str, hidden: &[bool]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut was_hidden = false;
    for (at, character) in text.char_indices() {
        let is_hidden = hidden[at..at + character.len_utf8()].contains(&true);
        match (was_hidden, is_hidden) {
            (_, false) => clean.push(character),
            (false, true) => clean.push_str(HIDDEN),
            (true, true) => {}
        }
        was_hidden = is_hidden;
    }
    clean
}

/// Whether a byte can be in a word in base64 (RFC 4648, with either alphabet), or in hexadecimal.
fn is_encoded(byte: u8) -> bool {
    sextet(byte).is_some()
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// What the word could stand for: it may have begun up to three characters later.
fn decodings(word: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let base64 = (0..word.len().min(4)).map(|start| base64(&word[start..]));
    let hexadecimal = (0..word.len().min(2)).map(|start| hexadecimal(&word[start..]));
    base64.chain(hexadecimal)
}

/// Decodes base64 without regard to its end, which a peer can cut off.
fn base64(word: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(word.len());
    for group in word.chunks(4) {
        let sextets = group.iter().filter_map(|byte| sextet(*byte));
        let bits = sextets.fold(0_u32, |bits, sextet| bits << 6 | u32::from(sextet));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        decoded.extend(&bytes[1..group.len()]);
    }
    decoded
}

fn hexadecimal(word: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = word.chunks_exact(2);
    pairs.map(|pair| digit(pair[0]).zip(digit(pair[1])).map_or(0, |(h, l)| h << 4 | l)).collect()
}

/// Whether a word is the base64 of `user:password`, as in a header and an auth file: a credential helper's
/// are unknown here.
fn are_credentials(word: &[u8]) -> bool {
    word.split(|byte| *byte == b'/').chain([word]).any(|word| {
        let has = |range: fn(&u8) -> bool| word.iter().any(range);
        word.len() >= MIN_CREDENTIALS
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && is_login(&base64(word))
    })
}

fn is_login(text: &[u8]) -> bool {
    let is_printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    text.iter().skip(1).any(|byte| *byte == b':') && text.iter().all(is_printable)
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// A word of a [`View`].
struct Word<'a> {
    view: &'a View,
    range: Range<usize>,
}

impl Word<'_> {
    fn bytes(&self) -> &[u8] {
        &self.view.bytes()[self.range.clone()]
    }

    /// Its bytes in the text.
    fn range(&self) -> Range<usize> {
        self.from(0)
    }

    /// The same without the bytes before `start`.
    fn from(&self, start: usize) -> Range<usize> {
        self.view.source(self.range.start + start..self.range.end)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn login(username: &str, password: &str) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add_login(username, password);
        secrets
    }

    /// The forms in which a secret can be repeated.
    fn forms(secret: &str) -> Vec<String> {
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let all = |format: fn(u8) -> String| secret.bytes().map(format).collect::<String>();
        let json = serde_json::to_string(secret).expect("text");
        vec![
            secret.to_owned(),
            secret.to_ascii_uppercase(),
            STANDARD.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            STANDARD.encode(format!("{{\"x\": {json}}}")),
            STANDARD.encode(format!("ab{secret}cd")),
            percent.to_lowercase(),
            percent.replace('%', "%25"),
            percent,
            all(|byte| format!("%{byte:02x}")),
            all(|byte| format!("\\x{byte:02x}")),
            all(|byte| format!("\\{byte:03o}")),
            all(|byte| format!("{byte:02X}")),
            json.replace('/', "\\/"),
            format!("{json:?}"),
            secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
            secret.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect(),
            secret.chars().map(|c| format!("&#{};", u32::from(c))).collect(),
            secret.chars().map(|c| format!("&#x{:x};", u32::from(c))).collect(),
            secret.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;"),
            secret.replace(' ', "+"),
            json,
        ]
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret::from("x".to_owned()))), "Some(***)");
        assert_eq!(format!("{:?}", login("u", "x")), "Secrets([***, ***])");
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        for password in ["the-password", "p\"w\\d/%41&<b> é😀", "aB3"] {
            let secrets = login("me", password);
            for secret in [password.to_owned(), format!("me:{password}")] {
                for form in forms(&secret) {
                    for text in [form.clone(), format!("denied: x{form} y"), format!("a/{form}/b")]
                    {
                        let clean = secrets.hide(&text);
                        assert!(clean.contains(HIDDEN), "{text:?} became {clean:?}");
                        assert!(!clean.contains(&form), "{text:?} became {clean:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let secrets = login("me", "the-password");
        for text in [
            "reading manifest 1 in quay.io/acme/rpms: manifest unknown",
            "unable to retrieve auth token: invalid username/password: unauthorized: incorrect",
            "pinging container registry h: Get \"https://h/v2/\": dial tcp: lookup h: no such host",
            "fetching blob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "(Mirrors also failed: [m.example/Acme_two/RPMS: 100%]): \\x \\u12 %zz &amp &#; é",
            "Requesting bearer token: received unexpected HTTP status: 403 Forbidden",
        ] {
            assert_eq!(secrets.hide(text), text);
        }
    }

    #[test]
    fn encoded_credentials_and_tokens_are_hidden_though_unknown() {
        let secrets = Secrets::default();
        let basic = STANDARD.encode("AWS:eyJwYXlsb2FkIjoi");
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2ln-_nature";
        for secret in [&basic, token] {
            for text in [format!("no {secret} yes"), format!("{{\\\"token\\\":\\\"{secret}\\\"}}")]
            {
                let clean = secrets.hide(&text);
                assert!(clean.contains(HIDDEN) && !clean.contains(secret), "{clean}");
            }
        }
    }

    #[test]
    fn the_password_of_a_url_is_a_secret() {
        let mut secrets = Secrets::default();
        secrets.add_url("http://me:p%40ss@proxy:3128");
        for text in ["p@ss", "p%40ss", "me:p@ss", &STANDARD.encode("me:p@ss")] {
            let clean = secrets.hide(&format!("no {text} yes"));
            assert_eq!(clean.replace("==", ""), "no *** yes");
        }
    }

    #[test]
    fn a_secret_that_is_cut_off_is_not_shown() {
        let secret = "0123456789abcdef".repeat(8);
        let text = format!("{}{secret}", "x ".repeat((SEARCHED - 40) / 2));
        let clean = login("me", &secret).hide(&text);
        assert!(!clean.contains("01234"), "{}", &clean[clean.len() - 100..]);
    }

    proptest! {
        #[test]
        fn no_form_of_a_secret_is_left(
            before in ".{0,20}", after in ".{0,20}", password in "[ -~é]{4,12}", form in 0_usize..24
        ) {
            let form = forms(&password).swap_remove(form);
            let clean = login("me", &password).hide(&format!("{before} {form} {after}"));
            prop_assert!(!clean.contains(&form), "{clean}");
        }
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
