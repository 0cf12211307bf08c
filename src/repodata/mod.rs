//! repomd.xml: which metadata files a repository has, and what they must be.
//!
//! The format is createrepo_c's; it has no specification beside the program.

use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::checksum::Checksum;
use crate::failure::{Failure, Kind};

/// The directory that all metadata files are in.
const DIRECTORY: &str = "repodata/";

/// The largest repomd.xml that is read; real ones have a few kilobytes.
pub const MAX_REPOMD: u64 = 16 << 20;

/// repomd.xml cannot be relied upon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not well-formed XML, or not repomd.xml.
    #[error("repomd.xml cannot be read: {0}")]
    Malformed(String),
    /// A record is not as it should be.
    #[error("repomd.xml: the record {record:?} {problem}")]
    Record {
        /// The record's type.
        record: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        Kind::BadMetadata
    }
}

/// What repomd.xml lists.
#[derive(Debug)]
pub struct Repomd {
    /// One record for each metadata file.
    pub records: Vec<Record>,
}

/// One metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is: `primary`, `filelists` …
    pub kind: String,
    /// Its name in the directory of the metadata: a plain one.
    pub name: String,
    /// What it hashes to, as it is, compressed or not.
    pub checksum: Checksum,
    /// Its size in bytes, if the record has it.
    pub size: Option<u64>,
}

/// A record that is being read.
#[derive(Default)]
struct Draft {
    kind: String,
    location: Option<String>,
    algorithm: Option<String>,
    checksum: String,
    size: String,
}

/// Where in a record the text belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Checksum,
    Size,
    Other,
}

impl Repomd {
    /// Reads repomd.xml.
    ///
    /// # Errors
    /// If it is malformed, a record lacks its location or checksum, or a location is anything but
    /// a plain name in `repodata/`.
    pub fn parse(xml: &[u8]) -> Result<Self, Error> {
        let malformed = |error: &dyn std::fmt::Display| Error::Malformed(error.to_string());
        let text = std::str::from_utf8(xml).map_err(|error| malformed(&error))?;
        let mut reader = Reader::from_str(text);
        let mut records = Vec::new();
        let mut draft: Option<Draft> = None;
        let mut field = Field::Other;
        let mut root = false;
        let mut closed = false;
        loop {
            match reader.read_event().map_err(|error| malformed(&error))? {
                Event::Start(ref tag) | Event::Empty(ref tag) if !root => {
                    if tag.local_name().as_ref() != "repomd" {
                        return Err(Error::Malformed("it is another document".to_owned()));
                    }
                    root = true;
                }
                Event::Start(tag) | Event::Empty(tag) => match &mut draft {
                    None if tag.local_name().as_ref() == "data" => {
                        let kind = attribute(&tag, "type")?.unwrap_or_default();
                        draft = Some(Draft { kind, ..Draft::default() });
                    }
                    None => {}
                    Some(draft) => field = draft.open(&tag)?,
                },
                Event::Text(text) => {
                    if let Some(draft) = &mut draft {
                        draft.take(field, &text);
                    }
                }
                Event::End(tag) => {
                    field = Field::Other;
                    closed |= tag.local_name().as_ref() == "repomd";
                    if tag.local_name().as_ref() == "data"
                        && let Some(draft) = draft.take()
                    {
                        records.push(draft.finish()?);
                    }
                }
                Event::Eof if closed && draft.is_none() => break,
                Event::Eof => return Err(Error::Malformed("it ends early".to_owned())),
                _ => {}
            }
        }
        check_duplicates(&records)?;
        Ok(Self { records })
    }
}

impl Draft {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<Field, Error> {
        Ok(match tag.local_name().as_ref() {
            "location" => {
                self.location = attribute(tag, "href")?;
                Field::Other
            }
            "checksum" => {
                self.algorithm = attribute(tag, "type")?;
                Field::Checksum
            }
            "size" => Field::Size,
            _ => Field::Other,
        })
    }

    fn take(&mut self, field: Field, text: &str) {
        match field {
            Field::Checksum => self.checksum.push_str(text.trim()),
            Field::Size => self.size.push_str(text.trim()),
            Field::Other => {}
        }
    }

