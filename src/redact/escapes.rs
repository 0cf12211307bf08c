//! A text whose escape sequences have been replaced, and where each byte was in it.

use std::ops::Range;

use super::Word;

/// A text, with some of its escape sequences replaced.
pub(super) struct View {
    bytes: Vec<u8>,
    /// Where each byte, or the sequence that stands for it, is in the text.
    sources: Vec<Range<usize>>,
}

/// Decodes the escape sequence at the start of some bytes: what it stands for, and its length.
type Decode = fn(&[u8]) -> Option<(Vec<u8>, usize)>;

/// URLs, strings in JSON and Go, HTML. Each has a view of its own, since what looks like an escape sequence of
/// one can be text in another.
const DECODERS: [Decode; 3] = [percent, backslash, entity];

/// The longest entity of HTML that is decoded, `&#x10ffff;`.
const MAX_ENTITY: usize = 10;

impl View {
    /// The text as it is.
    pub(super) fn of(text: Vec<u8>) -> Self {
        let sources = (0..text.len()).map(|at| at..at + 1).collect();
        Self { bytes: text, sources }
    }

    /// The views in which one kind of escape sequence has been replaced, if there is one.
    pub(super) fn unescaped(&self) -> impl Iterator<Item = Self> {
        DECODERS.into_iter().filter_map(|decode| self.decoded(decode))
    }

    fn decoded(&self, decode: Decode) -> Option<Self> {
        let mut decoded = Self { bytes: Vec::new(), sources: Vec::new() };
        let mut at = 0;
        while at < self.bytes.len() {
            let (bytes, length) =
                decode(&self.bytes[at..]).unwrap_or_else(|| (vec![self.bytes[at]], 1));
            let source = self.source(at..at + length);
            decoded.sources.extend(bytes.iter().map(|_| source.clone()));
            decoded.bytes.extend(bytes);
            at += length;
        }
        (decoded.bytes.len() < self.bytes.len()).then_some(decoded)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a range of bytes is in the text.
    pub(super) fn source(&self, range: Range<usize>) -> Range<usize> {
        let last = range.end.max(range.start + 1) - 1;
        self.sources[range.start].start..self.sources[last].end
    }

    /// Where `part` is in the text, in upper or lower case, and with "+" for a space.
    pub(super) fn find_all(&self, part: &[u8]) -> impl Iterator<Item = Range<usize>> {
        let is_same = |(found, wanted): (&u8, &u8)| {
            found.eq_ignore_ascii_case(wanted) || (*found == b'+' && *wanted == b' ')
        };
        let windows = self.bytes.windows(part.len()).enumerate();
        windows
            .filter(move |(_, window)| window.iter().zip(part).all(is_same))
            .map(move |(at, window)| self.source(at..at + window.len()))
    }

    /// The longest runs of bytes that may be in a word.
    pub(super) fn words(&self, is_part: impl Fn(u8) -> bool) -> impl Iterator<Item = Word<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &self.bytes[at..];
            let start = at + rest.iter().position(|byte| is_part(*byte))?;
            let length = self.bytes[start..].iter().position(|byte| !is_part(*byte));
            at = length.map_or(self.bytes.len(), |length| start + length);
            Some(Word { view: self, range: start..at })
        })
    }
}

/// RFC 3986, 2.1.
fn percent(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = bytes.strip_prefix(b"%")?;
    Some((vec![u8::try_from(number(digits.get(..2)?, 16)?).ok()?], 3))
}

/// RFC 8259, 7, and "Rune literals" of Go's specification.
fn backslash(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let rest = bytes.strip_prefix(b"\\")?;
    let digits = |range: Range<usize>, radix| number(rest.get(range)?, radix);
    let byte = |byte: u8| Some((vec![byte], 2));
    match *rest.first()? {
        b'n' => byte(b'\n'),
        b't' => byte(b'\t'),
        b'r' => byte(b'\r'),
        b'b' => byte(8),
        b'f' => byte(12),
        b'a' => byte(7),
        b'v' => byte(11),
        b'x' => Some((vec![u8::try_from(digits(1..3, 16)?).ok()?], 4)),
        b'0'..=b'7' => Some((vec![u8::try_from(digits(0..3, 8)?).ok()?], 4)),
        b'u' => {
            let unit = digits(1..5, 16)?;
            match rest.get(5..7).filter(|_| (0xd800..0xdc00).contains(&unit)) {
                Some(b"\\u") => {
                    let low = digits(7..11, 16)?.checked_sub(0xdc00)?;
                    Some((utf8(0x10000 + ((unit - 0xd800) << 10) + low)?, 12))
                }
                _ => Some((utf8(unit)?, 6)),
            }
        }
        b'U' => Some((utf8(digits(1..9, 16)?)?, 10)),
        other => byte(other),
    }
}

/// A character reference of HTML.
fn entity(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let rest = bytes.strip_prefix(b"&")?;
    let end = rest.iter().take(MAX_ENTITY).position(|byte| *byte == b';')?;
    let character = match &rest[..end] {
        b"amp" => b"&".to_vec(),
        b"lt" => b"<".to_vec(),
        b"gt" => b">".to_vec(),
        b"quot" => b"\"".to_vec(),
        b"apos" => b"'".to_vec(),
        [b'#', b'x' | b'X', digits @ ..] => utf8(number(digits, 16)?)?,
        [b'#', digits @ ..] => utf8(number(digits, 10)?)?,
        _ => return None,
    };
    Some((character, end + 2))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, radix).ok()
}

fn utf8(character: u32) -> Option<Vec<u8>> {
    Some(char::from_u32(character)?.to_string().into_bytes())
}
