//! Plans: which manifests, segments and index follow from what is there and what is wanted.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::contents::{Blob, Content, Contents};
use super::document::{Descriptor, Digest, Index, Manifest};
use super::plan::{Next, Plan, Problem};
use super::state::{Held, Instance, Removed, Segment, State};
use super::{Limits, segments};
use crate::artifact::locations::{Located, Table};
use crate::artifact::media_types::{FILE, LOCATIONS, PACKAGE, PREVIOUS, REMOVED};

const LIMITS: Limits =
    Limits { layers: 10, manifest_bytes: 200 << 10, entries: 500, segment_size: 1 << 20 };

/// A package whose content is its name.
fn package(name: &str) -> (String, Held) {
    let held = Held { digest: Digest::of(name.as_bytes()), size: name.len() as u64 };
    (format!("p/{name}.rpm"), held)
}

fn packages(names: impl IntoIterator<Item = String>) -> BTreeMap<String, Held> {
    names.into_iter().map(|name| package(&name)).collect()
}

fn numbered(numbers: std::ops::Range<usize>) -> BTreeMap<String, Held> {
    packages(numbers.map(|number| format!("n{number:04}")))
}

fn contents(packages: BTreeMap<String, Held>) -> Contents {
    let bytes = format!("{packages:?}").into_bytes();
    let descriptor = Descriptor::new(FILE, Digest::of(&bytes), bytes.len() as u64);
    let repomd = Blob {
        descriptor: descriptor.titled("repodata/repomd.xml"),
        content: Content::Bytes(bytes),
    };
    Contents { files: vec![repomd], packages, paths: HashMap::new(), created: 1_700_000_000 }
}

/// All packages are on disk.
fn paths(packages: &BTreeMap<String, Held>) -> HashMap<Digest, PathBuf> {
    let path = |held: &Held| (held.digest.clone(), PathBuf::from("/dev/null"));
    packages.values().map(path).collect()
}

/// The state after a plan, as it would be read.
fn read(plan: &Plan) -> State {
    let digest = Some(plan.top.digest.to_string());
    let segments = plan.segments.iter().map(|place| {
        let packages = match &place.new {
            Some(new) => layers(&new.bytes)
                .into_iter()
                .map(|layer| {
                    (layer.digest.clone(), (layer.title().unwrap_or("").into(), layer.size))
                })
                .collect(),
            None => BTreeMap::new(),
        };
        Segment { entry: place.entry.clone(), variant: place.variant.clone(), packages }
    });
    let documents = plan.manifests.iter().chain((!plan.top.is_index).then_some(&plan.top));
    let instances = documents.map(|document| {
        let manifest: Manifest = serde_json::from_slice(&document.bytes).expect("a manifest");
        let mut instance = Instance {
            arch: None,
            descriptor: Descriptor::new("", document.digest.clone(), document.bytes.len() as u64),
            annotations: manifest.annotations,
            files: Vec::new(),
            is_extensible: true,
            is_segmented: false,
            packages: BTreeMap::new(),
            removed: Vec::new(),
        };
        for blob in &document.blobs {
            let layer = &blob.descriptor;
            match (layer.media_type.as_str(), layer.title(), &blob.content) {
                (LOCATIONS, _, Content::Bytes(bytes)) => {
                    instance.is_segmented = true;
                    for located in table(Table::Locations, bytes).1 {
                        let held = held(&located);
                        instance.packages.insert(located.location, held);
                    }
                }
                (REMOVED, _, Content::Bytes(bytes)) => {
                    for located in table(Table::Removed, bytes).1 {
                        let time = located.removed.expect("a time");
                        let package = held(&located);
                        instance.removed.push(Removed {
                            location: located.location,
                            package,
                            time,
                        });
                    }
                }
                (PACKAGE, Some(title), _) => {
                    let held = Held { digest: layer.digest.clone(), size: layer.size };
                    instance.packages.insert(title.to_owned(), held);
                }
                (FILE, Some(_), _) => instance.files.push(layer.clone()),
                _ => {}
            }
        }
        instance
    });
    let previous = annotations(&plan.top.bytes).get(PREVIOUS).cloned();
    State {
        digest,
        previous,
        is_index: plan.top.is_index,
        instances: instances.collect(),
        segments: segments.collect(),
    }
}

fn held(located: &Located) -> Held {
    Held { digest: Digest::try_from(&located.sha256).expect("SHA-256"), size: located.size }
}

fn table(table: Table, bytes: &[u8]) -> (Vec<String>, Vec<Located>) {
    let mut all = Vec::new();
    let variants = table.read(bytes, bytes.len() as u64, |located| all.push(located));
    (variants.expect("valid"), all)
}

