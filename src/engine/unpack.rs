//! Which parts of a layer are written into the layer store, and as which files.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use super::Settings;
use super::error::Cause;
use super::locations;
use super::reading::copy;
use crate::artifact::archive::{Limits, Member, Rules, read_archive};
use crate::decompress::expansion_limit;
use crate::layer_store::{StagedLayer, Store};
use crate::repomd::PackageIndex;

/// How many links are followed to get to a file, as Linux does it (path_resolution(7)).
const MAX_FOLLOWED: usize = 40;

/// How many links of a layer are followed, and how long all their names may be, in bytes.
const MAX_LINKS: usize = 10_000;
const MAX_LINK_NAMES: usize = 2 << 20;

/// What is taken from a layer.
#[derive(Clone)]
pub(super) enum Part {
    /// All of it: it has metadata alone.
    Repodata,
    /// The metadata in a layer that may have all of the repository in it.
    Metadata,
    /// The packages that the metadata lists.
    Packages(Packages),
    /// One file, whether the metadata lists it or not.
    File(OneFile),
    /// The table of locations, in the form that it is searched in. Of this size in bytes; it is no tar layer.
    Locations(u64),
}

/// One file of a directory layer.
#[derive(Clone)]
pub(super) struct OneFile {
    pub(super) path: String,
    /// As for [`Packages`].
    pub(super) root: String,
    pub(super) title: String,
    /// The largest size that is written, in bytes.
    pub(super) max_size: u64,
}

/// The packages of a directory layer, each written as the file with its location.
#[derive(Clone)]
pub(super) struct Packages {
    /// What the metadata lists.
    pub(super) index: Arc<PackageIndex>,
    /// What identifies the metadata.
    pub(super) listing: String,
    /// The directory of the repository in the layer, with a slash at its end, or empty.
    pub(super) root: String,
    /// The title of the layer. Some tools begin the names in it with that.
    pub(super) title: String,
    /// The location of the only package to be taken.
    pub(super) only: Option<String>,
}

/// What has been unpacked, or has to be done with knowledge of the links in the layer.
pub(super) enum Unpacked<'a> {
    Complete(StagedLayer<'a>),
    Again(Links),
}

/// The names of links, by the names of their targets.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: HashMap<String, Vec<String>>,
    count: usize,
    bytes: usize,
    /// The directories that have files.
    directories: HashSet<String>,
}

impl Part {
    /// What a layer is called in the store, by its digest. Other metadata lists other packages.
    pub(super) fn key(&self, digest: &str) -> String {
        match self {
            Self::Repodata => digest.to_owned(),
            Self::Metadata => format!("{digest}-metadata"),
            Self::Packages(packages) => format!("{digest}-{}", packages.listing),
            Self::File(file) => format!("{digest}-file-{}", file.path),
            Self::Locations(_) => format!("{digest}-locations"),
        }
    }

    /// The bounds on a layer of this size.
    pub(super) fn limits(&self, settings: &Settings, size: u64) -> Limits {
        let (all, member) = (&settings.directory_limits, &settings.repodata_limits);
        let mut limits = match self {
            Self::Repodata => member.clone(),
            Self::Metadata => Limits { member_size: member.member_size, ..all.clone() },
            Self::Packages(_) | Self::File(_) | Self::Locations(_) => all.clone(),
        };
        limits.total_size = expansion_limit(size, limits.total_size);
        limits
    }

    /// Unpacks what is wanted. `links` are those of the layer, if they are known.
    pub(super) fn unpack<'a>(
        &self,
        layer: &mut dyn Read,
        limits: &Limits,
        store: &'a Store,
        links: Option<&Links>,
    ) -> Result<Unpacked<'a>, Cause> {
        let staged = store.stage()?;
        if let Self::Locations(size) = self {
            locations::unpack(layer, *size, &staged)?;
            return Ok(Unpacked::Complete(staged));
        }
        let rules = if matches!(self, Self::Repodata) { Rules::Strict } else { Rules::Lenient };
        let mut found = Links::default();
        read_archive(layer, limits, rules, |member| match (self, member) {
            (Self::Repodata, Member::File { name, modified, content, .. }) => {
                write(&staged, name, modified, content)
            }
            (Self::Metadata, Member::File { name, modified, content, .. }) => {
                if is_metadata(name) && !staged.has(name) {
                    write(&staged, name, modified, content)?;
                }
                Ok(())
            }
            (Self::Packages(packages), Member::File { name, size, modified, content }) => {
                if links.is_none() {
                    found.add_file(name);
                }
                let locations = packages.locations(name, size, links)?;
                write_as(&staged, &locations, modified, content)
            }
            (Self::File(file), Member::File { name, size, modified, content }) => {
                if file.is(name) && size <= file.max_size && !staged.has(&file.path) {
                    write(&staged, &file.path, modified, content)?;
                }
                Ok(())
            }
            (Self::Packages(_), Member::Link { name, target }) => {
                found.add(name, target);
                Ok(())
            }
            (Self::Repodata | Self::Metadata | Self::File(_), Member::Link { .. })
            | (Self::Locations(_), _) => Ok(()),
        })?;
        match self {
            Self::Packages(packages) if links.is_none() && !packages.link(&staged, &found)? => {
                Ok(Unpacked::Again(found))
            }
            _ => Ok(Unpacked::Complete(staged)),
        }
    }
}

impl OneFile {
    fn is(&self, name: &str) -> bool {
        let inside = format!("{}/{name}", self.title);
        [name, &inside].iter().any(|name| name.strip_prefix(&self.root) == Some(&self.path))
    }
}

