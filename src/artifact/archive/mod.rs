//! The one reader of tar layers, for repodata and packages alike.
//!
//! It never unpacks: it hands over regular files, one after the other, as streams. Registries are not
//! trusted: in an archive of metadata, anything else is an error that names the member. A directory of
//! packages may have more than packages in it: there, links that stay inside the archive are handed over as
//! well, and anything else is skipped.

mod content;
mod error;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// What becomes of members that are neither files nor directories, or have unsafe names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// They are an error, like two members with the same name.
    Strict,
    /// Links are handed over if they stay inside the archive; the others are skipped.
    Lenient,
}

/// A member of an archive. Names are relative, without `./`.
pub enum Member<'a> {
    /// A regular file.
    File {
        /// Its name.
        name: &'a str,
        /// Its size in bytes.
        size: u64,
        /// When it was last modified.
        modified: SystemTime,
        /// Its content, which need not be read.
        content: &'a mut dyn Read,
    },
    /// A symbolic or hard link.
    Link {
        /// Its name.
        name: &'a str,
        /// The name of the member that it leads to, which may not exist.
        target: &'a str,
    },
}

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

/// Reads an archive, which may be compressed, and hands its files to `visit`.
///
/// The stream is read to its end, also if the archive is damaged, so that a digest over it has been
/// checked when this returns.
///
/// # Errors
/// What `visit` returns; otherwise what is wrong with the archive or the stream.
pub fn read_archive<R, E>(
    stream: R,
    limits: &Limits,
    rules: Rules,
    mut visit: impl FnMut(Member<'_>) -> Result<(), E>,
) -> Result<(), E>
where
    R: Read,
    E: From<Error>,
{
    let mut stream = ErrorTap::new(stream);
    let result = decompress(&mut stream)
        .map_err(Stop::from)
        .and_then(|content| read_members(content, Members::new(limits, rules), &mut visit));
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
    mut members: Members<'_>,
    visit: &mut impl FnMut(Member<'_>) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let budget = HeaderBudget::default();
    let total_size = members.limits.total_size;
    let mut archive = Archive::new(Bounded::new(content, total_size, budget.clone()));
    let mut entries = archive.entries()?;
    while let Some(entry) = budget.during(|| entries.next()) {
        let mut entry = entry?;
        match members.check(&mut entry).map_err(Stop::Archive)? {
            Checked::Skipped => {}
            Checked::Link(name, target) => {
                visit(Member::Link { name: &name, target: &target }).map_err(Stop::Visitor)?;
            }
            Checked::File(name) => visit_file(&name, entry, visit)?,
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

fn visit_file<E>(
    name: &str,
    entry: Entry<'_, impl Read>,
    visit: &mut impl FnMut(Member<'_>) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let size = entry.size();
    let seconds = entry.header().mtime().unwrap_or_default();
    let modified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    let mut content = Content::new(entry, size);
    let visited = match visit(Member::File { name, size, modified, content: &mut content }) {
        Ok(()) => content.skip().map_err(Stop::from),
        Err(error) => Err(Stop::Visitor(error)),
    };
    // A failure of the archive comes first, whatever the visitor made of it.
    match content.into_failure() {
        Some(failure) => Err(failure.into()),
        None => visited,
    }
}

/// Enforces the limits and rules for members.
struct Members<'a> {
    limits: &'a Limits,
    rules: Rules,
    count: u64,
    /// Hashes of the names so far: the names themselves could fill the memory. The hash has a random
    /// key, so collisions cannot be crafted; among 100,000 names the odds of one are 1 in 10^9.
    seen: HashSet<u64>,
    hash: RandomState,
}

/// What a member is.
enum Checked {
    File(String),
    Link(String, String),
    Skipped,
}

impl<'a> Members<'a> {
    fn new(limits: &'a Limits, rules: Rules) -> Self {
        Self { limits, rules, count: 0, seen: HashSet::new(), hash: RandomState::new() }
    }

    fn check(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<Checked, Error> {
        self.count += 1;
        if self.count > self.limits.members {
            return Err(Error::TooMany(self.limits.members));
        }
        if self.rules == Rules::Lenient {
            return self.select(entry);
        }
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw);
        let invalid = |error| Error::member(&shown, error);
        let is_directory = match entry.header().entry_type() {
            EntryType::Directory => true,
            _ if is_file(entry)? => false,
            _ => return Err(invalid(MemberError::Kind)),
        };
        if is_directory && name::is_root(&shown) {
            return Ok(Checked::Skipped);
        }
        let name = safe_name(&raw).ok_or_else(|| invalid(MemberError::Name))?;
        if is_directory {
            return Ok(Checked::Skipped);
        }
        if entry.size() > self.limits.member_size {
            return Err(invalid(MemberError::Size(self.limits.member_size)));
        }
        if !self.seen.insert(self.hash.hash_one(name)) {
            return Err(Error::member(name, MemberError::Duplicate));
        }
        Ok(Checked::File(name.to_owned()))
    }

    /// What a member is by the lenient rules.
    fn select(&self, entry: &mut Entry<'_, impl Read>) -> Result<Checked, Error> {
        let raw = entry.path_bytes().into_owned();
        let Some(name) = safe_name(&raw) else {
            return Ok(Checked::Skipped);
        };
        if let EntryType::Symlink | EntryType::Link = entry.header().entry_type() {
            let target = link_target(entry, name);
            let link = |target| Checked::Link(name.to_owned(), target);
            return Ok(target.map_or(Checked::Skipped, link));
        }
        if !is_file(entry)? || entry.size() > self.limits.member_size {
            return Ok(Checked::Skipped);
        }
        Ok(Checked::File(name.to_owned()))
    }
}

/// The name of the member that a link leads to; `None` if it leads out of the archive.
fn link_target(entry: &Entry<'_, impl Read>, name: &str) -> Option<String> {
    let raw = entry.link_name_bytes()?;
    let target = std::str::from_utf8(&raw).ok().filter(|target| target.len() <= MAX_NAME)?;
    if entry.header().entry_type() == EntryType::Link {
        return name::relative(target).map(str::to_owned);
    }
    name::resolve(name.rsplit_once('/').map_or("", |(directory, _)| directory), target)
}

fn is_file(entry: &mut Entry<'_, impl Read>) -> Result<bool, Error> {
    let kind = entry.header().entry_type();
    Ok(matches!(kind, EntryType::Regular | EntryType::Continuous) && !is_sparse(entry)?)
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
