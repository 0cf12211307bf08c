//! One record of repomd.xml, as its elements come.

use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;

use super::error::Error;
use super::{DIRECTORY, Record};
use crate::checksum::Checksum;

/// The longest attribute or text that is taken, in bytes; the longest real ones are locations.
/// Errors quote them.
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

/// Where in a record the text belongs.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Checksum,
    Size,
    Other,
}

impl Draft {
    /// Begins with the tag `data`.
    pub(super) fn new(tag: &BytesStart<'_>) -> Result<Self, Error> {
        Ok(Self { kind: attribute(tag, "type")?.unwrap_or_default(), ..Self::default() })
    }

    /// Takes the tag of an element in the record, and says what that element's text is.
    pub(super) fn open(&mut self, tag: &BytesStart<'_>) -> Result<Field, Error> {
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

    /// Takes text, which may come in pieces.
    pub(super) fn take(&mut self, field: Field, text: &str) -> Result<(), Error> {
        let value = match field {
            Field::Checksum => &mut self.checksum,
            Field::Size => &mut self.size,
            Field::Other => return Ok(()),
        };
        bounded(value.len() + text.len())?;
        value.push_str(text);
        Ok(())
    }

    /// Ends with the tag `/data`.
    pub(super) fn finish(self) -> Result<Record, Error> {
        match self.check() {
            Ok((name, checksum, size)) => Ok(Record { kind: self.kind, name, checksum, size }),
            Err(problem) => Err(Error::Record { record: self.kind, problem }),
        }
    }

    fn check(&self) -> Result<(String, Checksum, Option<u64>), String> {
        let location = self.location.as_deref().ok_or("has no location")?;
        if let Some(base) = &self.base {
            return Err(format!("is elsewhere, at {base:?}"));
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

/// The name of a file directly in the metadata's directory.
fn plain_name(location: &str) -> Option<&str> {
    let name = location.trim_start_matches("./").strip_prefix(DIRECTORY)?;
    let plain =
        !matches!(name, "" | "." | "..") && !name.contains('/') && !name.contains(char::is_control);
    plain.then_some(name)
}

pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, Error> {
    let Some(attribute) = tag.try_get_attribute(name).map_err(Error::malformed)? else {
        return Ok(None);
    };
    bounded(attribute.value.len())?;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(Error::malformed)?;
    Ok(Some(value.into_owned()))
}

fn bounded(length: usize) -> Result<(), Error> {
    if length > MAX_VALUE {
        return Err(Error::malformed(format!("a value in it is longer than {MAX_VALUE} bytes")));
    }
    Ok(())
}
