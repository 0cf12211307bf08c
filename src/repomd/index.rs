//! The packages of a repository by location, in little memory.
//!
//! An index has a record for each package: a hash of the location, and what finds and bounds the package.
//! Records are collected in sorted runs; all but the last run are in a file. A lookup searches every run.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;

use super::Package;
use crate::checksum::{Algorithm, Checksum};

/// Hash, size, algorithm and SHA-256. Records sort by their hashes.
type Record = [u8; RECORD];
const RECORD: usize = HASH + 8 + 1 + SHA256;
const HASH: usize = 8;
const SHA256: usize = 32;

/// How many records are in memory at most; they take 3 MB.
const RUN: usize = 1 << 16;

/// What primary.xml says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its size in bytes.
    pub size: u64,
    /// The algorithm of its checksum.
    pub algorithm: Algorithm,
    /// The checksum, if the algorithm is SHA-256. Registries find nothing by any other.
    pub sha256: Option<Checksum>,
}

/// All packages of a repository.
#[derive(Debug)]
pub struct PackageIndex {
    /// The hash has a random key, so collisions cannot be crafted; among two million locations the odds of
    /// one are 1 in 10^7.
    hash: RandomState,
    /// Full runs.
    file: Option<File>,
    full_runs: u64,
    /// The last run.
    last: Vec<Record>,
    smallest: Option<Package>,
}

/// Makes an index.
pub struct Builder<F> {
    index: PackageIndex,
    new_file: F,
    failure: Option<io::Error>,
}

impl<F: FnMut() -> io::Result<File>> Builder<F> {
    /// An index without packages yet. `new_file` makes the file for a large one.
    pub fn new(new_file: F) -> Self {
        let index = PackageIndex {
            hash: RandomState::new(),
            file: None,
            full_runs: 0,
            last: Vec::new(),
            smallest: None,
        };
        Self { index, new_file, failure: None }
    }

    /// Adds a package under the location that clients request.
    pub fn add(&mut self, location: &str, package: &Package) {
        if self.failure.is_some() {
            return;
        }
        let index = &mut self.index;
        index.last.push(record(index.hash.hash_one(location), package));
        let is_smaller =
            |than: &Package| (package.size, &package.location) < (than.size, &than.location);
        if index.smallest.as_ref().is_none_or(is_smaller) {
            index.smallest = Some(package.clone());
        }
        if index.last.len() == RUN {
            self.failure = self.write_run().err();
        }
    }

    fn write_run(&mut self) -> io::Result<()> {
        let index = &mut self.index;
        let file = match &mut index.file {
            Some(file) => file,
            none => none.insert((self.new_file)()?),
        };
        index.last.sort_unstable();
        file.write_all_at(index.last.as_flattened(), index.full_runs * (RUN * RECORD) as u64)?;
        index.full_runs += 1;
        index.last.clear();
        Ok(())
    }

    /// The index of all packages that were added.
    ///
    /// # Errors
    /// If its file cannot be written.
    pub fn finish(mut self) -> io::Result<PackageIndex> {
        self.index.last.sort_unstable();
        self.failure.map_or(Ok(self.index), Err)
    }
}

impl PackageIndex {
    /// The package at this location.
    ///
    /// # Errors
    /// If the file of the index cannot be read.
    pub fn get(&self, location: &str) -> io::Result<Option<Known>> {
        let hash = self.hash.hash_one(location).to_be_bytes();
        let found = self.last.partition_point(|record| record[..HASH] < hash[..]);
        if let Some(record) = self.last.get(found).filter(|record| record[..HASH] == hash) {
            return Ok(Some(known(record)));
        }
        for run in 0..self.full_runs {
            if let Some(record) = self.search(run, &hash)? {
                return Ok(Some(known(&record)));
            }
        }
        Ok(None)
    }

    /// The smallest package, and of several the first by location.
    pub fn smallest(&self) -> Option<&Package> {
        self.smallest.as_ref()
    }

