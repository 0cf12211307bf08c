//! The one reader of tar layers, for repodata and packages alike.
//!
//! It never unpacks: it hands over regular files, one after the other, as a stream. Whatever else an
//! archive can hold is an error that names the member, for what comes from a registry is hostile.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::failure::{Failure, Kind};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window of a zstd stream, as a power of two: 128 MiB is what the zstd command allows
/// without being told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Buffered before decompression.
const BUFFER: usize = 128 * 1024;

/// The longest name of a member. Longer ones fit in no file system.
const MAX_NAME: usize = 4096;

/// The most bytes of a member that is not a file but describes the next one (GNU long names, pax
/// headers): the tar crate holds these in memory.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an archive may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many members, directories counted.
    pub members: u64,
    /// Bytes of one member.
    pub member_size: u64,
    /// Bytes that the whole archive expands to.
    pub total_size: u64,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream below failed: the archive is not to blame.
    #[error(transparent)]
    Read(io::Error),
    /// The bytes are no archive, or a damaged one.
    #[error("the tar layer is damaged: {0}")]
    Damaged(String),
    /// A member that is not allowed.
    #[error("the tar layer has {member:?}, {what}")]
    Member {
        /// Its name.
        member: String,
        /// What is wrong with it.
        what: Objection,
    },
    /// More members than allowed.
    #[error("the tar layer has more than {0} members")]
    TooMany(u64),
    /// More bytes than allowed.
    #[error("the tar layer expands to more than {0} bytes")]
    TooLarge(u64),
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// An absolute name, `..`, an empty or overlong one, control characters, not UTF-8.
    Name,
    /// A link, a device, or anything but a file or a directory.
    Kind,
    /// The second of that name.
    Duplicate,
    /// Larger than this many bytes.
    Size(u64),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(f, "which is not a safe name"),
            Self::Kind => write!(f, "which is neither a regular file nor a directory"),
            Self::Duplicate => write!(f, "twice"),
            Self::Size(limit) => write!(f, "which is larger than {limit} bytes"),
        }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

/// Reads an archive and hands every regular file to `visit`, with its name (relative, without `./`)
/// and size. The compression (none, gzip, zstd) is told by the first bytes.
///
/// The stream is read to its end, so that a digest over it has been checked when this returns.
///
/// # Errors
/// What `visit` returns; otherwise what is wrong with the archive or the stream.
pub fn read_archive<R, E>(
    stream: R,
    limits: &Limits,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E>
where
    R: Read,
    E: From<Error>,
{
    let mut failure = None;
    let source = BufReader::with_capacity(BUFFER, Remember { stream, failure: &mut failure });
    let result = decompress(source)
        .map_err(Stop::from)
        .and_then(|content| read_members(content, limits, &mut visit));
    match (failure, result) {
        (Some(error), Err(Stop::Archive(_))) => Err(Error::Read(error).into()),
        (_, Err(Stop::Archive(error))) => Err(error.into()),
        (_, Err(Stop::Visitor(error))) => Err(error),
        (_, Ok(())) => Ok(()),
    }
}

/// Whose error it was.
enum Stop<E> {
    Archive(Error),
    Visitor(E),
}

impl<E> From<io::Error> for Stop<E> {
    fn from(error: io::Error) -> Self {
        Self::Archive(damage(&error))
    }
}

fn damage(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Expanded>()) {
        Some(Expanded(limit)) => Error::TooLarge(*limit),
        None => Error::Damaged(error.to_string()),
    }
}

fn decompress<'a, R: BufRead + 'a>(mut source: R) -> io::Result<Box<dyn Read + 'a>> {
    let magic = source.fill_buf()?;
    Ok(if magic.starts_with(&GZIP_MAGIC) {
        Box::new(MultiGzDecoder::new(source))
    } else if magic.starts_with(&ZSTD_MAGIC) {
        let mut decoder = zstd::Decoder::with_buffer(source)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(source)
    })
}

