//! One record of repomd.xml, as its events come.

use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;

use super::error::Reason;
use super::{DIRECTORY, Record};
use crate::checksum::Checksum;

/// The longest attribute or text that is accepted, in bytes. Errors quote them; the longest real ones are
/// locations.
const MAX_VALUE: usize = 1024;

/// A record that is being read.
#[derive(Default)]
pub(super) struct Draft {
    kind: String,
    location: Option<String>,
    base: Option<String>,
    algorithm: Option<String>,
    checksum: String,
    size: String,
}

/// The element of a record whose text follows.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Checksum,
    Size,
    Other,
}

impl Draft {
    /// Starts a record with its tag `data`.
    pub(super) fn new(tag: &BytesStart<'_>) -> Result<Self, Reason> {
        Ok(Self { kind: attribute(tag, "type")?.unwrap_or_default(), ..Self::default() })
    }

    /// Reads the tag of an element in the record, and returns which field its text is.
    pub(super) fn open(&mut self, tag: &BytesStart<'_>) -> Result<Field, Reason> {
        Ok(match tag.local_name().as_ref() {
            "location" => {
                self.location = attribute(tag, "href")?;
                self.base = attribute(tag, "xml:base")?;
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

    /// Reads text, which may come in pieces.
    pub(super) fn text(&mut self, field: Field, text: &str) -> Result<(), Reason> {
        match field {
            Field::Checksum => append(&mut self.checksum, text),
            Field::Size => append(&mut self.size, text),
            Field::Other => Ok(()),
        }
    }

    /// Ends the record.
    pub(super) fn finish(self) -> Result<Record, Reason> {
        match self.check() {
            Ok((name, checksum, size)) => Ok(Record { kind: self.kind, name, checksum, size }),
            Err(problem) => Err(format!("record {:?} {problem}", self.kind).into()),
        }
    }

    fn check(&self) -> Result<(String, Checksum, Option<u64>), String> {
        let location = self.location.as_deref().ok_or("has no location")?;
        if let Some(base) = &self.base {
            return Err(format!("has another base, {base:?}"));
        }
        let name = plain_name(location).ok_or_else(|| {
            format!("has the location {location:?}, which is not a file in {DIRECTORY}")
        })?;
        let algorithm = self.algorithm.as_deref().ok_or("has no checksum")?;
        let checksum = Checksum::new(algorithm, self.checksum.trim())
            .map_err(|error| format!("has an {error}"))?;
        let size = match self.size.trim() {
            "" => None,
            size => Some(size.parse().map_err(|_| format!("has the size {size:?}"))?),
        };
        Ok((name.to_owned(), checksum, size))
    }
}

/// The name of a file directly in the metadata directory.
fn plain_name(location: &str) -> Option<&str> {
    let name = location.trim_start_matches("./").strip_prefix(DIRECTORY)?;
    let plain =
        !matches!(name, "" | "." | "..") && !name.contains('/') && !name.contains(char::is_control);
    plain.then_some(name)
}

pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Reason> {
    let Some(attribute) = tag.try_get_attribute(name)? else {
        return Ok(None);
    };
    check_length(attribute.value.len())?;
    Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned()))
}

/// Appends text to a value of bounded length.
pub(super) fn append(value: &mut String, text: &str) -> Result<(), Reason> {
    check_length(value.len() + text.len())?;
    value.push_str(text);
    Ok(())
}

fn check_length(length: usize) -> Result<(), Reason> {
    if length > MAX_VALUE {
        return Err(format!("a value in it is longer than {MAX_VALUE} bytes").into());
    }
    Ok(())
}
