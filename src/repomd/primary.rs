//! primary.xml: the packages of a repository.

use std::io::Read;

use super::Error;
use super::error::Reason;
use super::xml::{Item, Wanted, read_items};
use crate::checksum::Checksum;
use crate::decompress::{ErrorTap, decompress, expansion_limit};

/// The largest primary.xml that is read, in bytes after decompression. Those of the largest
/// distributions have some hundred megabytes.
const MAX_PRIMARY: u64 = 2 << 30;

/// The most packages that are read. An index of them takes 100 MB on disk.
const MAX_PACKAGES: u64 = 2_000_000;

/// One package, as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Package {
    /// Its path, relative to the repository.
    pub location: String,
    /// The expected checksum of the file.
    pub checksum: Checksum,
    /// Its size in bytes.
    pub size: u64,
}

/// Reads primary.xml of this size, which may be compressed, and hands every package to `visit`.
///
/// The stream is read to its end, also if the document is malformed, so that a checksum over it has been
/// checked when this returns.
///
/// # Errors
/// [`Error::Read`] if the stream fails; otherwise if the document is malformed or too large, or a package
/// lacks its location, checksum or size.
pub fn read_primary(
    stream: impl Read,
    size: u64,
    mut visit: impl FnMut(Package),
) -> Result<(), Error> {
    read_packages(stream, size, Wanted::Usual, |item| {
        visit(Package::new(item)?);
        Ok(())
    })
}

/// Reads primary.xml and hands the wanted fields of every package to `visit`.
pub(super) fn read_packages(
    stream: impl Read,
    size: u64,
    wanted: Wanted,
    visit: impl FnMut(&Item) -> Result<(), Reason>,
) -> Result<(), Error> {
    let mut stream = ErrorTap::new(stream);
    let result = parse(&mut stream, expansion_limit(size, MAX_PRIMARY), wanted, visit);
    stream.drain();
    match stream.into_failure() {
        Some(error) => Err(Error::Read(error)),
        None => result.map_err(|reason| reason.in_document("primary.xml")),
    }
}

fn parse(
    stream: impl Read,
    limit: u64,
    wanted: Wanted,
    mut visit: impl FnMut(&Item) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let mut count = 0;
    read_items(decompress(stream)?, limit, ["metadata", "package"], wanted, |item| {
        count += 1;
        if count > MAX_PACKAGES {
            return Err(format!("it lists more than {MAX_PACKAGES} packages").into());
        }
        visit(&item)
    })
}

