//! repomd.xml: which metadata files a repository has, and what they must be.
//!
//! The format is createrepo_c's; it has no specification beside the program.

mod error;
mod primary;
mod record;

use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::checksum::Checksum;
pub use error::Error;
pub use primary::{Listed, read_primary};
use record::{Draft, Field};

/// The directory that all metadata files are in.
const DIRECTORY: &str = "repodata/";

/// The largest repomd.xml that is read; real ones have a few kilobytes.
pub const MAX_REPOMD: u64 = 16 << 20;

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

impl Repomd {
    /// Reads repomd.xml. Namespaces do not matter, nor do elements and attributes that are not
    /// known here. No entity is ever looked up or expanded.
    ///
    /// # Errors
    /// If it is malformed or larger than [`MAX_REPOMD`], a record lacks its location or checksum,
    /// or a location is anything but a plain name in `repodata/`.
    pub fn parse(xml: &[u8]) -> Result<Self, Error> {
        if xml.len() as u64 > MAX_REPOMD {
            return Err(Error::malformed(format!("it is larger than {MAX_REPOMD} bytes")));
        }
        let text = std::str::from_utf8(xml).map_err(Error::malformed)?;
        let mut reader = Reader::from_str(text);
        let mut document = Document::default();
        loop {
            match reader.read_event().map_err(Error::malformed)? {
                Event::Start(tag) => document.start(&tag)?,
                Event::End(_) => document.end()?,
                Event::Empty(tag) => {
                    document.start(&tag)?;
                    document.end()?;
                }
                Event::Text(text) => document.text(&text)?,
                Event::CData(text) => document.text(&text)?,
                Event::GeneralRef(name) => document.reference(&name)?,
                // It could define entities and attributes that other parsers would heed.
                Event::DocType(_) => return Err(Error::malformed("it has a document type")),
                Event::Eof => break,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            }
        }
        document.finish()
    }
}

/// repomd.xml as its events come: records are the children of the root, their fields the
/// children of those.
struct Document {
    depth: usize,
    whole: bool,
    draft: Option<Draft>,
    field: Field,
    records: Vec<Record>,
}

impl Default for Document {
    fn default() -> Self {
        Self { depth: 0, whole: false, draft: None, field: Field::Other, records: Vec::new() }
    }
}

impl Document {
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Error> {
        let name = tag.local_name();
        self.field = Field::Other;
        match (self.depth, &mut self.draft) {
            (0, _) if self.whole || name.as_ref() != "repomd" => {
                return Err(Error::malformed("it is another document"));
            }
            (1, _) if name.as_ref() == "data" => self.draft = Some(Draft::new(tag)?),
            (2, Some(draft)) => self.field = draft.open(tag)?,
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    /// The reader sees to it that tags match, so there is one that ends.
    fn end(&mut self) -> Result<(), Error> {
        self.field = Field::Other;
        self.depth -= 1;
        match self.depth {
            0 => self.whole = true,
            1 => {
                if let Some(draft) = self.draft.take() {
                    self.records.push(draft.finish()?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        match &mut self.draft {
            Some(draft) => draft.take(self.field, text),
            None => Ok(()),
        }
    }

    /// No field that matters needs one: digits are written as they are.
    fn reference(&self, name: &str) -> Result<(), Error> {
        match self.field {
            Field::Other => Ok(()),
            _ => Err(Error::malformed(format!("a checksum or size has the reference {name:?}"))),
        }
    }

    fn finish(self) -> Result<Repomd, Error> {
        if !self.whole {
            return Err(Error::malformed("it ends early"));
        }
        check_duplicates(&self.records)?;
        Ok(Repomd { records: self.records })
    }
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
mod tests;
