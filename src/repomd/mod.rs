//! The metadata files of a repository: repomd.xml, which lists them, and primary.xml.
//!
//! createrepo_c defines the formats; there is no other specification.

mod error;
mod primary;
mod record;

use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::checksum::Checksum;
pub use error::Error;
use error::Reason;
pub use primary::{Listed, read_primary};
use record::{Draft, Field};

/// The metadata directory of a repository.
const DIRECTORY: &str = "repodata/";

/// The largest repomd.xml that is read, in bytes; real ones have a few kilobytes.
pub const MAX_REPOMD: u64 = 16 << 20;

/// The content of repomd.xml.
#[derive(Debug)]
pub struct Repomd {
    /// One record for each metadata file.
    pub records: Vec<Record>,
}

/// One metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its type: `primary`, `filelists` …
    pub kind: String,
    /// Its name in the metadata directory, without a slash.
    pub name: String,
    /// The expected checksum of the file, which may be compressed.
    pub checksum: Checksum,
    /// Its size in bytes, if the record has it.
    pub size: Option<u64>,
}

impl Repomd {
    /// Parses repomd.xml. Namespaces and unknown elements and attributes are ignored. Entities are never
    /// expanded.
    ///
    /// # Errors
    /// If it is malformed or larger than [`MAX_REPOMD`], a record lacks its location or checksum,
    /// or a location is anything but a plain name in `repodata/`.
    pub fn parse(xml: &[u8]) -> Result<Self, Error> {
        parse(xml).map_err(|reason| reason.in_document("repomd.xml"))
    }
}

fn parse(xml: &[u8]) -> Result<Repomd, Reason> {
    if xml.len() as u64 > MAX_REPOMD {
        return Err(format!("it is larger than {MAX_REPOMD} bytes").into());
    }
    let mut reader = Reader::from_str(std::str::from_utf8(xml)?);
    reader.config_mut().expand_empty_elements = true;
    let mut document = Document::default();
    loop {
        match reader.read_event()? {
            Event::Start(tag) => document.start(&tag)?,
            Event::End(_) => document.end()?,
            Event::Text(text) => document.text(&text)?,
            Event::CData(text) => document.text(&text)?,
            Event::GeneralRef(name) => document.reference(&name)?,
            // It could define entities and attributes that other parsers would expand.
            Event::DocType(_) => return Err("it has a document type".into()),
            Event::Eof => return document.finish(),
            Event::Empty(_) | Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
        }
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
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Reason> {
        self.field = Field::Other;
        match (self.depth, tag.local_name().as_ref(), &mut self.draft) {
            (0, "repomd", _) if !self.whole => {}
            (0, ..) => return Err("it is another document".into()),
            (1, "data", _) => self.draft = Some(Draft::new(tag)?),
            (2, _, Some(draft)) => self.field = draft.open(tag)?,
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    /// The reader checks that tags match, so the depth is never 0 here.
    fn end(&mut self) -> Result<(), Reason> {
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

    fn text(&mut self, text: &str) -> Result<(), Reason> {
        match &mut self.draft {
            Some(draft) => draft.text(self.field, text),
            None => Ok(()),
        }
    }

    /// Refuses entities where parsers could differ; digits need none.
    fn reference(&self, name: &str) -> Result<(), Reason> {
        match self.field {
            Field::Other => Ok(()),
            _ => Err(format!("a checksum or size has the reference {name:?}").into()),
        }
    }

    fn finish(self) -> Result<Repomd, Reason> {
        if !self.whole {
            return Err("it ends early".into());
        }
        check_duplicates(&self.records)?;
        Ok(Repomd { records: self.records })
    }
}

/// Two records may share a file, if they agree on it.
fn check_duplicates(records: &[Record]) -> Result<(), Reason> {
    let mut seen: HashMap<&str, &Record> = HashMap::new();
    for record in records {
        if let Some(other) = seen.insert(&record.name, record)
            && other.checksum != record.checksum
        {
            let Record { kind, name, .. } = record;
            return Err(format!("record {kind:?} contradicts another one about {name:?}").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