impl Package {
    pub(super) fn new(item: &Item) -> Result<Self, String> {
        let location = item.location().map_err(|problem| format!("a package {problem}"))?;
        let of_package = |problem| format!("package {location:?} {problem}");
        Ok(Self {
            location: location.to_owned(),
            checksum: item.checksum().map_err(of_package)?,
            size: item
                .size()
                .and_then(|size| size.ok_or("has no size".into()))
                .map_err(of_package)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, ErrorKind};

    const PRIMARY: &str = r#"<?xml version="1.0"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" packages="1">
<package type="rpm"><name>a</name>
  <checksum type="sha256" pkgid="YES">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
  <size package="5" installed="6" archive="7"/>
  <location href="p/a&amp;b.rpm"/>
  <format><file>/x</file><location href="deeper"/></format>
</package></metadata>"#;

    fn read(stream: impl Read) -> Result<Vec<Package>, Error> {
        let mut listed = Vec::new();
        read_primary(stream, 1 << 20, |package| listed.push(package))?;
        Ok(listed)
    }

    #[track_caller]
    fn refused(xml: &str) -> String {
        let error = read(xml.as_bytes()).expect_err("refused");
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        let error = error.to_string();
        assert!(error.starts_with("cannot parse primary.xml: ") && error.len() < 400, "{error}");
        error
    }

    /// A stream that fails at its end, as that of a blob does when its digest is wrong.
    fn failing(bytes: &[u8]) -> impl Read {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(ErrorKind::TimedOut, "the registry's own words"))
            }
        }
        bytes.chain(Broken)
    }

    #[test]
    fn packages_are_handed_over_with_what_finds_them() {
        let packed = zstd::encode_all(PRIMARY.as_bytes(), 1).expect("compressed");
        for stream in [PRIMARY.as_bytes(), &packed] {
            let listed = read(stream).expect("well-formed");
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].location, "p/a&b.rpm");
            assert_eq!(listed[0].size, 5);
            assert!(listed[0].checksum.to_string().starts_with("sha256:e3b0c4"));
        }
    }

    #[test]
    fn incomplete_packages_are_refused() {
        for (from, to, reason) in [
            ("checksum", "check", "package \"p/a&b.rpm\" has no checksum"),
            ("e3b0", "", "has an invalid checksum \"sha256:c442"),
            ("package=\"5\"", "", "package \"p/a&b.rpm\" has no size"),
            ("location href=\"p", "place href=\"p", "a package has no location"),
        ] {
            let error = refused(&PRIMARY.replace(from, to));
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn other_documents_and_parts_of_this_one_are_refused() {
        for (xml, reason) in [
            ("", "ends early"),
            ("<repomd/>", "another document"),
            ("<metadata/><metadata/>", "another document"),
            (PRIMARY.trim_end_matches("</metadata>"), "ends early"),
            (&PRIMARY[..300], "before end of input"),
            ("<metadata><a></metadata>", "ill-formed"),
        ] {
            let error = refused(xml);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_failure_of_the_stream_is_not_the_document_s() {
        let packed = zstd::encode_all(PRIMARY.as_bytes(), 1).expect("compressed");
        let part = &PRIMARY.as_bytes()[..100];
        // Wrong bytes from a mirror are often no XML; only the digest tells.
        for stream in [part, PRIMARY.as_bytes(), &packed, &packed[..40], b"<metadata></a>", b""] {
            match read(failing(stream)) {
                Err(Error::Read(error)) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    assert_eq!(error.to_string(), "the registry's own words");
                }
                other => unreachable!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_damaged_stream_is_the_document_s() {
        let packed = zstd::encode_all(PRIMARY.as_bytes(), 1).expect("compressed");
        let error = read(&packed[..packed.len() - 5]).expect_err("damaged");
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert_eq!(error.to_string(), "cannot parse primary.xml: incomplete frame");
    }

    #[test]
    fn it_expands_within_its_limit() {
        let comment = format!("<!--{}-->", " ".repeat(1 << 16));
        let whole = format!("<metadata>{}</metadata>", comment.repeat(1100));
        let packed = zstd::encode_all(whole.as_bytes(), 3).expect("compressed");
        let read = |size| read_primary(&packed[..], size, |_| {});
        read(whole.len() as u64).expect("it is as large as it says");
        let error = read(packed.len() as u64).expect_err("refused").to_string();
        assert!(error.contains("more than"), "{error}");
    }

    #[test]
    fn an_element_does_not_fill_the_memory() {
        for start in ["<metadata><package><checksum>", "<metadata x=\"", "<!--"] {
            let long = start.as_bytes().chain(io::repeat(b'x')).take(1 << 24);
            let error = read(long).expect_err("refused").to_string();
            assert!(error.contains("a header or element larger than 1048576 bytes"), "{error}");
        }
        let deep = "<metadata>".to_owned() + &"<package>".repeat(40);
        assert!(refused(&deep).contains("nested more than 32 levels deep"));
        let many = format!("<metadata><package{}>", " a=''".repeat(5000));
        assert!(refused(&many).contains("a tag in it is longer than 16384 bytes"));
        let long = PRIMARY.replace("p/a", &"x".repeat(2000));
        assert!(refused(&long).contains("longer than 1024 bytes"));
    }
}
