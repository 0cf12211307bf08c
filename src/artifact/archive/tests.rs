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
    read_archive(archive, limits, Rules::Strict, |member| {
        let Member::File { name, size, content, .. } = member else { unreachable!("a link") };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|error| Error::Damaged(error.to_string()))?;
        assert_eq!(bytes.len() as u64, size);
        found.push((name.to_owned(), bytes));
        Ok::<_, Error>(())
    })?;
    Ok(found)
}

fn name_of<'a>(member: &'a Member<'_>) -> &'a str {
    match member {
        Member::File { name, .. } | Member::Link { name, .. } => name,
    }
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
    let expected = [("repodata/a".to_owned(), b"one".to_vec()), ("repodata/b".to_owned(), vec![])];
    for archive in [plain.clone(), gzip(&plain), zstd(&plain), xz(6, &plain), bzip2(&plain)] {
        assert_eq!(read(&archive).expect("read"), expected);
    }
    let (first, second) = plain.split_at(700);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 0, 0].to_vec();
    for parts in [
        [vec![], gzip(first), gzip(second)],
        [vec![], zstd(first), zstd(second)],
        [vec![], xz(6, first), xz(6, second)],
        [vec![], bzip2(first), bzip2(second)],
        [skippable, zstd(first), zstd(second)],
    ] {
        assert_eq!(read(&parts.concat()).expect("read"), expected);
    }
}