    /// Searches a run in the file.
    fn search(&self, run: u64, hash: &[u8; HASH]) -> io::Result<Option<Record>> {
        let (mut low, mut high) = (0, RUN as u64);
        while low < high {
            let middle = (low + high) / 2;
            let record = self.record(run * RUN as u64 + middle)?;
            if record[..HASH] < hash[..] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == RUN as u64 {
            return Ok(None);
        }
        let record = self.record(run * RUN as u64 + low)?;
        Ok((record[..HASH] == hash[..]).then_some(record))
    }

    fn record(&self, number: u64) -> io::Result<Record> {
        let mut record = [0; RECORD];
        if let Some(file) = &self.file {
            file.read_exact_at(&mut record, number * RECORD as u64)?;
        }
        Ok(record)
    }
}

fn record(hash: u64, package: &Package) -> Record {
    let mut record = [0; RECORD];
    let algorithm = package.checksum.algorithm();
    record[..HASH].copy_from_slice(&hash.to_be_bytes());
    record[HASH..HASH + 8].copy_from_slice(&package.size.to_be_bytes());
    record[HASH + 8] = algorithm as u8;
    if algorithm == Algorithm::Sha256 {
        record[HASH + 9..].copy_from_slice(&package.checksum.to_bytes());
    }
    record
}

fn known(record: &Record) -> Known {
    let mut size = [0; 8];
    size.copy_from_slice(&record[HASH..HASH + 8]);
    let algorithm = Algorithm::ALL[usize::from(record[HASH + 8])];
    let sha256 = (algorithm == Algorithm::Sha256)
        .then(|| Checksum::from_bytes(algorithm, &record[HASH + 9..]));
    Known { size: u64::from_be_bytes(size), algorithm, sha256 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Hasher;

    fn listed(number: usize, algorithm: Algorithm) -> Package {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&number.to_be_bytes());
        let location = format!("p/{number}.rpm");
        Package { location, checksum: hasher.finish(), size: 1000 + number as u64 }
    }

    fn index(count: usize, algorithm: Algorithm) -> PackageIndex {
        let mut builder = Builder::new(tempfile::tempfile);
        for number in 0..count {
            let package = listed(number, algorithm);
            builder.add(&package.location, &package);
        }
        builder.finish().expect("written")
    }

    #[test]
    fn every_package_is_found_in_memory_and_in_the_file() {
        let count = 2 * RUN + 100;
        for (count, runs) in [(0, 0), (1, 0), (RUN - 1, 0), (RUN, 1), (count, 2)] {
            let index = index(count, Algorithm::Sha256);
            assert_eq!((index.full_runs, index.file.is_some()), (runs, runs > 0));
            assert!(index.last.len() < RUN);
            for number in (0..count).step_by(997).chain(count.checked_sub(1)) {
                let package = listed(number, Algorithm::Sha256);
                let known = index.get(&package.location).expect("read").expect("there");
                assert_eq!((known.size, known.sha256), (package.size, Some(package.checksum)));
            }
            assert_eq!(index.get("p/no.rpm").expect("read"), None);
        }
    }

    #[test]
    fn another_checksum_is_named_and_left_out() {
        let index = index(1, Algorithm::Sha512);
        let known = index.get("p/0.rpm").expect("read").expect("there");
        let expected = Known { size: 1000, algorithm: Algorithm::Sha512, sha256: None };
        assert_eq!(known, expected);
    }

    #[test]
    fn the_smallest_package_is_the_first_of_its_size() {
        let mut builder = Builder::new(tempfile::tempfile);
        for (location, size) in [("c", 2), ("b", 1), ("a", 1), ("d", 1)] {
            let package =
                Package { location: location.into(), size, ..listed(0, Algorithm::Sha256) };
            builder.add(location, &package);
        }
        let index = builder.finish().expect("written");
        assert_eq!(index.smallest().map(|package| package.location.as_str()), Some("a"));
    }

    #[test]
    fn a_file_that_cannot_be_made_fails_the_index() {
        let mut builder = Builder::new(|| Err(io::ErrorKind::StorageFull.into()));
        for number in 0..RUN {
            let package = listed(number, Algorithm::Md5);
            builder.add(&package.location, &package);
        }
        assert_eq!(builder.finish().expect_err("failed").kind(), io::ErrorKind::StorageFull);
    }
}
