//! The metadata that dnf5 has in its cache.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::{Marker, REPODATA, read_repomd};
use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::repomd::{Record, Repomd};

/// The metadata in DNF's cache directory of one repository, by which dnf5 asks for packages. It stays the
/// same when others replace it in the directory.
#[derive(Debug)]
pub struct CachedMetadata {
    file: File,
    /// The SHA-256 of repomd.xml.
    pub repomd: Checksum,
    /// The record of the primary metadata, which is what identifies it.
    pub primary: Record,
    /// The marker, unless dnf5 itself has downloaded the metadata.
    pub marker: Option<Marker>,
}

impl CachedMetadata {
    /// The metadata in a cache directory, if it has usable ones. Nothing is created.
    pub fn open(cache_dir: &Path) -> Option<Self> {
        if !cache_dir.is_absolute() {
            return None;
        }
        let dir = Dir::open_ambient_dir(cache_dir, ambient_authority()).ok()?;
        let repodata = dir.open_dir(REPODATA).ok()?;
        let xml = read_repomd(&repodata).ok()?;
        let records = Repomd::parse(&xml).ok()?.records;
        let primary = records.into_iter().find(|record| record.kind == "primary")?;
        let file = repodata.open(&primary.name).ok()?.into_std();
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let marker = Marker::read(&repodata);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&xml);
        Some(Self { file, repomd: hasher.finish(), primary, marker })
    }

    /// The primary metadata, from its beginning.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open_primary(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnf_cache::testing::{Cache, sample, sha256};
    use std::fs;
    use std::io::Read;

    #[test]
    fn metadata_is_found_with_where_it_came_from() {
        let cache = Cache::new();
        assert!(CachedMetadata::open(&cache.path("")).is_none());
        cache.commit("one");
        let cached = CachedMetadata::open(&cache.path("")).expect("there");
        assert_eq!(cached.repomd, sha256(sample("one")[0].1.as_bytes()));
        assert_eq!(cached.marker, Some(Cache::marker("one")));
        cache.commit("two");
        for _ in 0..2 {
            let mut primary = String::new();
            cached.open_primary().expect("there").read_to_string(&mut primary).expect("read");
            assert_eq!(primary, "one");
        }
        fs::remove_file(cache.path("repodata/.dnf5-oci.json")).expect("removed");
        assert_eq!(CachedMetadata::open(&cache.path("")).expect("there").marker, None);
    }

    #[test]
    fn what_dnf5_could_not_use_is_no_metadata() {
        let cache = Cache::new();
        cache.commit("one");
        fs::write(cache.path("repodata/repomd.xml"), "<").expect("written");
        assert!(CachedMetadata::open(&cache.path("")).is_none());
        assert!(CachedMetadata::open(&cache.path("absent")).is_none());
        assert!(!cache.path("absent").exists());
    }
}