impl Packages {
    /// The locations of the listed packages that a file is. A file that is larger than the metadata says
    /// is none of them.
    fn locations(
        &self,
        name: &str,
        size: u64,
        links: Option<&Links>,
    ) -> Result<Vec<String>, Cause> {
        let names = links.map_or_else(|| vec![name.to_owned()], |links| links.names_of(name));
        let mut locations = Vec::new();
        for name in names {
            match self.listed(&name)? {
                Some((location, listed)) if size <= listed => locations.push(location),
                Some((location, listed)) => {
                    tracing::info!(location, size, listed, "larger than its metadata says");
                }
                None => {}
            }
        }
        Ok(locations)
    }

    /// Location and size of the listed package with this name in the layer.
    fn listed(&self, name: &str) -> Result<Option<(String, u64)>, Cause> {
        let inside = format!("{}/{name}", self.title);
        for name in [name, &inside] {
            let Some(location) = name.strip_prefix(&self.root) else { continue };
            if self.only.as_ref().is_some_and(|only| only != location) {
                continue;
            }
            if let Some(known) = self.index.get(location).map_err(Cause::Index)? {
                return Ok(Some((location.to_owned(), known.size)));
            }
        }
        Ok(None)
    }

    /// Gives the packages that are links the files that they lead to. Returns whether all of them have one;
    /// a target that is not listed itself has not been written.
    fn link(&self, staged: &StagedLayer<'_>, links: &Links) -> Result<bool, Cause> {
        let mut is_complete = true;
        for (target, names) in &links.names {
            let written = self.listed(target)?.filter(|(location, _)| staged.has(location));
            for name in names {
                match (self.listed(name)?, &written) {
                    (Some((location, _)), Some((file, _))) if !staged.has(&location) => {
                        staged.link(file, &location)?;
                    }
                    (Some((location, _)), _) => is_complete &= staged.has(&location),
                    (None, _) => is_complete &= !links.directories.contains(target),
                }
            }
        }
        Ok(is_complete)
    }
}

impl Links {
    fn add(&mut self, name: &str, target: &str) {
        self.count += 1;
        self.bytes += name.len() + target.len();
        if self.count <= MAX_LINKS && self.bytes <= MAX_LINK_NAMES {
            self.names.entry(target.to_owned()).or_default().push(name.to_owned());
        }
    }

    fn add_file(&mut self, name: &str) {
        if let Some((directory, _)) = name.rsplit_once('/')
            && self.bytes <= MAX_LINK_NAMES
            && !self.directories.contains(directory)
        {
            self.bytes += directory.len();
            self.directories.insert(directory.to_owned());
        }
    }

    /// All names of a file: its own, and those that links give it or a directory above it.
    fn names_of(&self, name: &str) -> Vec<String> {
        let mut all = vec![name.to_owned()];
        let mut next = 0;
        while let Some(name) = all.get(next).cloned() {
            next += 1;
            let ends = name.match_indices('/').map(|(end, _)| end).chain([name.len()]);
            for end in ends {
                for link in self.names.get(&name[..end]).into_iter().flatten() {
                    let other = format!("{link}{}", &name[end..]);
                    if all.len() < MAX_FOLLOWED && !all.contains(&other) {
                        all.push(other);
                    }
                }
            }
        }
        all
    }
}

/// Whether a file may be metadata: it is not a package, and in a directory of metadata or in none.
fn is_metadata(name: &str) -> bool {
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    let is_repodata = directory == "repodata" || directory.ends_with("/repodata");
    (is_repodata || directory.is_empty()) && !name.ends_with(".rpm")
}

fn write(
    staged: &StagedLayer<'_>,
    path: &str,
    modified: SystemTime,
    content: &mut dyn Read,
) -> Result<(), Cause> {
    let mut file = staged.file(path)?;
    copy(content, &mut file)?;
    Ok(file.finish(modified)?)
}

/// Writes a file under several names. Of two files with one name the first counts.
fn write_as(
    staged: &StagedLayer<'_>,
    paths: &[String],
    modified: SystemTime,
    content: &mut dyn Read,
) -> Result<(), Cause> {
    let mut paths = paths.iter().filter(|path| !staged.has(path));
    let Some(first) = paths.next() else {
        return Ok(());
    };
    write(staged, first, modified, content)?;
    paths.try_for_each(|second| Ok(staged.link(first, second)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_names_of_links_to_it_and_its_directories() {
        let mut links = Links::default();
        for (name, target) in [
            ("Packages/latest.rpm", "pool/one.rpm"),
            ("current", "pool"),
            ("newest", "current"),
            ("loop", "loop2"),
            ("loop2", "loop"),
        ] {
            links.add(name, target);
        }
        let mut names = links.names_of("pool/one.rpm");
        names.sort();
        let expected = ["Packages/latest.rpm", "current/one.rpm", "newest/one.rpm", "pool/one.rpm"];
        assert_eq!(names, expected);
        assert_eq!(links.names_of("loop/x"), ["loop/x", "loop2/x"]);
        assert_eq!(links.names_of("other"), ["other"]);
    }

    #[test]
    fn links_without_end_do_not_fill_the_memory() {
        let mut links = Links::default();
        links.add("a/a", "a");
        assert_eq!(links.names_of("a").len(), MAX_FOLLOWED);
        for number in 0..2 * MAX_LINKS {
            links.add(&number.to_string(), "b");
        }
        assert_eq!(links.names["b"].len(), MAX_LINKS - 1);
    }

    #[test]
    fn metadata_is_told_by_its_directory() {
        for (name, expected) in [
            ("repodata/repomd.xml", true),
            ("rr/repodata/x-primary.xml.zst", true),
            ("repomd.xml", true),
            ("one.rpm", false),
            ("repodata/one.rpm", false),
            ("docs/repomd.xml", false),
        ] {
            assert_eq!(is_metadata(name), expected, "{name}");
        }
    }
}