    fn finish(self) -> Result<Record, Error> {
        let problem = |problem: String| Error::Record { record: self.kind.clone(), problem };
        let location =
            self.location.as_deref().ok_or_else(|| problem("has no location".to_owned()))?;
        let name = plain_name(location).ok_or_else(|| {
            problem(format!("has the location {location:?}, which is not a file in {DIRECTORY}"))
        })?;
        let algorithm =
            self.algorithm.as_deref().ok_or_else(|| problem("has no checksum".to_owned()))?;
        let checksum = Checksum::new(algorithm, &self.checksum)
            .map_err(|error| problem(format!("has an {error}")))?;
        let size = match self.size.as_str() {
            "" => None,
            size => Some(size.parse().map_err(|_| problem(format!("has the size {size:?}")))?),
        };
        let name = name.to_owned();
        Ok(Record { name, checksum, size, kind: self.kind })
    }
}

/// The name of a file directly in the metadata's directory.
fn plain_name(location: &str) -> Option<&str> {
    let name = location.trim_start_matches("./").strip_prefix(DIRECTORY)?;
    let plain = !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains('/')
        && !name.contains(char::is_control);
    plain.then_some(name)
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Error> {
    let malformed = |error: &dyn std::fmt::Display| Error::Malformed(error.to_string());
    let Some(attribute) = tag.try_get_attribute(name).map_err(|error| malformed(&error))? else {
        return Ok(None);
    };
    let value = attribute
        .normalized_value(quick_xml::XmlVersion::Implicit1_0)
        .map_err(|error| malformed(&error))?;
    Ok(Some(value.into_owned()))
}

/// Two records may share a file, if they agree on it.
fn check_duplicates(records: &[Record]) -> Result<(), Error> {
    let mut seen: HashMap<&str, &Record> = HashMap::new();
    for record in records {
        if let Some(other) = seen.insert(&record.name, record)
            && other.checksum != record.checksum
        {
            return Err(Error::Record {
                record: record.kind.clone(),
                problem: format!("contradicts another one about {:?}", record.name),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As createrepo_c 1.2.1 writes it, cut to two records.
    const REPOMD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1764000000</revision>
  <data type="primary">
    <checksum type="sha256">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
    <open-checksum type="sha256">0000000000000000000000000000000000000000000000000000000000000000</open-checksum>
    <location href="repodata/e3b0c4-primary.xml.zst"/>
    <timestamp>1764000000</timestamp>
    <size>1034</size>
    <open-size>4711</open-size>
  </data>
  <data type="modules">
    <checksum type="sha">da39a3ee5e6b4b0d3255bfef95601890afd80709</checksum>
    <location href="repodata/a&amp;b.yaml"/>
  </data>
</repomd>"#;

    #[test]
    fn records_come_out() {
        let records = Repomd::parse(REPOMD.as_bytes()).expect("parsed").records;
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].kind, "primary");
        assert_eq!(records[0].name, "e3b0c4-primary.xml.zst");
        assert_eq!(records[0].size, Some(1034));
        assert!(records[0].checksum.to_string().starts_with("sha256:e3b0c442"));
        assert_eq!(records[1].name, "a&b.yaml");
        assert_eq!(records[1].size, None);
        assert!(records[1].checksum.to_string().starts_with("sha1:da39"));
    }

    #[track_caller]
    fn refused(xml: &str) -> String {
        Repomd::parse(xml.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn locations_stay_in_the_directory() {
        for location in [
            "/etc/passwd",
            "../repodata/x",
            "repodata/../x",
            "repodata/..",
            "repodata/",
            "repodata/a/b",
            "primary.xml",
            "http://elsewhere/repodata/x",
            "repodata/a&#10;b",
        ] {
            let xml = REPOMD.replace("repodata/e3b0c4-primary.xml.zst", location);
            let error = refused(&xml);
            assert!(error.contains("\"primary\" has the location"), "{location}: {error}");
        }
    }

    #[test]
    fn broken_records_are_named() {
        for (from, to, problem) in [
            ("type=\"sha256\">e3b0", "type=\"crc\">e3b0", "invalid checksum \"crc:e3b0"),
            ("<size>1034", "<size>-1", "has the size \"-1\""),
            ("<location href=\"repodata/e3b0c4-primary.xml.zst\"/>", "", "has no location"),
            ("<checksum type=\"sha256\">", "<checksum>", "has no checksum"),
        ] {
            let error = refused(&REPOMD.replacen(from, to, 1));
            assert!(error.contains("\"primary\"") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn what_is_not_repomd_is_refused() {
        for xml in ["", "<html></html>", "<repomd>", "not xml", &REPOMD[..REPOMD.len() / 2]] {
            assert!(refused(xml).contains("cannot be read"), "{xml}");
        }
    }

    #[test]
    fn records_must_not_contradict_each_other() {
        let xml = REPOMD.replace("repodata/a&amp;b.yaml", "repodata/e3b0c4-primary.xml.zst");
        assert!(refused(&xml).contains("contradicts"));
    }
}
