//! What two references have of each other: packages in, out and changed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Publisher;
use super::error::Error;
use super::listing::{ListedPackage, Package, selected};
use crate::source::Source;

/// What differs between two references.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// The first.
    pub old: Side,
    /// The second.
    pub new: Side,
    /// What differs, sorted by architecture and name.
    pub changes: Vec<Change>,
}

/// One of the two.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Side {
    /// The reference.
    pub reference: String,
    /// The digest of what it leads to.
    pub digest: String,
    /// Number of packages, of all architectures.
    pub packages: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// A package that only one of them has, or that has other bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// The architecture of the metadata, in Go's names; `None` is the one for all.
    pub arch: Option<String>,
    /// The first one's package.
    pub old: Option<ListedPackage>,
    /// The second one's package.
    pub new: Option<ListedPackage>,
}

/// The packages of a reference by the architecture of the metadata.
type Packages = BTreeMap<Option<String>, Vec<Package>>;

impl Publisher {
    /// Compares what two references lead to; with `arch`, the metadata for that architecture alone.
    ///
    /// # Errors
    /// If one of them leads to no repository, or cannot be read.
    pub async fn diff(
        &self,
        old: &Source,
        new: &Source,
        arch: Option<&str>,
    ) -> Result<Difference, Error> {
        let (old, old_packages) = self.side(old, arch).await?;
        let (new, new_packages) = self.side(new, arch).await?;
        Ok(Difference { old, new, changes: compare_all(&old_packages, &new_packages) })
    }

    async fn side(&self, source: &Source, arch: Option<&str>) -> Result<(Side, Packages), Error> {
        let (digest, state) = self.existing(source).await?;
        let mut packages = Packages::new();
        for instance in selected(source, &state, arch)? {
            let metadata = self.metadata(source, &digest, instance).await?;
            // Who asks for one architecture compares it with whatever a client of that would get.
            let key = instance.arch.clone().filter(|_| arch.is_none());
            packages.insert(key, metadata.packages);
        }
        let all = || packages.values().flatten();
        let side = Side {
            reference: source.reference.to_string(),
            digest,
            packages: all().count(),
            bytes: all().map(|package| package.size).sum(),
        };
        Ok((side, packages))
    }
}

fn compare_all(old: &Packages, new: &Packages) -> Vec<Change> {
    let none = Vec::new();
    let mut arches: Vec<_> = old.keys().chain(new.keys()).collect();
    arches.sort();
    arches.dedup();
    let of_arch = |arch: &Option<String>| {
        let find = |all: &'_ Packages| all.get(arch).unwrap_or(&none).clone();
        let changes = compare(&find(old), &find(new)).into_iter();
        changes.map(|change| Change { arch: arch.clone(), ..change }).collect::<Vec<_>>()
    };
    arches.into_iter().flat_map(of_arch).collect()
}

/// What differs between the packages of one architecture, sorted by name. Packages are the same if their
/// locations and their bytes are. One with other bytes and the same name and location has changed; any other
/// one came or left, also if it took the place of another version.
fn compare(old: &[Package], new: &[Package]) -> Vec<Change> {
    let by_location = |packages: &[Package]| -> BTreeMap<String, Package> {
        packages.iter().map(|package| (package.location.clone(), package.clone())).collect()
    };
    let (old, mut new) = (by_location(old), by_location(new));
    let mut pairs: Vec<(Option<Package>, Option<Package>)> = Vec::new();
    for (location, package) in old {
        match new.remove(&location) {
            Some(other) if other.checksum == package.checksum => {}
            Some(other) if other.nevra == package.nevra => pairs.push((Some(package), Some(other))),
            other => {
                pairs.push((Some(package), None));
                pairs.extend(other.map(|other| (None, Some(other))));
            }
        }
    }
    pairs.extend(new.into_values().map(|package| (None, Some(package))));
    // What left comes before what took its place.
    pairs.sort_by_cached_key(|(old, new)| {
        let package = old.as_ref().or(new.as_ref());
        package.map(|package| {
            let (name, arch, ..) = package.key();
            (name.to_owned(), arch.to_owned(), old.is_none(), package.location.clone())
        })
    });
    let listed = |package: Package| ListedPackage::new(&package, None);
    let change = |(old, new): (Option<Package>, Option<Package>)| Change {
        arch: None,
        old: old.map(listed),
        new: new.map(listed),
    };
    pairs.into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{Algorithm, Checksum};
    use crate::repomd::Nevra;

    fn package(name: &str, version: &str, arch: &str, location: &str, byte: u8) -> Package {
        let text = str::to_owned;
        let (epoch, release) = (text("0"), text("1"));
        let (name, version, arch) = (text(name), text(version), text(arch));
        Package {
            nevra: Nevra { name, epoch, version, release, arch },
            location: text(location),
            checksum: Checksum::from_bytes(Algorithm::Sha256, &[byte; 32]),
            size: byte.into(),
        }
    }

    fn lines(changes: &[Change]) -> Vec<String> {
        let name = |package: &Option<ListedPackage>| {
            package.as_ref().map_or("", |package| package.nevra.as_str()).to_owned()
        };
        changes
            .iter()
            .map(|change| format!("{}|{}", name(&change.old), name(&change.new)))
            .collect()
    }

    #[test]
    fn what_left_stands_before_what_took_its_place() {
        let old = [
            package("b", "1", "noarch", "b-1.rpm", 1),
            package("a", "9", "noarch", "a-9.rpm", 2),
            package("same", "1", "noarch", "same.rpm", 3),
        ];
        let new = [
            package("a", "10", "noarch", "a-10.rpm", 4),
            package("a", "10", "i686", "a-10.i686.rpm", 5),
            package("same", "1", "noarch", "same.rpm", 3),
            package("c", "1", "noarch", "c.rpm", 6),
        ];
        assert_eq!(
            lines(&compare(&old, &new)),
            ["|a-10-1.i686", "a-9-1.noarch|", "|a-10-1.noarch", "b-1-1.noarch|", "|c-1-1.noarch",]
        );
        assert_eq!(compare(&new, &new), []);
    }

    #[test]
    fn other_bytes_are_a_change_and_another_place_is_not() {
        let old =
            [package("a", "1", "noarch", "a.rpm", 1), package("b", "1", "noarch", "b.rpm", 2)];
        let other = [
            package("a", "1", "noarch", "a.rpm", 9),
            package("b", "1", "noarch", "Packages/b.rpm", 2),
        ];
        assert_eq!(
            lines(&compare(&old, &other)),
            ["a-1-1.noarch|a-1-1.noarch", "b-1-1.noarch|", "|b-1-1.noarch"]
        );
        let renamed = [package("x", "1", "noarch", "a.rpm", 9)];
        assert_eq!(lines(&compare(&old[..1], &renamed)), ["a-1-1.noarch|", "|x-1-1.noarch"]);
    }

    #[test]
    fn architectures_are_compared_one_by_one() {
        let of = |arch: &str, byte| {
            (Some(arch.to_owned()), vec![package("a", "1", "noarch", "a.rpm", byte)])
        };
        let old = Packages::from([of("amd64", 1), of("arm64", 2)]);
        let new = Packages::from([of("amd64", 1), of("riscv64", 1)]);
        let changes = compare_all(&old, &new);
        let arches: Vec<_> = changes.iter().map(|change| change.arch.as_deref()).collect();
        assert_eq!(arches, [Some("arm64"), Some("riscv64")]);
        assert_eq!(lines(&changes), ["a-1-1.noarch|", "|a-1-1.noarch"]);
    }
}
