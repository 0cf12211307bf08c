//! What is no longer needed leaves the tag: packages that left the metadata long ago, and segments that hold
//! little else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::document::Digest;
use super::error::Error;
use super::plan::{Next, Plan, needed};
use super::push::{Push, Pushed, progress_target};
use super::segments::outgrown;
use super::state::{Segment, State, at};
use super::update::{check_target, now, persist};
use super::{Options, Progress, Publisher};
use crate::source::Source;

/// What is pruned.
#[derive(Clone, Debug)]
pub struct Pruning {
    /// How long a package stays after it has left the metadata.
    pub keep: Duration,
}

/// What was done, or would be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pruned {
    /// The reference.
    pub reference: String,
    /// The digest of what it leads to.
    pub digest: String,
    /// The digest of what it led to before.
    pub previous: Option<String>,
    /// Whether the two differ.
    pub changed: bool,
    /// The locations of the packages that are given up.
    pub packages: Vec<String>,
    /// The names of the segments that leave the index.
    pub segments: Vec<String>,
    /// Number of new segments, which have what is still needed of them.
    pub new_segments: usize,
    /// Number of blobs that the tag no longer leads to.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// The state without what is no longer needed.
struct Selection {
    instances: Vec<Next>,
    /// Locations.
    packages: Vec<String>,
    /// Which segments are replaced.
    wasteful: Vec<bool>,
}

impl Selection {
    fn new(state: &State, before: u64) -> Self {
        let mut packages = Vec::new();
        let instances: Vec<_> = state
            .instances
            .iter()
            .map(|instance| {
                let mut next = Next::from(instance);
                next.removed.retain(|removed| removed.time > before);
                if next.removed.len() < instance.removed.len() {
                    next.entry = None;
                    let gone = instance.removed.iter().filter(|removed| removed.time <= before);
                    packages.extend(gone.map(|removed| removed.location.clone()));
                }
                next
            })
            .collect();
        packages.sort();
        packages.dedup();
        let wasteful = wasteful(state, &needed(&instances));
        Self { instances, packages, wasteful }
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.wasteful.contains(&true)
    }
}

/// Selects the segments of whose packages, or of whose bytes, less than half is needed. A package counts for
/// the first segment that has it.
fn wasteful(state: &State, needed: &BTreeMap<Digest, (String, u64)>) -> Vec<bool> {
    let placed = state.placed();
    let is_wasteful = |(number, segment): (usize, &Segment)| {
        let is_alive =
            |digest: &Digest| needed.contains_key(digest) && placed.get(digest) == Some(&number);
        let alive = segment.packages.iter().filter(|(digest, _)| is_alive(digest));
        let (count, bytes) =
            alive.fold((0, 0), |(count, bytes), (_, (_, size))| (count + 1, bytes + size));
        count == 0 || count * 2 < segment.packages.len() || bytes * 2 < segment.size()
    };
    state.segments.iter().enumerate().map(is_wasteful).collect()
}

