//! Which package is in which segment: dnf5-oci-layout(7), "Segments".

use std::collections::{BTreeMap, HashMap};

use super::document::{Descriptor, Digest, MANIFEST, Manifest, Platform};
use super::state::{Held, Segment, variant_of};
use super::{Limits, document};
use crate::artifact::media_types::{PACKAGE, SEGMENT};

/// How many segments may be less than half full before they are merged. Merging costs a request for each of
/// their packages, so it must not happen at each update; averaged over all updates it costs no more than one
/// request for each new package.
const MAX_SMALL: usize = 32;

/// The segments of the next state.
#[derive(Debug)]
pub struct Arrangement {
    /// All of them, in the order of the index.
    pub segments: Vec<Placement>,
    /// The number of each package's segment.
    pub numbers: HashMap<Digest, usize>,
}

/// One segment.
#[derive(Debug)]
pub struct Placement {
    /// Its entry in the index.
    pub entry: Descriptor,
    /// Its name.
    pub variant: String,
    /// Its manifest and its packages, if it is new.
    pub new: Option<NewSegment>,
}

/// A segment that the registry may not have.
#[derive(Debug)]
pub struct NewSegment {
    /// The bytes of its manifest.
    pub bytes: Vec<u8>,
    /// The digests and sizes of its packages.
    pub packages: Vec<(Digest, u64)>,
}

/// Selects the segments that are replaced when packages are added: foreign ones, and small ones if there are
/// too many.
pub fn outgrown(old: &[Segment], limits: &Limits) -> Vec<bool> {
    let is_small = |segment: &Segment| segment.packages.len() * 2 < limits.layers;
    let too_many = old.iter().filter(|segment| is_small(segment)).count() > MAX_SMALL;
    let replaced = |segment: &Segment| segment.variant.is_empty() || too_many && is_small(segment);
    old.iter().map(replaced).collect()
}

/// Places all `needed` packages, given by their locations. Segments that are not `replaced` stay, and packages
/// that are in none of those get new ones.
pub fn arrange(
    old: &[Segment],
    replaced: &[bool],
    needed: &BTreeMap<Digest, (String, u64)>,
    limits: &Limits,
) -> Arrangement {
    let kept: Vec<_> =
        old.iter().zip(replaced).filter(|(_, replaced)| !**replaced).map(|(old, _)| old).collect();
    let mut numbers = HashMap::new();
    for (number, segment) in kept.iter().enumerate() {
        for digest in segment.packages.keys().filter(|digest| needed.contains_key(digest)) {
            numbers.entry(digest.clone()).or_insert(number);
        }
    }
    let mut segments: Vec<_> = kept
        .into_iter()
        .map(|segment| Placement {
            entry: segment.entry.clone(),
            variant: segment.variant.clone(),
            new: None,
        })
        .collect();
    let mut new: Vec<_> =
        needed.iter().filter(|(digest, _)| !numbers.contains_key(*digest)).collect();
    new.sort_by(|(one, (first, _)), (other, (second, _))| (first, one).cmp(&(second, other)));
    for chunk in chunks(&new, limits) {
        for (digest, _) in chunk {
            numbers.insert((*digest).clone(), segments.len());
        }
        segments.push(placement(chunk));
    }
    Arrangement { segments, numbers }
}

type Needed<'a> = (&'a Digest, &'a (String, u64));

/// Into how many segments a first publish is cut at least, as long as each has so many packages: a copy of skopeo
/// pushes one blob at a time, and several segments are pushed side by side.
const SIDE_BY_SIDE: usize = 8;
const WORTH_A_SEGMENT: usize = 100;

/// Cuts the packages into segments that keep to the limits.
fn chunks<'a, 'b>(packages: &'b [Needed<'a>], limits: &Limits) -> Vec<&'b [Needed<'a>]> {
    let most = packages.len().div_ceil(SIDE_BY_SIDE).max(WORTH_A_SEGMENT).min(limits.layers);
    let mut chunks = Vec::new();
    let (mut start, mut bytes, mut size) = (0, 0, 0);
    for (position, (digest, (location, package_size))) in packages.iter().enumerate() {
        let entry = layer(digest, location, *package_size);
        let entry = document::to_bytes(&entry).len() + 1;
        let is_full = position - start == most
            || bytes + entry > limits.manifest_bytes - ENVELOPE
            || size + package_size > limits.segment_size;
        if is_full && position > start {
            chunks.push(&packages[start..position]);
            (start, bytes, size) = (position, 0, 0);
        }
        (bytes, size) = (bytes + entry, size + package_size);
    }
    if start < packages.len() {
        chunks.push(&packages[start..]);
    }
    chunks
}

/// What a manifest takes besides its layers, in bytes, at most.
const ENVELOPE: usize = 1024;

fn placement(packages: &[Needed<'_>]) -> Placement {
    let layers = packages.iter().map(|(digest, (location, size))| layer(digest, location, *size));
    let bytes = document::to_bytes(&Manifest::new(SEGMENT, layers.collect()));
    let digest = Digest::of(&bytes);
    let variant = variant_of(&digest);
    let entry = Descriptor {
        artifact_type: Some(SEGMENT.to_owned()),
        platform: Some(Platform::segment(&variant)),
        ..Descriptor::new(MANIFEST, digest, bytes.len() as u64)
    };
    let packages = packages.iter().map(|(digest, (_, size))| ((*digest).clone(), *size)).collect();
    Placement { entry, variant, new: Some(NewSegment { bytes, packages }) }
}

/// The layer that is a package.
pub fn layer(digest: &Digest, location: &str, size: u64) -> Descriptor {
    Descriptor::new(PACKAGE, digest.clone(), size).titled(location)
}

/// The layer that is a package of the registry.
pub fn layer_of(location: &str, package: &Held) -> Descriptor {
    layer(&package.digest, location, package.size)
}