fn layers(manifest: &[u8]) -> Vec<Descriptor> {
    serde_json::from_slice::<Manifest>(manifest).expect("a manifest").layers
}

fn annotations(document: &[u8]) -> BTreeMap<String, String> {
    let value: serde_json::Value = serde_json::from_slice(document).expect("JSON");
    serde_json::from_value(value["annotations"].clone()).unwrap_or_default()
}

#[track_caller]
fn plan(state: &State, packages: BTreeMap<String, Held>, now: u64) -> Plan {
    let paths = paths(&packages);
    let next = Next::with(state.instance(None), None, contents(packages), now);
    Plan::new(state, next, &paths, &LIMITS).expect("a plan")
}

/// The packages in each new segment.
fn new_sizes(plan: &Plan) -> Vec<usize> {
    let new = plan.segments.iter().filter_map(|place| place.new.as_ref());
    new.map(|new| new.packages.len()).collect()
}

#[test]
fn few_files_are_one_manifest() {
    let plan = plan(&State::default(), numbered(0..9), 1);
    assert!(!plan.top.is_index && plan.segments.is_empty() && plan.manifests.is_empty());
    let titles: Vec<_> = layers(&plan.top.bytes)
        .iter()
        .filter_map(|layer| layer.title().map(str::to_owned))
        .collect();
    assert_eq!(titles.len(), 10);
    assert!(titles.is_sorted(), "{titles:?}");
}

#[test]
fn more_files_are_an_index_of_segments() {
    let all = numbered(0..25);
    let plan = plan(&State::default(), all.clone(), 1);
    assert!(plan.top.is_index);
    assert_eq!(new_sizes(&plan), [10, 10, 5]);
    let index: Index = serde_json::from_slice(&plan.top.bytes).expect("an index");
    assert_eq!(index.manifests.len(), 4);
    assert!(index.manifests[0].platform.is_none());
    for (entry, place) in index.manifests[1..].iter().zip(&plan.segments) {
        let platform = entry.platform.as_ref().expect("a platform");
        assert_eq!(platform.variant.as_deref(), Some(&place.variant[..]));
        assert_eq!(place.variant, format!("s{}", &entry.digest.hex()[..16]));
        let bytes = &place.new.as_ref().expect("new").bytes;
        assert_eq!(entry.digest, Digest::of(bytes));
        assert!(annotations(bytes).is_empty(), "a segment has no clock");
    }
    let locations = &plan.manifests[0].blobs;
    let locations = locations.iter().find(|blob| blob.descriptor.media_type == LOCATIONS);
    let Content::Bytes(bytes) = &locations.expect("a table").content else {
        panic!("it is made here");
    };
    let (variants, rows) = table(Table::Locations, bytes);
    assert_eq!(rows.len(), 25);
    for row in rows {
        let place = &plan.segments[row.segment];
        assert_eq!(place.variant, variants[row.segment]);
        let digest = &all[&row.location].digest;
        let new = place.new.as_ref().expect("new");
        assert!(new.packages.iter().any(|(other, _)| other == digest));
    }
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    let first = plan(&State::default(), numbered(0..25), 1);
    let second = plan(&State::default(), numbered(0..25), 2);
    assert_eq!(first.top.bytes, second.top.bytes);
    let again = plan(&read(&first), numbered(0..25), 3);
    assert!(again.is_current(&read(&first)));
    assert!(new_sizes(&again).is_empty());
}

#[test]
fn new_packages_come_in_a_new_segment_and_the_others_stay() {
    let first = read(&plan(&State::default(), numbered(0..25), 1));
    let next = plan(&first, numbered(1..27), 7);
    assert_eq!(new_sizes(&next), [2]);
    let kept: Vec<_> = next.segments.iter().map(|place| &place.entry).collect();
    let old: Vec<_> = first.segments.iter().map(|segment| &segment.entry).collect();
    assert_eq!(kept[..3], old);
    assert_eq!(annotations(&next.top.bytes).get(PREVIOUS), first.digest.as_ref());
    let state = read(&next);
    let removed = &state.instances[0].removed;
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].location.as_str(), removed[0].time), ("p/n0000.rpm", 7));
}

#[test]
fn a_package_that_comes_back_is_no_longer_removed() {
    let first = read(&plan(&State::default(), numbered(0..25), 1));
    let mut second = read(&plan(&first, numbered(1..25), 2));
    second.segments = first.segments;
    let third = plan(&second, numbered(0..25), 3);
    assert!(new_sizes(&third).is_empty(), "its blob is in a segment");
    assert!(read(&third).instances[0].removed.is_empty());
}

