//! Which packages the primary metadata list.

use std::io::BufRead;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::Error;
use super::record::attribute;
use crate::checksum::Checksum;

/// One package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is, relative to the repository.
    pub location: String,
    /// What its bytes hash to.
    pub checksum: Checksum,
    /// Its size in bytes.
    pub size: u64,
}

/// A package that is being read.
#[derive(Default)]
struct Draft {
    location: Option<String>,
    algorithm: Option<String>,
    hex: String,
    size: Option<u64>,
}

/// Reads primary.xml as a stream and hands every package to `visit`, until that returns `false`.
///
/// # Errors
/// If it is malformed, or a package lacks location, checksum or size.
pub fn read_primary(xml: impl BufRead, mut visit: impl FnMut(Listed) -> bool) -> Result<(), Error> {
    let malformed = |error: &dyn std::fmt::Display| Error::Malformed(error.to_string());
    let mut reader = Reader::from_reader(xml);
    let mut buffer = Vec::new();
    let mut draft: Option<Draft> = None;
    let mut in_checksum = false;
    loop {
        match reader.read_event_into(&mut buffer).map_err(|error| malformed(&error))? {
            Event::Start(tag) | Event::Empty(tag) => {
                match (tag.local_name().as_ref(), &mut draft) {
                    ("package", None) => draft = Some(Draft::default()),
                    ("checksum", Some(draft)) => {
                        draft.algorithm = attribute(&tag, "type")?;
                        in_checksum = true;
                    }
                    ("size", Some(draft)) => {
                        draft.size = attribute(&tag, "package")?.and_then(|size| size.parse().ok());
                    }
                    ("location", Some(draft)) => draft.location = attribute(&tag, "href")?,
                    _ => {}
                }
            }
            Event::Text(text) if in_checksum => {
                if let Some(draft) = &mut draft {
                    draft.hex.push_str(text.trim());
                }
            }
            Event::End(tag) => {
                in_checksum = false;
                if tag.local_name().as_ref() == "package"
                    && let Some(draft) = draft.take()
                    && !visit(draft.finish()?)
                {
                    return Ok(());
                }
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
        buffer.clear();
    }
}

impl Draft {
    fn finish(self) -> Result<Listed, Error> {
        let incomplete = || Error::Malformed("a package lacks location, checksum or size".into());
        let algorithm = self.algorithm.ok_or_else(incomplete)?;
        Ok(Listed {
            location: self.location.ok_or_else(incomplete)?,
            checksum: Checksum::new(&algorithm, &self.hex).map_err(|_| incomplete())?,
            size: self.size.ok_or_else(incomplete)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = r#"<?xml version="1.0"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" packages="1">
<package type="rpm"><name>a</name>
  <checksum type="sha256" pkgid="YES">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
  <size package="5" installed="6" archive="7"/>
  <location href="p/a&amp;b.rpm"/>
  <format><file>/x</file></format>
</package></metadata>"#;

    #[test]
    fn packages_are_handed_over_with_what_finds_them() {
        let mut listed = Vec::new();
        read_primary(PRIMARY.as_bytes(), |package| {
            listed.push(package);
            true
        })
        .expect("well-formed");
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].location, "p/a&b.rpm");
        assert_eq!(listed[0].size, 5);
        assert!(listed[0].checksum.to_string().starts_with("sha256:e3b0c4"));
    }

    #[test]
    fn a_package_without_a_checksum_is_an_error() {
        let broken = PRIMARY.replace("checksum", "check");
        assert!(read_primary(broken.as_bytes(), |_| true).is_err());
    }
}
