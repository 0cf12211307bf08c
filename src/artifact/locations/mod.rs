//! The tables of packages that a published repository has: where its packages are, and which ones have left
//! the metadata. dnf5-oci-layout(7), "Locations" and "Removed packages", defines the format.

mod search;

use std::io::{self, BufRead, BufReader, Read, Write};

use super::name;
use crate::checksum::{Algorithm, Checksum};
use crate::decompress::{Bounded, ErrorTap, HeaderBudget, decompress, expansion_limit};
use crate::error_kind::{Failure, Kind};
pub use search::Search;

/// The most packages that a table may have.
pub const MAX_PACKAGES: usize = 2_000_000;

/// The most segments that a table may have.
pub const MAX_SEGMENTS: usize = 10_000;

/// The longest location, in bytes; that of the primary metadata is the same.
const MAX_LOCATION: usize = 1024;

/// The longest line of a package, in bytes: the location, and the numbers before it.
const MAX_LINE: usize = MAX_LOCATION + 128;

/// The length of a segment's variant, in bytes.
const VARIANT: usize = 17;

/// The longest line with the variants, in bytes.
const MAX_VARIANTS: usize = MAX_SEGMENTS * (VARIANT + 1);

/// The largest table that is read, in bytes after decompression.
const MAX_TABLE: u64 = 1 << 30;

/// The level of compression. Checksums take most of a table, and no level makes them any smaller.
const LEVEL: i32 = 9;

/// Size of the buffer before the reader, in bytes.
const BUFFER: usize = 64 * 1024;

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Where the packages of the metadata are.
    Locations,
    /// Packages that have left the metadata.
    Removed,
}

/// A package in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its path, relative to the repository.
    pub location: String,
    /// The SHA-256 of its bytes, which is the digest of its blob.
    pub sha256: Checksum,
    /// Its size in bytes.
    pub size: u64,
    /// The number of its segment, counted from 0.
    pub segment: usize,
    /// When it left the metadata, in seconds since 1970; only in the table of removed packages.
    pub removed: Option<u64>,
}

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the stream failed: the table is not to blame.
    #[error(transparent)]
    Read(io::Error),
    /// It is not such a table.
    #[error("cannot parse the table of {table}: line {line}: {reason}")]
    Malformed {
        /// `locations` or `removed packages`.
        table: &'static str,
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

impl Table {
    /// Reads a table of this compressed size, in bytes, and hands every package to `visit`. Returns the
    /// variants of the segments.
    ///
    /// The stream is read to its end, also if the table is malformed, so that a checksum over it has been
    /// checked when this returns.
    ///
    /// # Errors
    /// [`Error::Read`] if the stream fails; otherwise if the table is malformed or too large.
    pub fn read(
        self,
        stream: impl Read,
        size: u64,
        visit: impl FnMut(Located),
    ) -> Result<Vec<String>, Error> {
        let mut stream = ErrorTap::new(stream);
        let mut line = 0;
        let result = self.parse(&mut stream, size, &mut line, visit);
        stream.drain();
        match stream.into_failure() {
            Some(error) => Err(Error::Read(error)),
            None => {
                result.map_err(|reason| Error::Malformed { table: self.describe(), line, reason })
            }
        }
    }

    /// Writes a table, compressed. The same packages make the same bytes, in whatever order.
    ///
    /// # Errors
    /// If the table could not be read again: it is too large, two packages have one location, or a location,
    /// variant or number is invalid.
    pub fn write(self, segments: &[String], packages: &[Located]) -> io::Result<Vec<u8>> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let variants = segments.join(" ");
        let mut rules = Rules::new(self, parse_variants(&variants).map_err(invalid)?.len());
        let mut sorted: Vec<_> = packages.iter().collect();
        sorted.sort_by_cached_key(|package| self.key(package));
        sorted.dedup();
        let mut output = zstd::Encoder::new(Vec::new(), LEVEL)?;
        writeln!(output, "{}\n{variants}", self.heading())?;
        for package in sorted {
            rules.check(package).map_err(|reason| {
                invalid(format!("package {:?}: {reason}", name::shown(&package.location)))
            })?;
            writeln!(output, "{}", self.line(package))?;
        }
        output.finish()
    }

    fn parse(
        self,
        stream: impl Read,
        size: u64,
        number: &mut usize,
        mut visit: impl FnMut(Located),
    ) -> Result<Vec<String>, String> {
        let text = decompress(stream).map_err(|error| error.to_string())?;
        let text = Bounded::new(text, expansion_limit(size, MAX_TABLE), HeaderBudget::default());
        let mut lines =
            Lines { text: BufReader::with_capacity(BUFFER, text), number, line: Vec::new() };
        let heading = lines.next(MAX_LINE)?;
        if heading != Some(self.heading()) {
            return Err(format!("expected {:?}", self.heading()));
        }
        let variants = parse_variants(lines.next(MAX_VARIANTS)?.ok_or("it ends early")?)?;
        let mut rules = Rules::new(self, variants.len());
        while let Some(line) = lines.next(MAX_LINE)? {
            let package = self.package(line)?;
            rules.check(&package)?;
            visit(package);
        }
        Ok(variants)
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Locations => "locations 1",
            Self::Removed => "removed 1",
        }
    }

    /// What it is a table of, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Locations => "locations",
            Self::Removed => "removed packages",
        }
    }

    /// What the lines are sorted by.
    fn key(self, package: &Located) -> String {
        match self {
            Self::Locations => package.location.clone(),
            Self::Removed => self.line(package),
        }
    }

    /// The line of a package, without its end.
    pub fn line(self, package: &Located) -> String {
        let Located { location, sha256, size, segment, removed } = package;
        let time = removed.map(|removed| format!("{removed} ")).unwrap_or_default();
        format!("{time}{} {size} {segment} {location}", sha256.hex())
    }

    fn package(self, line: &str) -> Result<Located, String> {
        let (removed, rest) = match self {
            Self::Locations => (None, line),
            Self::Removed => {
                let (time, rest) = field(line)?;
                (Some(number(time, "time")?), rest)
            }
        };
        let (hex, rest) = field(rest)?;
        let (size, rest) = field(rest)?;
        let (segment, location) = field(rest)?;
        let sha256 = Checksum::new(Algorithm::Sha256.name(), hex);
        let sha256 = sha256.ok().filter(|sha256| sha256.hex() == hex);
        Ok(Located {
            location: location.to_owned(),
            sha256: sha256.ok_or_else(|| format!("invalid checksum {:?}", name::shown(hex)))?,
            size: number(size, "size")?,
            segment: number(segment, "number of a segment")?,
            removed,
        })
    }
}

