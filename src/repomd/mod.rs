//! The metadata files of a repository: repomd.xml, which lists them, and primary.xml.
//!
//! createrepo_c defines the formats; there is no other specification.

mod error;
mod index;
mod nevra;
mod primary;
mod xml;

use std::collections::HashMap;

use crate::checksum::Checksum;
pub use error::Error;
use error::Reason;
pub use index::{Builder, Known, PackageIndex};
pub use nevra::{Nevra, read_nevras};
pub use primary::{Package, read_primary};
use xml::{Item, Wanted, read_items};

/// The metadata directory of a repository.
const DIRECTORY: &str = "repodata/";

/// The largest repomd.xml that is read, in bytes; real ones have a few kilobytes.
pub const MAX_REPOMD: u64 = 1 << 20;

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
    /// When it was made, in seconds since 1970; 0 if the record does not tell.
    pub timestamp: u64,
}

impl Repomd {
    /// Parses repomd.xml.
    ///
    /// # Errors
    /// If it is malformed or larger than [`MAX_REPOMD`], a record lacks its location or checksum,
    /// or a location is anything but a plain name in `repodata/`.
    pub fn parse(xml: &[u8]) -> Result<Self, Error> {
        let mut records = Vec::new();
        let read = read_items(xml, MAX_REPOMD, ["repomd", "data"], Wanted::Usual, |item| {
            let record = Record::new(&item);
            records.push(record.map_err(|problem| format!("record {:?} {problem}", item.kind))?);
            Ok(())
        });
        read.and_then(|()| check_duplicates(&records))
            .map_err(|reason| reason.in_document("repomd.xml"))?;
        Ok(Self { records })
    }

    /// The record of primary.xml.
    pub fn primary(&self) -> Option<&Record> {
        self.records.iter().find(|record| record.kind == "primary")
    }

    /// When the newest of the files was made, in seconds since 1970.
    pub fn created(&self) -> u64 {
        self.records.iter().map(|record| record.timestamp).max().unwrap_or_default()
    }
}

impl Record {
    fn new(item: &Item) -> Result<Self, String> {
        let location = item.location()?;
        if let Some(base) = &item.base {
            return Err(format!("has another base, {base:?}"));
        }
        let name = plain_name(location).ok_or_else(|| {
            format!("has the location {location:?}, which is not a file in {DIRECTORY}")
        })?;
        let (kind, name) = (item.kind.clone(), name.to_owned());
        let (checksum, size, timestamp) = (item.checksum()?, item.size()?, item.timestamp());
        Ok(Self { kind, name, checksum, size, timestamp })
    }
}

/// The name of a file directly in the metadata directory.
fn plain_name(location: &str) -> Option<&str> {
    let name = location.trim_start_matches("./").strip_prefix(DIRECTORY)?;
    let plain =
        !matches!(name, "" | "." | "..") && !name.contains('/') && !name.contains(char::is_control);
    plain.then_some(name)
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