#[test]
fn a_manifest_that_is_outgrown_becomes_an_index_with_all_its_packages() {
    let first = read(&plan(&State::default(), numbered(0..9), 1));
    let all = numbered(1..12);
    // Only the new ones are on disk.
    let paths = paths(&numbered(9..12));
    let next = Next::with(first.instance(None), None, contents(all), 2);
    let plan = Plan::new(&first, next, &paths, &LIMITS).expect("a plan");
    assert!(plan.top.is_index);
    assert_eq!(new_sizes(&plan), [10, 2], "what was removed as well");
}

#[test]
fn a_small_repository_keeps_what_has_left_without_a_title() {
    let first = read(&plan(&State::default(), numbered(0..4), 1));
    let second = plan(&first, numbered(1..4), 5);
    let untitled: Vec<_> =
        layers(&second.top.bytes).into_iter().filter(|layer| layer.title().is_none()).collect();
    assert_eq!(untitled[0].digest, package("n0000").1.digest);
    assert_eq!(untitled[1].media_type, REMOVED);
}

#[test]
fn many_small_segments_are_merged() {
    let mut state = read(&plan(&State::default(), numbered(0..11), 1));
    let mut known: HashMap<Digest, BTreeMap<Digest, (String, u64)>> = HashMap::new();
    let mut merged = 0;
    for number in 12..60 {
        for segment in &state.segments {
            known.insert(segment.entry.digest.clone(), segment.packages.clone());
        }
        let next = plan(&state, numbered(0..number), 1);
        merged += usize::from(new_sizes(&next).len() > 1);
        state = read(&next);
        for segment in &mut state.segments {
            if segment.packages.is_empty() {
                segment.packages = known[&segment.entry.digest].clone();
            }
        }
        assert!(state.segments.len() <= 40, "{}", state.segments.len());
        assert!(plan(&state, numbered(0..number), 2).is_current(&state), "nothing to do");
    }
    assert_eq!(merged, 1);
    let placed = state.segments.iter().map(|segment| segment.packages.len()).sum::<usize>();
    assert_eq!(placed, 59, "no package is in two segments");
}

#[test]
fn segments_keep_to_the_size_limits() {
    let old = [];
    let limits = Limits { layers: 400, manifest_bytes: 3000, ..LIMITS };
    let needed = |size| {
        numbered(0..40)
            .into_iter()
            .map(|(location, held)| (held.digest, (location, size)))
            .collect::<BTreeMap<_, _>>()
    };
    let by_bytes = segments::arrange(&old, &[], &needed(1), &limits).segments;
    assert!(by_bytes.len() > 1);
    for place in &by_bytes {
        assert!(place.new.as_ref().expect("new").bytes.len() <= limits.manifest_bytes);
    }
    let limits = Limits { segment_size: 100, ..LIMITS };
    let by_size = segments::arrange(&old, &[], &needed(60), &limits).segments;
    assert_eq!(by_size.len(), 40);
}

#[test]
fn a_first_publish_is_cut_into_parts_that_can_be_pushed_side_by_side() {
    let limits = Limits::default();
    for (packages, expected) in [(401, 5), (800, 8), (2000, 8), (3200, 8), (4000, 10)] {
        let needed: BTreeMap<_, _> = numbered(0..packages)
            .into_iter()
            .map(|(location, held)| (held.digest, (location, held.size)))
            .collect();
        let segments = segments::arrange(&[], &[], &needed, &limits).segments;
        assert_eq!(segments.len(), expected, "{packages}");
        let sizes = segments.iter().map(|place| place.new.as_ref().expect("new").packages.len());
        assert!(sizes.clone().max() <= Some(limits.layers) && sizes.sum::<usize>() == packages);
    }
}

#[test]
fn what_cannot_be_planned() {
    let state = read(&plan(&State::default(), numbered(0..4), 1));
    let next = Next::with(state.instance(None), None, contents(numbered(0..5)), 1);
    let problem = Plan::new(&state, next, &HashMap::new(), &LIMITS).expect_err("absent");
    assert!(matches!(problem, Problem::Absent(location) if location == "p/n0004.rpm"));
    let next = Next::with(None, Some("arm64"), contents(numbered(0..4)), 1);
    let problem = Plan::new(&state, next, &HashMap::new(), &LIMITS).expect_err("no architectures");
    assert!(matches!(problem, Problem::ArchGiven));
    let limits = Limits { entries: 3, ..LIMITS };
    let all = numbered(0..45);
    let next = Next::with(None, None, contents(all.clone()), 1);
    let problem = Plan::new(&State::default(), next, &paths(&all), &limits).expect_err("large");
    assert!(matches!(problem, Problem::TooLarge { entries: 6, .. }), "{problem}");
}