fn read_members<E>(
    content: impl Read,
    limits: &Limits,
    visit: &mut impl FnMut(&str, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let allowance = Allowance::default();
    let limit = limits.total_size;
    let bounded = Bounded { content, limit, left: limit, allowance: allowance.clone() };
    let mut archive = Archive::new(bounded);
    let mut seen = HashSet::new();
    let mut members = Members { count: 0, limits };
    let mut entries = archive.entries()?;
    while let Some(entry) = allowance.during(|| entries.next()) {
        let entry = entry?;
        members.count().map_err(Stop::Archive)?;
        let Some(name) = members.check(&entry).map_err(Stop::Archive)? else {
            continue;
        };
        if !seen.insert(name.clone()) {
            return Err(Stop::Archive(objection(name, Objection::Duplicate)));
        }
        let size = entry.size();
        let mut content = Content { entry, left: size, failure: None };
        let visited = visit(&name, size, &mut content);
        // What is wrong with the archive is not the visitor's error, though it came upon it.
        if let Some(failure) = content.failure {
            return Err(failure.into());
        }
        visited.map_err(Stop::Visitor)?;
        io::copy(&mut content, &mut io::sink())?;
    }
    // What follows the end of the archive is not looked at, but it is part of the layer.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// The content of a member, which must be all there.
struct Content<R> {
    entry: R,
    left: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match self.entry.read(buffer) {
            Ok(0) if self.left > 0 && !buffer.is_empty() => {
                Err(io::Error::other("it ends within a member"))
            }
            result => result,
        };
        match result {
            Ok(read) => {
                self.left = self.left.saturating_sub(read as u64);
                Ok(read)
            }
            Err(error) => {
                self.failure = Some(error);
                Err(io::Error::other("the archive failed"))
            }
        }
    }
}

/// Holds members to the limits.
struct Members<'a> {
    count: u64,
    limits: &'a Limits,
}

impl Members<'_> {
    fn count(&mut self) -> Result<(), Error> {
        self.count += 1;
        if self.count > self.limits.members {
            return Err(Error::TooMany(self.limits.members));
        }
        Ok(())
    }

    /// The name of a member that is a file; nothing for a directory.
    fn check<R: Read>(&self, entry: &tar::Entry<'_, R>) -> Result<Option<String>, Error> {
        let raw = entry.path_bytes();
        let shown = String::from_utf8_lossy(&raw);
        let name = safe_name(&raw);
        match entry.header().entry_type() {
            EntryType::Directory if name.is_some() || is_root(&raw) => return Ok(None),
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
            _ => return Err(objection(shown, Objection::Kind)),
        }
        let name = name.ok_or_else(|| objection(shown.clone(), Objection::Name))?;
        if entry.size() > self.limits.member_size {
            return Err(objection(shown, Objection::Size(self.limits.member_size)));
        }
        Ok(Some(name))
    }
}

fn objection(member: impl Into<String>, what: Objection) -> Error {
    let mut member = member.into();
    if member.len() > 256 {
        member = member.chars().take(256).collect::<String>() + "…";
    }
    Error::Member { member, what }
}

/// The directory that the archive was made of: `./`.
fn is_root(raw: &[u8]) -> bool {
    matches!(raw, b"." | b"./")
}

/// A relative name of plain parts; `./` at its beginning is cut off.
fn safe_name(raw: &[u8]) -> Option<String> {
    if raw.len() > MAX_NAME {
        return None;
    }
    let name = std::str::from_utf8(raw).ok()?;
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let safe = !Path::new(name).is_absolute()
        && name.split('/').all(plain)
        && !name.contains(char::is_control);
    safe.then(|| name.to_owned())
}

/// Keeps the error of the stream below apart from those of the layers above it.
struct Remember<'a, R> {
    stream: R,
    failure: &'a mut Option<io::Error>,
}

impl<R: Read> Read for Remember<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).map_err(|error| {
            let kind = error.kind();
            *self.failure = Some(error);
            io::Error::new(kind, "the stream failed")
        })
    }
}