/// What holds for all packages of a table.
struct Rules {
    table: Table,
    segments: usize,
    packages: usize,
    /// The key of the package before.
    last: Option<String>,
}

impl Rules {
    fn new(table: Table, segments: usize) -> Self {
        Self { table, segments, packages: 0, last: None }
    }

    /// Checks the next package.
    fn check(&mut self, package: &Located) -> Result<(), String> {
        let Located { location, sha256, segment, removed, .. } = package;
        self.packages += 1;
        if self.packages > MAX_PACKAGES {
            return Err(format!("more than {MAX_PACKAGES} packages"));
        }
        if location.len() > MAX_LOCATION || name::relative(location) != Some(location) {
            return Err(format!("invalid location {:?}", name::shown(location)));
        }
        if sha256.algorithm() != Algorithm::Sha256 {
            return Err(format!("expected a sha256, got {sha256}"));
        }
        // Without segments, the number is 0.
        if *segment >= self.segments.max(1) {
            return Err(format!("there is no segment {segment}"));
        }
        if removed.is_some() != (self.table == Table::Removed) {
            return Err("only a removed package has a time".to_owned());
        }
        let key = self.table.key(package);
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err("it is out of order".to_owned());
        }
        self.last = Some(key);
        Ok(())
    }
}

/// The lines of a table.
struct Lines<'a, R> {
    text: R,
    number: &'a mut usize,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line, of at most `limit` bytes, if there is another one.
    fn next(&mut self, limit: usize) -> Result<Option<&str>, String> {
        *self.number += 1;
        self.line.clear();
        let mut bounded = (&mut self.text).take(limit as u64 + 1);
        bounded.read_until(b'\n', &mut self.line).map_err(|error| error.to_string())?;
        match self.line.split_last() {
            None => Ok(None),
            Some((b'\n', line)) => {
                str::from_utf8(line).map(Some).map_err(|error| error.to_string())
            }
            Some(_) if self.line.len() > limit => Err(format!("it is longer than {limit} bytes")),
            Some(_) => Err("it ends early".to_owned()),
        }
    }
}

/// The first field of a line, and the rest of it.
fn field(line: &str) -> Result<(&str, &str), String> {
    line.split_once(' ').ok_or_else(|| "it has too few fields".to_owned())
}

/// A number as a computer writes it: without a sign, and without zeros before it.
fn number<T: std::str::FromStr + ToString>(text: &str, what: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number: &T| number.to_string() == text);
    number.ok_or_else(|| format!("invalid {what} {:?}", name::shown(text)))
}

fn parse_variants(line: &str) -> Result<Vec<String>, String> {
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let variants: Vec<_> = line.split(' ').map(str::to_owned).collect();
    if variants.len() > MAX_SEGMENTS {
        return Err(format!("more than {MAX_SEGMENTS} segments"));
    }
    match variants.iter().find(|variant| !is_variant(variant)) {
        Some(variant) => Err(format!("invalid variant {:?}", name::shown(variant))),
        None => Ok(variants),
    }
}

/// Whether a text is `s` and hexadecimal digits. It becomes an argument of a command.
fn is_variant(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == VARIANT
        && text.strip_prefix('s').is_some_and(|digits| digits.bytes().all(is_digit))
}

#[cfg(test)]
mod tests;
