//! The one reader of tar layers, for repodata and packages alike.
//!
//! It never unpacks: it hands over regular files, one after the other, as streams. Registries are not
//! trusted: anything else in an archive is an error that names the member.

mod content;
mod error;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use super::name;
use crate::decompress::{Bounded, ErrorTap, HeaderBudget, decompress};
use content::Content;
pub use error::{Error, MemberError};

/// The longest name of a member, in bytes: PATH_MAX of Linux.
const MAX_NAME: usize = 4096;

/// The prefix of the pax records that make the next member a sparse file, which the archive stores in
/// another form.
const PAX_SPARSE: &[u8] = b"GNU.sparse.";

/// Bounds on an archive.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Number of members, including directories.
    pub members: u64,
    /// Size of one member, in bytes.
    pub member_size: u64,
    /// Size of the decompressed archive, in bytes.
    pub total_size: u64,
}

/// Reads an archive and hands every regular file to `visit`, with its name (relative, without `./`)
/// and size. The archive may be compressed with gzip or zstd.
///
/// The stream is read to its end, also if the archive is damaged, so that a digest over it has been
/// checked when this returns.
///
/// # Errors
/// What `visit` returns; otherwise what is wrong with the archive or the stream.
pub fn read_archive<R, E>(
    stream: R,
    limits: &Limits,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E>
where
    R: Read,
    E: From<Error>,
{
    let mut stream = ErrorTap::new(stream);
    let result = decompress(&mut stream)
        .map_err(Stop::from)
        .and_then(|content| read_members(content, limits, &mut visit));
    if let Err(Stop::Archive(Error::Damaged(_))) = result {
        stream.drain();
    }
    match (stream.into_failure(), result) {
        (Some(error), Err(Stop::Archive(_))) => Err(Error::Read(error).into()),
        (_, Err(Stop::Archive(error))) => Err(error.into()),
        (_, Err(Stop::Visitor(error))) => Err(error),
        (_, Ok(())) => Ok(()),
    }
}

/// Whose error it was.
enum Stop<E> {
    Archive(Error),
    Visitor(E),
}

impl<E> From<io::Error> for Stop<E> {
    fn from(error: io::Error) -> Self {
        Self::Archive(Error::damage(&error))
    }
}

fn read_members<E>(
    content: impl Read,
    limits: &Limits,
    visit: &mut impl FnMut(&str, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let budget = HeaderBudget::default();
    let mut archive = Archive::new(Bounded::new(content, limits.total_size, budget.clone()));
    let mut members = Members::new(limits);
    let mut entries = archive.entries()?;
    while let Some(entry) = budget.during(|| entries.next()) {
        let mut entry = entry?;
        let Some(name) = members.check(&mut entry).map_err(Stop::Archive)? else {
            continue;
        };
        let size = entry.size();
        let mut content = Content::new(entry, size);
        let visited = match visit(&name, size, &mut content) {
            Ok(()) => content.skip().map_err(Stop::from),
            Err(error) => Err(Stop::Visitor(error)),
        };
        // A failure of the archive comes first, whatever the visitor made of it.
        match content.into_failure() {
            Some(failure) => return Err(failure.into()),
            None => visited?,
        }
    }
    let mut rest = archive.into_inner();
    if rest.has_ended() {
        return Err(Stop::Archive(Error::Damaged("it has no end marker".to_owned())));
    }
    // Trailing bytes are part of the layer and its digest.
    io::copy(&mut rest, &mut io::sink())?;
    Ok(())
}

/// Enforces the limits and rules for members.
struct Members<'a> {
    limits: &'a Limits,
    count: u64,
    /// Hashes of the names so far: the names themselves could fill the memory. The hash has a random
    /// key, so collisions cannot be crafted; among 100,000 names the odds of one are 1 in 10^9.
    seen: HashSet<u64>,
    hash: RandomState,
}

impl<'a> Members<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, count: 0, seen: HashSet::new(), hash: RandomState::new() }
    }

    /// The name of a member that is a file; `None` for a directory.
    fn check(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<Option<String>, Error> {
        self.count += 1;
        if self.count > self.limits.members {
            return Err(Error::TooMany(self.limits.members));
        }
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw);
        let invalid = |error| Error::member(&shown, error);
        let is_directory = match entry.header().entry_type() {
            EntryType::Directory => true,
            EntryType::Regular | EntryType::Continuous if !is_sparse(entry)? => false,
            _ => return Err(invalid(MemberError::Kind)),
        };
        if is_directory && name::is_root(&shown) {
            return Ok(None);
        }
        let name = safe_name(&raw).ok_or_else(|| invalid(MemberError::Name))?;
        if is_directory {
            return Ok(None);
        }
        if entry.size() > self.limits.member_size {
            return Err(invalid(MemberError::Size(self.limits.member_size)));
        }
        if !self.seen.insert(self.hash.hash_one(name)) {
            return Err(Error::member(name, MemberError::Duplicate));
        }
        Ok(Some(name.to_owned()))
    }
}

/// Whether a pax header makes a regular file sparse. GNU tar's own sparse files have another type.
fn is_sparse(entry: &mut Entry<'_, impl Read>) -> Result<bool, Error> {
    let records = entry.pax_extensions().map_err(|error| Error::damage(&error))?;
    for record in records.into_iter().flatten() {
        let record = record.map_err(|error| Error::damage(&error))?;
        if record.key_bytes().starts_with(PAX_SPARSE) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn safe_name(raw: &[u8]) -> Option<&str> {
    if raw.len() > MAX_NAME {
        return None;
    }
    name::relative(std::str::from_utf8(raw).ok()?)
}

#[cfg(test)]
mod tests;
