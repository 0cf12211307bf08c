//! New content under a tag: publish, add and remove.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::contents::Contents;
use super::error::Error;
use super::plan::{Next, Plan};
use super::prepare::Prepared;
use super::push::{CHECKPOINT, Push, Pushed, progress_target, with_tag};
use super::state::{Held, Instance, Segment, State, at};
use super::{Options, Outcome, Progress, Publisher};
use crate::registry::{Copy, Instances};
use crate::source::Source;

/// How often the work begins again because others have moved the tag.
const ATTEMPTS: usize = 5;

/// What a repository is to become.
#[derive(Clone, Debug)]
pub enum Change {
    /// What a directory has.
    Publish(Directory),
    /// What it has, and these packages.
    Add {
        /// The files.
        packages: Vec<PathBuf>,
        /// Whether a package may take the place of another one with its location.
        replace: bool,
    },
    /// What it has, without these packages.
    Remove {
        /// Their names, as `NAME-[EPOCH:]VERSION-RELEASE.ARCH`, or their locations.
        packages: Vec<String>,
    },
}

/// A directory to publish.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The directory.
    pub path: PathBuf,
    /// Whether its metadata is made anew, also if it has some.
    pub createrepo: bool,
}

impl Publisher {
    /// Changes what the tag leads to.
    ///
    /// # Errors
    /// If that fails; the tag leads to what it led to then.
    pub async fn update(
        &self,
        target: &Source,
        change: &Change,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Outcome, Error> {
        check_target(target, options)?;
        persist(target, progress, async || self.try_update(target, change, options, progress).await)
            .await
    }

    /// `None` if others have moved the tag.
    async fn try_update(
        &self,
        target: &Source,
        change: &Change,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Option<Outcome>, Error> {
        progress.step("Reading the repository");
        let mut state = self.state(target).await?;
        let old = state.instance(options.arch.as_deref()).cloned();
        progress.step("Reading the packages");
        let prepared = self.prepare(target, &state, old.as_ref(), change, options).await?;
        if let Some(warning) = &prepared.warning {
            progress.warn(warning);
        }
        let Prepared { contents, .. } = &prepared;
        check_not_emptied(target, change, old.as_ref(), contents)?;
        let next = Next::with(old.as_ref(), options.arch.as_deref(), contents.clone(), now());
        let unfinished = progress_target(target);
        let (plan, is_resumed) =
            self.plan(target, &mut state, next, contents, unfinished.as_ref(), options).await?;
        let push = Push::new(self, target, &state, &plan, &contents.paths, options, progress);
        let outcome = outcome(target, &state, old.as_ref(), contents, &plan, &push, options);
        if options.is_dry_run {
            return Ok(Some(outcome));
        }
        if !outcome.changed {
            push.sign_again().await?;
            self.retag(target, &state, &outcome.digest, options).await?;
            return Ok(Some(outcome));
        }
        if push.run().await? == Pushed::Contended {
            return Ok(None);
        }
        if let Some(unfinished) = unfinished.filter(|_| is_resumed || push.has_kept_progress()) {
            self.forget_progress(target, &unfinished, &outcome.digest).await;
        }
        Ok(Some(outcome))
    }

    /// The plan; and whether it builds on a push that was not finished, whose segments are then in the state.
    async fn plan(
        &self,
        target: &Source,
        state: &mut State,
        next: Next,
        contents: &Contents,
        unfinished: Option<&Source>,
        options: &Options,
    ) -> Result<(Plan, bool), Error> {
        let plan = |state: &State| {
            let plan = Plan::new(state, next.clone(), &contents.paths, &options.limits);
            plan.map_err(|problem| Error::conflict(target, problem))
        };
        let first = plan(state)?;
        let Some(unfinished) = unfinished.filter(|_| first.new_segments().count() >= CHECKPOINT)
        else {
            return Ok((first, false));
        };
        let found = self.unfinished(unfinished, state).await?;
        if found.is_empty() {
            return Ok((first, false));
        }
        let useful = found.into_iter().filter(|segment| is_useful(segment, &contents.packages));
        state.segments.extend(useful);
        Ok((plan(state)?, true))
    }

    /// Makes the other tags lead to what the repository has already.
    pub(super) async fn retag(
        &self,
        target: &Source,
        state: &State,
        digest: &str,
        options: &Options,
    ) -> Result<(), Error> {
        let instances = if state.is_index { Instances::IndexOnly } else { Instances::Manifest };
        for tag in options.also.iter().filter_map(|tag| with_tag(target, tag)) {
            let current = self.tag(&tag).await?;
            if current.is_none_or(|current| current.digest != digest) {
                self.copy_within(&at(target, digest), &tag, instances).await?;
            }
        }
        Ok(())
    }

    async fn copy_within(
        &self,
        from: &Source,
        to: &Source,
        instances: Instances,
    ) -> Result<(), Error> {
        let copy = Copy { from, to, instances, signing: None, trusted: false, rate: None };
        let copied = self.registry.copy(&copy, &|_| {}).await;
        copied.map_err(|error| Error::registry(to, error))
    }

    /// Removes the tag with the progress of a push that is finished. Where tags cannot be deleted, it leads to
    /// the repository from now on: what it held may be garbage one day.
    pub(super) async fn forget_progress(&self, target: &Source, unfinished: &Source, digest: &str) {
        if self.registry.delete(unfinished).await.is_ok() {
            return;
        }
        let copied = self.copy_within(&at(target, digest), unfinished, Instances::IndexOnly).await;
        if let Err(error) = copied {
            tracing::debug!(%error, "the tag with the progress stays as it is");
        }
    }
}

/// Does the work again for as long as it returns `None` because others have moved the tag.
///
/// # Errors
/// Those of the work, and [`Error::Contended`].
pub async fn persist<T>(
    target: &Source,
    progress: &dyn Progress,
    work: impl AsyncFn() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = work().await? {
            return Ok(outcome);
        }
        progress.warn("others have changed the repository meanwhile; beginning again");
    }
    Err(Error::Contended(target.reference.to_string()))
}

/// A tag can be moved, a digest cannot.
pub(super) fn check_target(target: &Source, options: &Options) -> Result<(), Error> {
    let Some(_) = progress_target(target).filter(|_| target.reference.digest().is_none()) else {
        return Err(Error::conflict(target, "not a tag in a registry; write HOST/PATH:TAG"));
    };
    match options.also.iter().find(|tag| with_tag(target, tag).is_none()) {
        Some(tag) => Err(Error::conflict(target, format!("the tag {tag:?} is not valid"))),
        None => Ok(()),
    }
}

/// A job that has built nothing must not empty a repository.
fn check_not_emptied(
    target: &Source,
    change: &Change,
    old: Option<&Instance>,
    contents: &Contents,
) -> Result<(), Error> {
    let had = old.map_or(0, |old| old.packages.len());
    match change {
        Change::Publish(directory) if contents.packages.is_empty() && had > 0 => {
            let reason = format!(
                "{} has no packages, and the repository has {had}; to remove them, use \"dnf5-oci remove\"",
                directory.path.display()
            );
            Err(Error::conflict(target, reason))
        }
        _ => Ok(()),
    }
}

fn outcome(
    target: &Source,
    state: &State,
    old: Option<&Instance>,
    contents: &Contents,
    plan: &Plan,
    push: &Push<'_>,
    options: &Options,
) -> Outcome {
    let changed = !plan.is_current(state);
    let (added, removed) = difference(old, &contents.packages);
    let (pushed, bytes) = if changed { push.load } else { (0, 0) };
    Outcome {
        reference: target.reference.to_string(),
        digest: plan.top.digest.to_string(),
        previous: state.digest.clone(),
        changed,
        added,
        removed,
        packages: contents.packages.len(),
        segments: plan.segments.len(),
        pushed,
        bytes,
        dry_run: options.is_dry_run,
    }
}

/// A segment of an unfinished push is used if half of it is wanted.
fn is_useful(segment: &Segment, packages: &BTreeMap<String, Held>) -> bool {
    let wanted: BTreeSet<_> = packages.values().map(|package| &package.digest).collect();
    let found = segment.packages.keys().filter(|digest| wanted.contains(digest)).count();
    !segment.variant.is_empty() && found * 2 >= segment.packages.len()
}

/// The locations of packages that came and that left. A package with other bytes did both.
pub(super) fn difference(
    old: Option<&Instance>,
    new: &BTreeMap<String, Held>,
) -> (Vec<String>, Vec<String>) {
    let none = BTreeMap::new();
    let old = old.map_or(&none, |old| &old.packages);
    let only = |these: &BTreeMap<String, Held>, those: &BTreeMap<String, Held>| {
        let only = these.iter().filter(|(location, package)| those.get(*location) != Some(package));
        only.map(|(location, _)| location.clone()).collect()
    };
    (only(new, old), only(old, new))
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
