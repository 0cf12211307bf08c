//! The form that repomd.xml and primary.xml share: items are the children of the root, and their fields the
//! children of the items.

use std::io::{BufReader, Read};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::error::Reason;
use crate::checksum::Checksum;
use crate::decompress::{Bounded, HeaderBudget};

/// The longest attribute or text that is accepted, in bytes. Errors quote them; the longest real ones are
/// locations.
const MAX_VALUE: usize = 1024;

/// The longest tag, in bytes. The reader keeps the names of all that are open.
const MAX_TAG: usize = 16 * 1024;

/// How deep elements may be nested; real ones are five levels deep.
const MAX_DEPTH: usize = 32;

/// Size of the buffer before the reader, in bytes.
const BUFFER: usize = 64 * 1024;

/// The fields of an item.
#[derive(Default)]
pub(super) struct Item {
    pub(super) kind: String,
    pub(super) base: Option<String>,
    location: Option<String>,
    algorithm: Option<String>,
    checksum: String,
    size: String,
    timestamp: String,
    pub(super) names: Names,
}

/// The fields that make the name of a package. They are only read for who asks for them.
#[derive(Default)]
pub(super) struct Names {
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) epoch: String,
    pub(super) version: String,
    pub(super) release: String,
}

/// What is read of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All but the names.
    #[default]
    Usual,
    /// The names as well.
    Names,
}

/// The field that text belongs to.
#[derive(Clone, Copy, Default)]
enum Field {
    Checksum,
    Size,
    Timestamp,
    Name,
    Arch,
    #[default]
    Other,
}

/// Reads a document of at most `limit` bytes, with these names of its root and its items. Namespaces and
/// unknown elements and attributes are ignored. Entities are never expanded.
pub(super) fn read_items(
    xml: impl Read,
    limit: u64,
    [root, item]: [&'static str; 2],
    wanted: Wanted,
    mut visit: impl FnMut(Item) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let budget = HeaderBudget::default();
    let xml = BufReader::with_capacity(BUFFER, Bounded::new(xml, limit, budget.clone()));
    let mut reader = Reader::from_reader(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut document = Document { root, item, wanted, ..Document::default() };
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match budget.during(|| reader.read_event_into(&mut buffer)) {
            Ok(Event::Start(tag)) => document.start(&tag)?,
            Ok(Event::End(_)) => document.end().map_or(Ok(()), &mut visit)?,
            Ok(Event::Text(text)) => document.text(&text)?,
            Ok(Event::CData(text)) => document.text(&text)?,
            Ok(Event::GeneralRef(name)) => document.reference(&name)?,
            // It could define entities and attributes that other parsers would expand.
            Ok(Event::DocType(_)) => return Err("it has a document type".into()),
            Ok(Event::Eof) if document.is_whole => return Ok(()),
            Ok(Event::Eof) => return Err("it ends early".into()),
            Ok(_) => {}
            // Its own text says it better.
            Err(quick_xml::Error::Io(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[derive(Default)]
struct Document {
    root: &'static str,
    item: &'static str,
    wanted: Wanted,
    depth: usize,
    is_whole: bool,
    current: Option<Item>,
    field: Field,
}

impl Document {
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Reason> {
        self.field = Field::Other;
        if tag.len() > MAX_TAG {
            return Err(format!("a tag in it is longer than {MAX_TAG} bytes").into());
        }
        if self.depth == MAX_DEPTH {
            return Err(format!("its elements are nested more than {MAX_DEPTH} levels deep").into());
        }
        let name = tag.local_name();
        match (self.depth, &mut self.current) {
            (0, _) if self.is_whole || name.as_ref() != self.root => {
                return Err("it is another document".into());
            }
            (1, _) if name.as_ref() == self.item => {
                let kind = attribute(tag, "type")?.unwrap_or_default();
                self.current = Some(Item { kind, ..Item::default() });
            }
            (2, Some(item)) => self.field = item.open(name.as_ref(), tag, self.wanted)?,
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    /// An item, if one ends here. The reader checks that tags match.
    fn end(&mut self) -> Option<Item> {
        self.field = Field::Other;
        self.depth -= 1;
        self.is_whole = self.depth == 0;
        if self.depth == 1 { self.current.take() } else { None }
    }

    /// Text can come in pieces.
    fn text(&mut self, text: &str) -> Result<(), Reason> {
        let value = match (self.field, &mut self.current) {
            (Field::Checksum, Some(item)) => &mut item.checksum,
            (Field::Size, Some(item)) => &mut item.size,
            (Field::Timestamp, Some(item)) => &mut item.timestamp,
            (Field::Name, Some(item)) => &mut item.names.name,
            (Field::Arch, Some(item)) => &mut item.names.arch,
            _ => return Ok(()),
        };
        check_length(value.len() + text.len())?;
        value.push_str(text);
        Ok(())
    }

    /// Refuses entities where parsers could differ; digits need none.
    fn reference(&self, name: &str) -> Result<(), Reason> {
        match self.field {
            Field::Other | Field::Timestamp | Field::Name | Field::Arch => Ok(()),
            _ => Err(format!("a checksum or size has the reference {name:?}").into()),
        }
    }
}

impl Item {
    /// Reads the tag of a field, and returns which one its text is.
    fn open(&mut self, name: &str, tag: &BytesStart<'_>, wanted: Wanted) -> Result<Field, Reason> {
        match name {
            "name" if wanted == Wanted::Names => return Ok(Field::Name),
            "arch" if wanted == Wanted::Names => return Ok(Field::Arch),
            "version" if wanted == Wanted::Names => {
                self.names.epoch = attribute(tag, "epoch")?.unwrap_or_default();
                self.names.version = attribute(tag, "ver")?.unwrap_or_default();
                self.names.release = attribute(tag, "rel")?.unwrap_or_default();
            }
            "timestamp" => return Ok(Field::Timestamp),
            "location" => {
                self.location = attribute(tag, "href")?;
                self.base = attribute(tag, "xml:base")?;
            }
            "checksum" => {
                self.algorithm = attribute(tag, "type")?;
                return Ok(Field::Checksum);
            }
            "size" => {
                // primary.xml has several sizes, as attributes.
                self.size = attribute(tag, "package")?.unwrap_or_default();
                return Ok(Field::Size);
            }
            _ => {}
        }
        Ok(Field::Other)
    }

    pub(super) fn location(&self) -> Result<&str, String> {
        self.location.as_deref().ok_or_else(|| "has no location".to_owned())
    }

    pub(super) fn checksum(&self) -> Result<Checksum, String> {
        let algorithm = self.algorithm.as_deref().ok_or("has no checksum")?;
        Checksum::new(algorithm, self.checksum.trim()).map_err(|error| format!("has an {error}"))
    }

    /// In seconds since 1970. Old tools write fractions of them; 0 if it is no number.
    pub(super) fn timestamp(&self) -> u64 {
        let seconds = self.timestamp.trim().split('.').next();
        seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_default()
    }

    pub(super) fn size(&self) -> Result<Option<u64>, String> {
        match self.size.trim() {
            "" => Ok(None),
            size => size.parse().map(Some).map_err(|_| format!("has the size {size:?}")),
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Reason> {
    let Some(attribute) = tag.try_get_attribute(name)? else {
        return Ok(None);
    };
    check_length(attribute.value.len())?;
    Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned()))
}

fn check_length(length: usize) -> Result<(), Reason> {
    if length > MAX_VALUE {
        return Err(format!("a value in it is longer than {MAX_VALUE} bytes").into());
    }
    Ok(())
}
