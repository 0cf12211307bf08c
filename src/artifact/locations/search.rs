//! Finding a package in a file with the lines of a table of locations.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::FileExt;

use super::{Located, MAX_LINE, Table, field};

/// The lines of a table of locations in a file, without the two lines before them. They are searched where
/// they are, so that they take no memory and no time at the start.
#[derive(Debug)]
pub struct Search {
    file: File,
    size: u64,
}

impl Search {
    /// A search in a file that was written from a valid table.
    ///
    /// # Errors
    /// If its size cannot be read.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    /// The package at this location.
    ///
    /// # Errors
    /// If the file cannot be read, or is not what was written.
    pub fn get(&self, location: &str) -> io::Result<Option<Located>> {
        // Both are the beginnings of lines.
        let (mut low, mut high) = (0, self.size);
        while low < high {
            let (start, line) = self.line_around((low + high) / 2, low..high)?;
            let end = start + line.len() as u64 + 1;
            match location_of(&line)?.cmp(location) {
                Ordering::Equal => return parse(&line).map(Some),
                Ordering::Less => low = end,
                Ordering::Greater => high = start,
            }
        }
        Ok(None)
    }

    /// The smallest package, and of several the first by location. Reads the whole file.
    ///
    /// # Errors
    /// If the file cannot be read, or is not what was written.
    pub fn smallest(&self) -> io::Result<Option<Located>> {
        let mut file = self.file.try_clone()?;
        io::Seek::rewind(&mut file)?;
        let mut smallest: Option<Located> = None;
        for line in BufReader::new(file).lines() {
            let package = parse(&line?)?;
            if smallest.as_ref().is_none_or(|smallest| package.size < smallest.size) {
                smallest = Some(package);
            }
        }
        Ok(smallest)
    }

    /// The line that has the byte at `position`, and where it begins. It is within `bounds`.
    fn line_around(
        &self,
        position: u64,
        bounds: std::ops::Range<u64>,
    ) -> io::Result<(u64, String)> {
        let first = position.saturating_sub(MAX_LINE as u64).max(bounds.start);
        let last = (position + MAX_LINE as u64).min(bounds.end);
        let mut window = vec![0; (last - first) as usize];
        self.file.read_exact_at(&mut window, first)?;
        let middle = (position - first) as usize;
        let is_end = |byte: &u8| *byte == b'\n';
        let start = window[..middle].iter().rposition(is_end).map_or(0, |end| end + 1);
        let length = window[start..].iter().position(is_end).ok_or(ErrorKind::InvalidData)?;
        let line = str::from_utf8(&window[start..start + length]).map_err(invalid)?;
        Ok((first + start as u64, line.to_owned()))
    }
}

fn location_of(line: &str) -> io::Result<&str> {
    let (_, rest) = field(line).map_err(invalid)?;
    let (_, rest) = field(rest).map_err(invalid)?;
    let (_, location) = field(rest).map_err(invalid)?;
    Ok(location)
}

fn parse(line: &str) -> io::Result<Located> {
    Table::Locations.package(line).map_err(invalid)
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{Algorithm, Hasher};
    use std::io::Write;

    fn located(number: usize) -> Located {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&number.to_be_bytes());
        let (sha256, size) = (hasher.finish(), 1000 + (number as u64 * 7919) % 1009);
        // Lines of very different lengths, and one location that begins another one.
        let location = format!("p/{number:05}{}", "x".repeat(number * 31 % 1000));
        Located { location, sha256, size, segment: number % 3, removed: None }
    }

    fn search(packages: &[Located]) -> Search {
        let mut file = tempfile::tempfile().expect("made");
        for package in packages {
            writeln!(file, "{}", Table::Locations.line(package)).expect("written");
        }
        Search::new(file).expect("there")
    }

    #[test]
    fn every_package_is_found_and_no_other() {
        for count in [0, 1, 2, 3, 2000] {
            let packages: Vec<_> = (0..count).map(located).collect();
            let search = search(&packages);
            for package in &packages {
                assert_eq!(search.get(&package.location).expect("read").as_ref(), Some(package));
            }
            for location in ["", "a", "p/00001", "p/00001x", "p/01000y", "z", "é"] {
                assert_eq!(search.get(location).expect("read"), None, "{count} {location}");
            }
        }
    }

    #[test]
    fn the_smallest_package_is_the_first_of_its_size() {
        assert_eq!(search(&[]).smallest().expect("read"), None);
        let mut packages: Vec<_> = (0..9).map(located).collect();
        packages[4].size = 1;
        packages[6].size = 1;
        let search = search(&packages);
        for _ in 0..2 {
            assert_eq!(search.smallest().expect("read").as_ref(), Some(&packages[4]));
        }
    }

    #[test]
    fn another_file_is_an_error() {
        for content in ["one line\n", "no end", "a b c\n", "\u{0}\n"] {
            let mut file = tempfile::tempfile().expect("made");
            file.write_all(content.as_bytes()).expect("written");
            let error = Search::new(file).expect("there").get("b").expect_err(content);
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{content}");
        }
    }
}