#[test]
fn a_visitor_may_leave_content_unread() {
    let archive = files(&[("a", &[b'x'; 900]), ("b", b"y")]);
    let mut names = Vec::new();
    let result = read_archive(&archive[..], &LIMITS, Rules::Strict, |member| {
        names.push(name_of(&member).to_owned());
        Ok::<_, Error>(())
    });
    result.expect("read");
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn unsafe_names_are_refused_by_name() {
    let names: [&[u8]; 9] =
        [b"/etc/x", b"../../etc/x", b"a/../b", b"a//b", b"a/./b", b"", b".", b"a\x1b[31m", b"\xff"];
    for name in names {
        let error = refused(&tar(&[(EntryType::Regular, name, b"x")]));
        let shown = format!("{:?}", String::from_utf8_lossy(name));
        assert!(error.contains(&shown) && error.contains("unsafe name"), "{error}");
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
        assert!(
            error.contains("\"repodata/x\" in the tar layer: neither a regular file"),
            "{kind:?}: {error}"
        );
    }
}

#[test]
fn duplicates_are_refused() {
    assert!(
        refused(&files(&[("a", b"1"), ("./a", b"2")]))
            .contains("\"a\" in the tar layer: duplicate name")
    );
    let directories =
        [(EntryType::Directory, &b"a/"[..], &b""[..]), (EntryType::Directory, b"a", b"")];
    assert_eq!(read(&tar(&directories)).expect("read"), []);
}

#[test]
fn sparse_files_are_refused() {
    let mut gnu = header(EntryType::GNUSparse, b"repodata/x", 0);
    let end = tar(&[]);
    gnu.as_gnu_mut().expect("a GNU header").realsize = *b"00000000000\0";
    gnu.set_cksum();
    let error = refused(&[gnu.as_bytes(), &end[..]].concat());
    assert!(error.contains("\"repodata/x\" in the tar layer: neither a regular file"), "{error}");

    let records: &[u8] = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n";
    let error = refused(&tar(&[
        (EntryType::XHeader, b"pax", records),
        (EntryType::Regular, b"repodata/x", b"1\n"),
    ]));
    assert!(error.contains("\"repodata/x\" in the tar layer: neither a regular file"), "{error}");
}

#[test]
fn pax_headers_are_heeded() {
    let records = b"24 path=repodata/primary\n".as_slice();
    assert_eq!(records.len(), 25, "the length counts itself, so this record is damaged");
    let pax = |records| {
        tar(&[(EntryType::XHeader, b"pax", records), (EntryType::Regular, b"short", b"x")])
    };
    assert!(matches!(read(&pax(records)), Err(Error::Damaged(_))));
    let found = read(&pax(b"25 path=repodata/primary\n")).expect("read");
    assert_eq!(found, [("repodata/primary".to_owned(), b"x".to_vec())]);
    assert!(
        refused(&pax(b"18 path=../../etc\n")).contains("\"../../etc\" in the tar layer: unsafe")
    );
    let error = refused(&pax(b"25 size=9999999999999999\n"));
    assert!(error.contains("\"short\" in the tar layer: larger than 1000 bytes"), "{error}");
}

#[test]
fn limits_hold() {
    let many: Vec<_> = (0..11).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert!(refused(&files(&many)).contains("more than 10 members"));
    assert!(refused(&files(&[("a", &[0; 1001])])).contains("larger than 1000 bytes"));
    let bomb = [files(&[("a", b"1")]), vec![0; 200_000]].concat();
    for archive in [bomb.clone(), gzip(&bomb), zstd(&bomb)] {
        assert!(refused(&archive).contains("expands to more than 100000 bytes"));
    }
}

#[test]
fn limits_hold_within_a_member() {
    let archive = files(&[("a", &[0; 900]), ("b", &[0; 900])]);
    let tight = Limits { total_size: 1200, ..LIMITS };
    assert!(matches!(read_with(&archive, &tight), Err(Error::TooLarge(1200))), "read");
    let unread = read_archive(&archive[..], &tight, Rules::Strict, |_| Ok::<_, Error>(()));
    assert!(matches!(unread, Err(Error::TooLarge(1200))), "passed over: {unread:?}");
    let exact = Limits { total_size: archive.len() as u64, ..LIMITS };
    assert_eq!(read_with(&archive, &exact).expect("read").len(), 2);
}

fn zstd_with_window(log: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(log).expect("set");
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

fn xz(preset: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), preset);
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

#[test]
fn a_window_or_dictionary_larger_than_allowed_is_refused() {
    let plain = files(&[("a", b"1")]);
    for modest in [zstd_with_window(23, &plain), xz(6, &plain)] {
        assert_eq!(read(&modest).expect("read").len(), 1);
    }
    for greedy in [zstd_with_window(24, &plain), zstd_with_window(27, &plain), xz(9, &plain)] {
        let error = refused(&greedy);
        assert!(error.contains("larger than 8 MiB; have its owner compress it with"), "{error}");
    }
}

#[test]
fn a_directory_may_have_more_than_packages() {
    let mut symlink = header(EntryType::Symlink, b"Packages/latest.rpm", 0);
    let mut outside = header(EntryType::Symlink, b"Packages/outside.rpm", 0);
    let mut hard = header(EntryType::Link, b"Packages/hard.rpm", 0);
    for (link, target) in
        [(&mut symlink, "./a.rpm"), (&mut outside, "../../a.rpm"), (&mut hard, "Packages/a.rpm")]
    {
        link.set_link_name(target).expect("set");
        link.set_cksum();
    }
    let rest = tar(&[
        (EntryType::Fifo, b"Packages/fifo", b""),
        (EntryType::Char, b"Packages/device", b""),
        (EntryType::Regular, b"../escaped.rpm", b"x"),
        (EntryType::Regular, b"Packages/large.rpm", &[0; 1001]),
        (EntryType::Regular, b"./Packages/a.rpm", b"one"),
    ]);
    let links: Vec<u8> =
        [symlink, outside, hard].iter().flat_map(|header| header.as_bytes().to_vec()).collect();
    let mut found = Vec::new();
    let read = read_archive(&[links, rest].concat()[..], &LIMITS, Rules::Lenient, |member| {
        found.push(match member {
            Member::File { name, size, .. } => format!("{name} {size}"),
            Member::Link { name, target } => format!("{name} -> {target}"),
        });
        Ok::<_, Error>(())
    });
    read.expect("read");
    let links = ["Packages/latest.rpm -> Packages/a.rpm", "Packages/hard.rpm -> Packages/a.rpm"];
    assert_eq!(found, [links[0], links[1], "Packages/a.rpm 3"]);
}

#[test]
fn extensions_do_not_fill_the_memory() {
    let huge = Limits { total_size: u64::MAX, ..LIMITS };
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let head = header(kind, b"././@LongLink", 1 << 30);
        // A blob ends by its size in the manifest.
        let long = head.as_bytes().chain(io::repeat(b'x')).take(1 << 26);
        let result = read_archive(long, &huge, Rules::Strict, |_| Ok::<_, Error>(()));
        let error = result.expect_err("refused").to_string();
        assert!(error.contains("a header or element larger than 1048576 bytes"), "{error}");
    }
}

#[test]
fn damage_is_not_confused_with_a_broken_stream() {
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
    let result = read_archive(stream, &LIMITS, Rules::Strict, |_| Ok::<_, Error>(()));
    match result {
        Err(Error::Read(error)) => assert_eq!(error.to_string(), "the registry's own words"),
        other => unreachable!("{other:?}"),
    }
}

/// Gives one byte at a time, then an error or the end.
struct Trickle<'a> {
    bytes: &'a [u8],
    last: Option<io::Error>,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                buffer[0] = *first;
                self.bytes = rest;
                Ok(1)
            }
            None => self.last.take().map_or(Ok(0), Err),
        }
    }
}

fn count(stream: impl Read) -> Result<u32, Error> {
    let mut count = 0;
    read_archive(stream, &LIMITS, Rules::Strict, |_| {
        count += 1;
        Ok::<_, Error>(())
    })?;
    Ok(count)
}

#[test]
fn a_stream_may_come_byte_by_byte() {
    let plain = files(&[("a", b"1"), ("b", b"2")]);
    for archive in [plain.clone(), gzip(&plain), zstd(&plain)] {
        let mut start = Trickle { bytes: &archive[..30], last: None };
        let interrupted = Trickle { bytes: b"", last: Some(io::ErrorKind::Interrupted.into()) };
        let rest = Trickle { bytes: &archive[30..], last: None };
        assert_eq!(count(start.by_ref().chain(interrupted).chain(rest)).expect("read"), 2);
    }
}