impl Publisher {
    /// Removes what is no longer needed from what the tag leads to. The registry frees the space when it
    /// collects its garbage.
    ///
    /// # Errors
    /// If that fails; the tag leads to what it led to then.
    pub async fn prune(
        &self,
        target: &Source,
        pruning: &Pruning,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Pruned, Error> {
        check_target(target, options)?;
        persist(target, progress, async || self.try_prune(target, pruning, options, progress).await)
            .await
    }

    /// `None` if others have moved the tag.
    async fn try_prune(
        &self,
        target: &Source,
        pruning: &Pruning,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Option<Pruned>, Error> {
        progress.step("Reading the repository");
        let (digest, mut state) = self.existing(target).await?;
        // The tables no longer name what earlier runs have given up.
        self.read_segments(&at(target, &digest), &mut state.segments).await?;
        let selection = Selection::new(&state, now().saturating_sub(pruning.keep.as_secs()));
        if selection.is_empty() {
            if !options.is_dry_run {
                self.retag(target, &state, &digest, options).await?;
            }
            return Ok(Some(unchanged(target, digest, &state, options)));
        }
        let paths = HashMap::new();
        let outgrown = outgrown(&state.segments, &options.limits).into_iter();
        let replaced: Vec<_> =
            outgrown.zip(&selection.wasteful).map(|(one, other)| one || *other).collect();
        let plan =
            Plan::of(&state, selection.instances.clone(), &paths, &options.limits, &replaced)
                .map_err(|problem| Error::conflict(target, problem))?;
        let outcome = describe(target, &state, &plan, selection, options);
        if options.is_dry_run {
            return Ok(Some(outcome));
        }
        let push = Push::new(self, target, &state, &plan, &paths, options, progress);
        if push.run().await? == Pushed::Contended {
            return Ok(None);
        }
        if let Some(unfinished) = progress_target(target).filter(|_| push.has_kept_progress()) {
            self.forget_progress(target, &unfinished, &outcome.digest).await;
        }
        Ok(Some(outcome))
    }
}

fn unchanged(target: &Source, digest: String, state: &State, options: &Options) -> Pruned {
    Pruned {
        reference: target.reference.to_string(),
        digest,
        previous: state.previous.clone(),
        changed: false,
        packages: Vec::new(),
        segments: Vec::new(),
        new_segments: 0,
        blobs: 0,
        bytes: 0,
        dry_run: options.is_dry_run,
    }
}

fn describe(
    target: &Source,
    state: &State,
    plan: &Plan,
    selection: Selection,
    options: &Options,
) -> Pruned {
    let kept = kept(state, plan, &selection.instances);
    let all = state.packages();
    let free: Vec<_> = all.iter().filter(|(digest, _)| !kept.contains(*digest)).collect();
    let is_kept = |segment: &&Segment| {
        plan.segments.iter().any(|place| place.entry.digest == segment.entry.digest)
    };
    let gone = state.segments.iter().filter(|segment| !is_kept(segment));
    Pruned {
        reference: target.reference.to_string(),
        digest: plan.top.digest.to_string(),
        previous: state.digest.clone(),
        changed: true,
        packages: selection.packages,
        segments: gone.map(Segment::name).collect(),
        new_segments: plan.new_segments().count(),
        blobs: free.len(),
        bytes: free.iter().map(|(_, size)| **size).sum(),
        dry_run: options.is_dry_run,
    }
}

/// The packages that the manifests still name.
fn kept<'a>(state: &'a State, plan: &'a Plan, instances: &'a [Next]) -> HashSet<&'a Digest> {
    let old: HashMap<_, _> =
        state.segments.iter().map(|segment| (&segment.entry.digest, segment)).collect();
    let of_instances = instances.iter().flat_map(Next::held).map(|package| &package.digest);
    let mut kept: HashSet<_> = of_instances.collect();
    for place in &plan.segments {
        if let Some(new) = &place.new {
            kept.extend(new.packages.iter().map(|(digest, _)| digest));
        } else if let Some(segment) = old.get(&place.entry.digest) {
            kept.extend(segment.packages.keys());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::document::Descriptor;
    use super::super::state::{Held, Instance, Removed};
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn held(name: &str) -> Held {
        Held { digest: digest(name), size: name.len() as u64 }
    }

    fn segment(names: &[&str]) -> Segment {
        let entry = Descriptor::new("", digest(&names.concat()), 1);
        let packages =
            names.iter().map(|name| (digest(name), ((*name).to_owned(), name.len() as u64)));
        Segment { entry, variant: "s".to_owned(), packages: packages.collect() }
    }

    fn instance(arch: Option<&str>, names: &[&str], removed: &[(&str, u64)]) -> Instance {
        let packages = names.iter().map(|name| ((*name).to_owned(), held(name)));
        let removed = removed.iter().map(|(name, time)| Removed {
            location: (*name).to_owned(),
            package: held(name),
            time: *time,
        });
        Instance {
            arch: arch.map(str::to_owned),
            descriptor: Descriptor::new("", digest("m"), 1),
            annotations: BTreeMap::new(),
            files: Vec::new(),
            is_extensible: true,
            is_segmented: true,
            packages: packages.collect(),
            removed: removed.collect(),
        }
    }

    fn state(instances: Vec<Instance>, segments: &[&[&str]]) -> State {
        let segments = segments.iter().map(|names| segment(names)).collect();
        State { instances, segments, ..State::default() }
    }

    fn selected(state: &State, before: u64) -> (Vec<String>, Vec<bool>) {
        let Selection { packages, wasteful, .. } = Selection::new(state, before);
        (packages, wasteful)
    }

    #[test]
    fn a_segment_is_replaced_if_less_than_half_of_it_is_needed() {
        let segments: [&[&str]; 5] = [&["a", "b"], &["c", "d"], &["e", "f", "g"], &["h"], &[]];
        let state = state(vec![instance(None, &["a", "b", "c", "e"], &[])], &segments);
        assert_eq!(selected(&state, 0), (Vec::new(), vec![false, false, true, true, true]));
    }

    #[test]
    fn bytes_count_as_packages_do() {
        let state = state(vec![instance(None, &["a", "b"], &[])], &[&["a", "b", "a long name"]]);
        assert_eq!(selected(&state, 0).1, [true]);
    }

    #[test]
    fn what_was_removed_is_needed_until_its_time_is_over() {
        let removed = [("a", 10), ("b", 11), ("x", 9)];
        let state = state(vec![instance(None, &["c"], &removed)], &[&["a"], &["b"], &["c"]]);
        assert!(Selection::new(&state, 8).is_empty());
        assert_eq!(selected(&state, 9), (vec!["x".to_owned()], vec![false; 3]));
        let expected = (vec!["a".to_owned(), "x".to_owned()], vec![true, false, false]);
        assert_eq!(selected(&state, 10), expected);
        let selection = Selection::new(&state, 10);
        assert_eq!(selection.instances[0].removed.len(), 1);
        assert!(selection.instances[0].entry.is_none(), "its table changes");
    }

    #[test]
    fn another_architecture_may_need_it() {
        let (one, other) = (Some("amd64"), Some("arm64"));
        let instances = vec![instance(one, &["b"], &[("a", 1)]), instance(other, &["a"], &[])];
        let state = state(instances, &[&["a"], &["b"]]);
        assert_eq!(selected(&state, 5), (vec!["a".to_owned()], vec![false, false]));
        let selection = Selection::new(&state, 5);
        assert!(selection.instances[1].entry.is_some(), "nothing of it changes");
    }

    #[test]
    fn a_package_counts_for_the_first_segment_that_has_it() {
        let state = state(vec![instance(None, &["a", "b"], &[])], &[&["a", "b"], &["a", "b"]]);
        assert_eq!(selected(&state, 0).1, [false, true]);
    }
}
