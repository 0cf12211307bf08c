//! The tables of packages that a published repository has: where its packages are, and which ones have left
//! the metadata. docs/layout.md, "Locations" and "Removed packages", defines the format.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::name;
use crate::checksum::{Algorithm, Checksum};
use crate::decompress::{Bounded, ErrorTap, HeaderBudget, decompress, expansion_limit};
use crate::error_kind::{Failure, Kind};

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

    fn describe(self) -> &'static str {
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

    fn line(self, package: &Located) -> String {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VARIANTS: [&str; 2] = ["s3f2a9c0b1d2e4f5a", "s9b1c000000000000"];
    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const TABLE: &str = "locations 1
s3f2a9c0b1d2e4f5a s9b1c000000000000
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 12034 0 Packages/h/hello-1-1.noarch.rpm
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 1 Packages/h/two words~1^2+3:4%5.rpm
";

    fn pack(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).expect("compressed")
    }

    fn read_packed(table: Table, packed: &[u8]) -> Result<(Vec<String>, Vec<Located>), Error> {
        let mut packages = Vec::new();
        let variants = table.read(packed, packed.len() as u64, |package| packages.push(package))?;
        Ok((variants, packages))
    }

    fn read(table: Table, text: &str) -> Result<(Vec<String>, Vec<Located>), Error> {
        read_packed(table, &pack(text))
    }

    fn located(location: &str, segment: usize, removed: Option<u64>) -> Located {
        let sha256 = Checksum::new("sha256", HEX).expect("valid");
        Located { location: location.to_owned(), sha256, size: 12034, segment, removed }
    }

    #[track_caller]
    fn refused(table: Table, text: &str, line: usize, reason: &str) {
        let error = read(table, text).expect_err(text).to_string();
        let expected = format!("cannot parse the table of {}: line {line}: ", table.describe());
        assert!(error.starts_with(&expected) && error.contains(reason), "{error}");
        assert!(error.len() < 300 && !error.contains(char::is_control), "{error}");
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let (variants, packages) = read(Table::Locations, TABLE).expect("valid");
        assert_eq!(variants, VARIANTS);
        assert_eq!(packages[0], located("Packages/h/hello-1-1.noarch.rpm", 0, None));
        let found = (packages[1].location.as_str(), packages[1].size, packages[1].segment);
        assert_eq!(found, ("Packages/h/two words~1^2+3:4%5.rpm", 0, 1));
        let reversed: Vec<_> = packages.into_iter().rev().collect();
        let written = Table::Locations.write(&variants, &reversed).expect("valid");
        assert_eq!(zstd::decode_all(&written[..]).expect("packed"), TABLE.as_bytes());
    }

    #[test]
    fn removed_packages_are_sorted_by_time() {
        let text =
            format!("removed 1\n\n10 {HEX} 12034 0 b\n11 {HEX} 12034 0 a\n11 {HEX} 12034 0 b\n");
        let (variants, packages) = read(Table::Removed, &text).expect("valid");
        let expected =
            [located("b", 0, Some(10)), located("a", 0, Some(11)), located("b", 0, Some(11))];
        assert_eq!((variants.len(), &packages[..]), (0, &expected[..]));
        let written = Table::Removed.write(&[], &[&expected[..], &expected[..1]].concat());
        let written = zstd::decode_all(&written.expect("valid")[..]).expect("packed");
        assert_eq!(written, text.as_bytes());
    }

    #[test]
    fn a_table_without_packages() {
        for table in [Table::Locations, Table::Removed] {
            let written = table.write(&[], &[]).expect("valid");
            assert_eq!(read_packed(table, &written).expect("valid"), (vec![], vec![]));
        }
    }

    #[test]
    fn a_malformed_line_is_named() {
        let changed = |from: &str, to: &str| TABLE.replacen(from, to, 1);
        let long = changed("Packages/h/hello", &"x".repeat(MAX_LOCATION));
        let longer = changed("Packages/h/hello", &"x".repeat(MAX_LINE));
        for (text, line, reason) in [
            ("", 1, "expected \"locations 1\""),
            ("locations 1", 1, "ends early"),
            ("removed 1\n\n", 1, "expected \"locations 1\""),
            ("locations 2\n\n", 1, "expected \"locations 1\""),
            ("locations 1\n", 2, "ends early"),
            (&changed("s9b1c", "S9b1c"), 2, "invalid variant"),
            (&changed("s9b1c", "--s9"), 2, "invalid variant"),
            (&changed(" s9b1c", "  s9b1c"), 2, "invalid variant \"\""),
            (&changed("e3b0", "E3b0"), 3, "invalid checksum"),
            (&changed("e3b0", "e3"), 3, "invalid checksum"),
            (&changed(" 12034 ", " +12034 "), 3, "invalid size \"+12034\""),
            (&changed(" 12034 ", " 012034 "), 3, "invalid size"),
            (&changed(" 12034 ", "  12034 "), 3, "invalid size \"\""),
            (&changed(" 12034 ", " 99999999999999999999 "), 3, "invalid size"),
            (&changed(" 12034 0 ", " 12034 2 "), 3, "there is no segment 2"),
            (&changed(" 12034 0 ", " 12034 -1 "), 3, "invalid number of a segment"),
            (&changed(" 12034 0 Packages", " Packages"), 3, "too few fields"),
            (&changed("Packages/h/hello", "../hello"), 3, "invalid location"),
            (&changed("Packages/h/hello", "/hello"), 3, "invalid location"),
            (&changed("Packages/h/hello", "./hello"), 3, "invalid location"),
            (&changed("Packages/h/hello", "a\u{1b}[31m"), 3, "invalid location"),
            (&changed("Packages/h/hello", "zz"), 4, "out of order"),
            (&long, 3, "invalid location"),
            (&longer, 3, "longer than 1152 bytes"),
            (TABLE.trim_end(), 4, "ends early"),
            (&format!("{TABLE}\n"), 5, "too few fields"),
        ] {
            refused(Table::Locations, text, line, reason);
        }
        let twice = format!("{TABLE}{}", TABLE.lines().last().expect("one").to_owned() + "\n");
        refused(Table::Locations, &twice, 5, "out of order");
        let removed = format!("removed 1\n\n{HEX} 12034 0 a\n");
        refused(Table::Removed, &removed, 3, "invalid time");
        refused(Table::Removed, &format!("removed 1\n\n1 {HEX} 1 1 a\n"), 3, "no segment 1");
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let mut bytes = TABLE.as_bytes().to_vec();
        bytes.extend(format!("{HEX} 1 1 Packages/z").bytes().chain([0xff, b'\n']));
        let error = read_packed(Table::Locations, &bytes).expect_err("refused").to_string();
        assert!(error.contains("line 5: invalid utf-8"), "{error}");
        let packed = pack(TABLE);
        let error = read_packed(Table::Locations, &packed[..packed.len() - 5]);
        let error = error.expect_err("refused").to_string();
        assert!(error.ends_with("incomplete frame"), "{error}");
    }

    #[test]
    fn there_are_limits() {
        let variants = vec![VARIANTS[0].to_owned(); MAX_SEGMENTS + 1];
        assert!(Table::Locations.write(&variants[1..], &[]).is_ok());
        let error = Table::Locations.write(&variants, &[]).expect_err("refused").to_string();
        assert_eq!(error, "more than 10000 segments");
        let text = format!("locations 1\n{}\n", variants.join(" "));
        refused(Table::Locations, &text, 2, "longer than 180000 bytes");
        let bomb = pack(&format!("{TABLE}{}", "x".repeat(80 << 20)));
        let error = read_packed(Table::Locations, &bomb).expect_err("refused").to_string();
        assert!(error.contains("longer than 1152 bytes"), "{error}");
        let mut rules = Rules::new(Table::Locations, 1);
        rules.packages = MAX_PACKAGES;
        let error = rules.check(&located("a", 0, None)).expect_err("refused");
        assert_eq!(error, "more than 2000000 packages");
    }

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let sha512 = Checksum::new("sha512", &HEX.repeat(2)).expect("valid");
        let other = Located { size: 1, ..located("a", 0, None) };
        for (packages, reason) in [
            (vec![located("a\nb", 0, None)], "package \"a\\nb\": invalid location"),
            (vec![located("../a", 0, None)], "invalid location"),
            (vec![located("a", 1, None)], "there is no segment 1"),
            (vec![located("a", 0, Some(1))], "only a removed package has a time"),
            (vec![Located { sha256: sha512, ..located("a", 0, None) }], "expected a sha256"),
            (vec![located("a", 0, None), other], "out of order"),
        ] {
            let error = Table::Locations.write(&[], &packages).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Table::Removed.write(&[], &[located("a", 0, None)]).is_err());
        assert!(Table::Removed.write(&["-s".to_owned()], &[]).is_err());
    }

    #[test]
    fn a_failure_of_the_stream_is_not_the_table_s() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the registry's own words"))
            }
        }
        let packed = pack(TABLE);
        for stream in [&packed[..], &packed[..9], b"<html>", b""] {
            let error = Table::Locations.read(stream.chain(Broken), 1000, |_| {});
            let error = error.expect_err("failed");
            assert!(matches!(error, Error::Read(_)), "{error}");
            assert_eq!(error.to_string(), "the registry's own words");
        }
    }

    fn any_located() -> impl Strategy<Value = Located> {
        let location = "[a-zA-Z0-9+~^:% é][a-zA-Z0-9.+~^:% é]{0,30}(/[a-z ]{1,9}){0,3}";
        (location, any::<[u8; 32]>(), any::<u64>(), 0_usize..2).prop_map(
            |(location, sha256, size, segment)| {
                let sha256 = Checksum::from_bytes(Algorithm::Sha256, &sha256);
                Located { location, sha256, size, segment, removed: None }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            is_removed in any::<bool>(),
            packages in proptest::collection::vec(any_located(), 0..40),
            time in 0_u64..3,
        ) {
            let table = if is_removed { Table::Removed } else { Table::Locations };
            let mut packages = packages;
            packages.sort_by(|one, other| one.location.cmp(&other.location));
            packages.dedup_by(|one, other| one.location == other.location);
            for (number, package) in packages.iter_mut().enumerate() {
                package.removed = is_removed.then_some(time * number as u64);
            }
            let variants = VARIANTS.map(str::to_owned);
            let written = table.write(&variants, &packages).expect("valid");
            let backwards: Vec<_> = packages.iter().rev().cloned().collect();
            prop_assert_eq!(&table.write(&variants, &backwards).expect("valid"), &written);
            let (found, mut read) = read_packed(table, &written).expect("valid");
            read.sort_by(|one, other| one.location.cmp(&other.location));
            prop_assert_eq!((found, read), (variants.to_vec(), packages));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,300}", cut in 0..TABLE.len()) {
            for text in [text.clone(), format!("locations 1\n\n{text}"), TABLE[..cut].to_owned()] {
                if let Err(error) = read(Table::Locations, &text) {
                    prop_assert!(error.to_string().len() < 1200);
                }
            }
        }
    }
}