#[test]
fn the_stream_is_read_to_its_end() {
    // A digest that is wrong shows only there.
    let plain = files(&[("a", b"1")]);
    let trailing = [plain.clone(), b"trailing".to_vec()].concat();
    for archive in [plain.clone(), trailing, gzip(&plain), zstd(&plain)] {
        let wrong = io::Error::other("another digest");
        let end = Trickle { bytes: b"", last: Some(wrong) };
        match count(archive.chain(end)) {
            Err(Error::Read(error)) => assert_eq!(error.to_string(), "another digest"),
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn wrong_bytes_that_look_like_damage_are_the_stream_s() {
    let mut archive = gzip(&files(&[("a", &[7; 900])]));
    archive[20] ^= 1;
    archive.resize(300_000, 0);
    assert!(matches!(count(&archive[..]), Err(Error::Damaged(_))));
    let wrong = io::Error::other("another digest");
    match count(archive.chain(Trickle { bytes: b"", last: Some(wrong) })) {
        Err(Error::Read(error)) => assert_eq!(error.to_string(), "another digest"),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_visitor_s_error_comes_out() {
    let archive = files(&[("a", b"1"), ("b", b"2")]);
    let mut seen = Vec::new();
    let result = read_archive(&archive[..], &LIMITS, Rules::Strict, |member| {
        seen.push(name_of(&member).to_owned());
        Err(Error::TooMany(7))
    });
    assert!(matches!(result, Err(Error::TooMany(7))));
    assert_eq!(seen, ["a"]);
}

#[test]
fn an_archive_ends_with_its_end_marker() {
    // The content of a is one block, its header another; the rest is the end marker.
    let archive = files(&[("a", &[7; 512])]);
    assert!(read(&archive[..1024 + 512]).is_ok());
    for cut in [0, 511, 512, 700, 1023, 1024, 1100] {
        let result = read(&archive[..cut]);
        assert!(matches!(result, Err(Error::Damaged(_))), "{cut}: {result:?}");
    }
    let packed = zstd(&archive);
    assert!(matches!(read(&packed[..packed.len() - 1]), Err(Error::Damaged(_))));
    let packed = gzip(&archive);
    assert!(matches!(read(&packed[..packed.len() - 1]), Err(Error::Damaged(_))), "its checksum");
}

#[test]
fn overlong_names_are_refused_and_shown_in_part() {
    let named = |length: usize| {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(0);
        builder.append_data(&mut header, "n/".repeat(length / 2), &b""[..]).expect("appended");
        builder.into_inner().expect("finished")
    };
    assert_eq!(read(&named(4096)).expect("read").len(), 1);
    let error = refused(&named(4098));
    assert!(error.contains("n/n/…\" in the tar layer: unsafe name"), "{error}");
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
    fn only_safe_names_come_out(name in prop::collection::vec(any::<u8>(), 1..300)) {
        let mut archive = Vec::new();
        let terminated = [&name[..], b"\0"].concat();
        let long = tar(&[(EntryType::GNULongName, b"././@LongLink", &terminated)]);
        archive.extend_from_slice(&long[..512 + terminated.len().next_multiple_of(512)]);
        archive.extend(files(&[("short", b"x")]));
        match read(&archive) {
            Ok(found) => {
                let shown = found[0].0.as_str();
                prop_assert_eq!(name::relative(shown), Some(shown));
                prop_assert!(!shown.starts_with('/') && !shown.contains('\0'));
            }
            Err(error) => prop_assert!(matches!(error, Error::Member { .. }), "{}", error),
        }
    }

    #[test]
    fn random_bytes_are_damaged(bytes in prop::collection::vec(any::<u8>(), 0..3000), packed in 0..3) {
        let archive = match packed { 0 => bytes, 1 => gzip(&bytes), _ => zstd(&bytes) };
        prop_assert!(read(&archive).is_err());
    }

    #[test]
    fn changed_bytes_never_make_it_panic(
        changes in prop::collection::vec((0_usize..3000, any::<u8>()), 1..8), cut in 1_usize..4000, packed in 0..3
    ) {
        let mut archive = tar(&[
            (EntryType::XHeader, b"pax", b"19 path=repodata/a\n"),
            (EntryType::Regular, b"a", &[1; 600]),
            (EntryType::GNULongName, b"././@LongLink", b"repodata/b\0"),
            (EntryType::Regular, b"b", b"two"),
        ]);
        archive = match packed { 0 => archive, 1 => gzip(&archive), _ => zstd(&archive) };
        for (place, byte) in changes {
            if let Some(target) = archive.get_mut(place) {
                *target = byte;
            }
        }
        archive.truncate(cut);
        // Errors are fine.
        let _ = read(&archive);
    }
}