/// Ends an expansion that does not end by itself.
struct Bounded<R> {
    content: R,
    limit: u64,
    left: u64,
    allowance: Allowance,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
struct Expanded(u64);

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(Expanded(self.limit)))?;
        self.allowance.spend(read as u64)?;
        Ok(read)
    }
}

/// How much the tar crate may read from one member to the next. Beside headers these are the
/// extensions, which it holds in memory whatever size they claim.
#[derive(Clone, Default)]
struct Allowance(Rc<Cell<Option<u64>>>);

impl Allowance {
    fn during<T>(&self, advance: impl FnOnce() -> T) -> T {
        self.0.set(Some(MAX_EXTENSION));
        let result = advance();
        self.0.set(None);
        result
    }

    fn spend(&self, read: u64) -> io::Result<()> {
        match self.0.get().map(|left| left.checked_sub(read)) {
            None => Ok(()),
            Some(Some(left)) => {
                self.0.set(Some(left));
                Ok(())
            }
            Some(None) => Err(io::Error::other("a header of unreasonable size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;
    use tar::{Builder, Header};

    const LIMITS: Limits = Limits { members: 10, member_size: 1000, total_size: 100_000 };

    fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    }

    /// A tar of members with these types, names and contents, whatever they are.
    fn tar(members: &[(EntryType, &[u8], &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, content) in members {
            builder.append(&header(*kind, name, content.len() as u64), *content).expect("appended");
        }
        builder.into_inner().expect("finished")
    }

    fn files(members: &[(&str, &[u8])]) -> Vec<u8> {
        let members: Vec<_> = members
            .iter()
            .map(|(name, content)| (EntryType::Regular, name.as_bytes(), *content))
            .collect();
        tar(&members)
    }

    fn read_with(archive: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut found = Vec::new();
        read_archive(archive, limits, |name, size, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(|error| Error::Damaged(error.to_string()))?;
            assert_eq!(bytes.len() as u64, size);
            found.push((name.to_owned(), bytes));
            Ok::<_, Error>(())
        })?;
        Ok(found)
    }

    fn read(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Error> {
        read_with(archive, &LIMITS)
    }

    #[track_caller]
    fn refused(archive: &[u8]) -> String {
        read(archive).expect_err("refused").to_string()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("compressed");
        encoder.finish().expect("compressed")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).expect("compressed")
    }

    #[test]
    fn files_come_out_whatever_the_compression() {
        let plain = tar(&[
            (EntryType::Directory, b"./", b""),
            (EntryType::Directory, b"repodata/", b""),
            (EntryType::Regular, b"./repodata/a", b"one"),
            (EntryType::Regular, b"repodata/b", b""),
        ]);
        let expected =
            [("repodata/a".to_owned(), b"one".to_vec()), ("repodata/b".to_owned(), vec![])];
        for archive in [plain.clone(), gzip(&plain), zstd(&plain)] {
            assert_eq!(read(&archive).expect("read"), expected);
        }
        let (first, second) = plain.split_at(700);
        let two_members = [gzip(first), gzip(second)].concat();
        assert_eq!(read(&two_members).expect("read"), expected);
    }

    #[test]
    fn a_visitor_may_leave_content_unread() {
        let archive = files(&[("a", &[b'x'; 900]), ("b", b"y")]);
        let mut names = Vec::new();
        let result = read_archive(&archive[..], &LIMITS, |name, _, _| {
            names.push(name.to_owned());
            Ok::<_, Error>(())
        });
        result.expect("read");
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn unsafe_names_are_refused_by_name() {
        let names: [&[u8]; 9] = [
            b"/etc/x",
            b"../../etc/x",
            b"a/../b",
            b"a//b",
            b"a/./b",
            b"",
            b".",
            b"a\x1b[31m",
            b"\xff",
        ];
        for name in names {
            let error = refused(&tar(&[(EntryType::Regular, name, b"x")]));
            let shown = format!("{:?}", String::from_utf8_lossy(name));
            assert!(error.contains(&shown) && error.contains("not a safe name"), "{error}");
        }
    }

    #[test]
    fn only_files_and_directories_are_taken() {
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::new(b'Z'),
        ] {
            let error = refused(&tar(&[(kind, b"repodata/x", b"")]));
            assert!(error.contains("\"repodata/x\", which is neither"), "{kind:?}: {error}");
        }
    }

    #[test]
    fn duplicates_are_refused() {
        assert!(refused(&files(&[("a", b"1"), ("./a", b"2")])).contains("\"a\", twice"));
    }

    #[test]
    fn limits_hold() {
        let many: Vec<_> = (0..11).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert!(refused(&files(&many)).contains("more than 10 members"));
        assert!(refused(&files(&[("a", &[0; 1001])])).contains("\"a\", which is larger than 1000"));
        let bomb = [files(&[("a", b"1")]), vec![0; 200_000]].concat();
        for archive in [bomb.clone(), gzip(&bomb), zstd(&bomb)] {
            assert!(refused(&archive).contains("expands to more than 100000 bytes"));
        }
    }

    #[test]
    fn extensions_do_not_fill_the_memory() {
        let huge = Limits { total_size: u64::MAX, ..LIMITS };
        for kind in [EntryType::GNULongName, EntryType::XHeader] {
            let head = header(kind, b"././@LongLink", 1 << 30);
            let endless = head.as_bytes().chain(io::repeat(b'x'));
            let result = read_archive(endless, &huge, |_, _, _| Ok::<_, Error>(()));
            let error = result.expect_err("refused").to_string();
            assert!(error.contains("unreasonable size"), "{error}");
        }
    }

    #[test]
    fn damage_is_told_from_a_broken_stream() {
        let whole = gzip(&files(&[("a", &[7; 900])]));
        assert!(matches!(read(&whole[..whole.len() / 2]), Err(Error::Damaged(_))));
        assert!(matches!(read(b"no tar at all, but longer than nothing"), Err(Error::Damaged(_))));
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the registry's own words"))
            }
        }
        let stream = whole[..20].chain(Broken);
        let result = read_archive(stream, &LIMITS, |_, _, _| Ok::<_, Error>(()));
        match result {
            Err(Error::Read(error)) => assert_eq!(error.to_string(), "the registry's own words"),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn the_stream_is_read_to_its_end() {
        let archive = [files(&[("a", b"1")]), b"trailing".to_vec()].concat();
        let mut stream = &archive[..];
        read_archive(&mut stream, &LIMITS, |_, _, _| Ok::<_, Error>(())).expect("read");
        assert!(stream.is_empty());
    }

    proptest! {
        #[test]
        fn long_names_come_out_whole(length in prop::sample::select(vec![99_usize, 100, 101, 254, 255, 256, 257, 1000])) {
            let name = format!("repodata/{}", "n".repeat(length));
            let mut builder = Builder::new(Vec::new());
            let mut header = Header::new_gnu();
            header.set_size(1);
            header.set_cksum();
            builder.append_data(&mut header, &name, &b"x"[..]).expect("appended");
            let archive = builder.into_inner().expect("finished");
            prop_assert_eq!(read(&archive).expect("read"), [(name, b"x".to_vec())]);
        }

        #[test]
        fn no_bytes_make_it_panic(
            place in 0_usize..3000, byte: u8, cut in 0_usize..4000, packed in 0..3
        ) {
            let mut archive = files(&[("repodata/a", &[1; 600]), ("repodata/b", b"two")]);
            archive = match packed { 0 => archive, 1 => gzip(&archive), _ => zstd(&archive) };
            if let Some(target) = archive.get_mut(place) {
                *target = byte;
            }
            archive.truncate(cut.max(1));
            // Errors are fine.
            let _ = read(&archive);
        }
    }
}
