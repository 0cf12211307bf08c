//! A repository as it is, from a tag or a layout to a tag.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{TryStreamExt, stream};

use super::document::{Descriptor, Digest, Index, MANIFEST, to_bytes};
use super::error::Error;
use super::mirror::layout::Borrowed;
use super::push::{CHECKPOINT, identity, progress_target};
use super::state::{at, raw_digest};
use super::update::check_target;
use super::workspace::Workspace;
use super::{Options, Progress, Publisher, mounts};
use crate::artifact::media_types::REPOSITORY;
use crate::reference::Reference;
use crate::registry::{Copy, Instances, RawManifest, Signing};
use crate::source::Source;

/// What was copied, or would be.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Transferred {
    /// The reference of the target.
    pub reference: String,
    /// The digest of what it leads to.
    pub digest: String,
    /// The digest of what it led to before.
    pub previous: Option<String>,
    /// Whether the two differ.
    pub changed: bool,
    /// Number of segments.
    pub segments: usize,
    /// Number of manifests that the target did not have.
    pub copied: usize,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// A repository that is copied.
pub(super) struct Original {
    pub(super) source: Source,
    pub(super) top: RawManifest,
    pub(super) index: Option<Index>,
    /// Names for the manifests of a layout.
    layout: Option<Borrowed>,
}

impl Original {
    /// Reads what a reference leads to.
    pub(super) async fn read(publisher: &Publisher, source: &Source) -> Result<Self, Error> {
        let top = publisher.raw_manifest(source).await?;
        let index: Option<Index> = serde_json::from_slice(&top.bytes).ok();
        let source = at(source, &top.digest);
        let layout = match &source.reference {
            Reference::Layout(layout) => {
                let mut borrowed = Borrowed::new(layout.directory())?;
                borrowed.name(index.iter().flat_map(|index| &index.manifests))?;
                Some(borrowed)
            }
            Reference::Registry(_) => None,
        };
        Ok(Self { source, top, index, layout })
    }

    /// The manifests of the index, segments first: what names them must not be there before them.
    pub(super) fn entries(&self) -> Vec<&Descriptor> {
        let mut entries: Vec<_> = self.index.iter().flat_map(|index| &index.manifests).collect();
        entries.sort_by_key(|entry| !entry.is_segment());
        entries
    }

    /// Number of segments.
    pub(super) fn segments(&self) -> usize {
        self.entries().into_iter().filter(|entry| entry.is_segment()).count()
    }

    fn is_in(&self, target: &Source) -> bool {
        match (&self.source.reference, &target.reference) {
            (Reference::Registry(one), Reference::Registry(other)) => one.name() == other.name(),
            _ => false,
        }
    }

    /// One of its manifests, to copy from.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Source, Error> {
        match &self.layout {
            Some(layout) => layout.source(digest),
            None => Ok(at(&self.source, digest.as_str())),
        }
    }

    fn lacks(&self, digest: &Digest) -> bool {
        self.layout.as_ref().is_some_and(|layout| !layout.has(digest))
    }
}

impl Publisher {
    /// Makes a tag lead to what another reference leads to.
    ///
    /// # Errors
    /// If that fails; the tag leads to what it led to then.
    pub async fn promote(
        &self,
        from: &Source,
        target: &Source,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Transferred, Error> {
        check_target(target, options)?;
        progress.step("Reading the repository");
        let original = Original::read(self, from).await?;
        let current = self.raw_if_any(target).await?;
        let lacking = self.lacking(&original, target, current.as_ref()).await?;
        let previous = current.map(|current| current.digest);
        let outcome = Transferred {
            reference: target.reference.to_string(),
            digest: original.top.digest.clone(),
            changed: previous.as_ref() != Some(&original.top.digest),
            previous,
            segments: original.segments(),
            copied: lacking.len(),
            dry_run: options.is_dry_run,
        };
        if options.is_dry_run || !outcome.changed && options.signing.is_none() {
            return Ok(outcome);
        }
        if !original.is_in(target) || options.signing.is_some() {
            // The signature of an index covers its manifests, which have none of their own. What is signed
            // here must be what the policy accepts: whoever may push to one tag is not to get it signed for
            // another.
            self.check_policy(&original).await?;
        }
        self.copy_manifests(&original, &lacking, target, options, progress).await?;
        self.move_to(&original, target, options).await?;
        if lacking.len() > CHECKPOINT
            && let Some(unfinished) = progress_target(target)
        {
            self.forget_progress(target, &unfinished, &outcome.digest).await;
        }
        Ok(outcome)
    }

    /// Has skopeo check the signature policy.
    pub(super) async fn check_policy(&self, original: &Original) -> Result<(), Error> {
        let opened = self.registry.manifest(&original.source).await;
        opened.map(drop).map_err(|error| Error::registry(&original.source, error))
    }

    /// The manifests of the original that the target may not have.
    async fn lacking<'a>(
        &self,
        original: &'a Original,
        target: &Source,
        current: Option<&RawManifest>,
    ) -> Result<Vec<&'a Descriptor>, Error> {
        if original.is_in(target) {
            return Ok(Vec::new());
        }
        let mut held = entries(current);
        let lacking = |held: &HashSet<Digest>| {
            let mut lacking = original.entries();
            lacking.retain(|entry| !held.contains(&entry.digest));
            lacking
        };
        if lacking(&held).len() > CHECKPOINT
            && let Some(unfinished) = progress_target(target)
        {
            held.extend(entries(self.raw_if_any(&unfinished).await?.as_ref()));
        }
        for entry in lacking(&held).into_iter().filter(|entry| original.lacks(&entry.digest)) {
            if self.raw_if_any(&at(target, entry.digest.as_str())).await?.is_none() {
                let reason = format!(
                    "neither the layout nor {} has {}; export it again, whole or with an older --since",
                    target.reference, entry.digest
                );
                return Err(Error::conflict(&original.source, reason));
            }
            held.insert(entry.digest.clone());
        }
        Ok(lacking(&held))
    }

    async fn copy_manifests(
        &self,
        original: &Original,
        all: &[&Descriptor],
        target: &Source,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let can_mount = AtomicBool::new(mounts::are_possible(&original.source, target));
        for (number, batch) in all.chunks(CHECKPOINT).enumerate() {
            let done = number * CHECKPOINT;
            progress.step(&format!("Copying manifests: {done} of {} are there", all.len()));
            // Metadata may come with the last segments: only the index makes it visible.
            stream::iter(batch.iter().map(Ok))
                .try_for_each_concurrent(options.parallel, async |entry| {
                    let (from, to) =
                        (original.manifest(&entry.digest)?, at(target, entry.digest.as_str()));
                    if can_mount.load(Ordering::Relaxed) {
                        let shown = self.show_blobs(&from, options).await?;
                        can_mount.fetch_and(shown, Ordering::Relaxed);
                    }
                    self.transfer(&from, &to, Instances::Manifest, None, options).await
                })
                .await?;
            let done = done + batch.len();
            if done < all.len() {
                self.keep_progress(target, all[..done].iter().copied(), options).await?;
            }
        }
        Ok(())
    }

    /// Has a tag lead to these manifests, so that registries keep them until the work is done.
    pub(super) async fn keep_progress(
        &self,
        target: &Source,
        done: impl Iterator<Item = &Descriptor>,
        options: &Options,
    ) -> Result<(), Error> {
        let Some(unfinished) = progress_target(target) else {
            return Ok(());
        };
        let bytes = to_bytes(&Index::new(REPOSITORY, done.cloned().collect()));
        let digest = Digest::of(&bytes);
        let mut workspace = Workspace::new()?;
        workspace.add_document(&digest, &bytes, true)?;
        let from = workspace.source(&digest)?;
        self.transfer(&from, &unfinished, Instances::IndexOnly, None, options).await
    }

    /// Signs the original for the tag, and moves the tag to it.
    async fn move_to(
        &self,
        original: &Original,
        target: &Source,
        options: &Options,
    ) -> Result<(), Error> {
        let digest = raw_digest(&original.source, &original.top)?;
        let mut workspace = Workspace::new()?;
        let (from, instances) = match original.index {
            Some(_) => {
                workspace.add_document(&digest, &original.top.bytes, true)?;
                (workspace.source(&digest)?, Instances::IndexOnly)
            }
            None => (original.source.clone(), Instances::Manifest),
        };
        if let Some(signing) = &options.signing {
            let signing = Signing { identity: identity(target), ..signing.clone() };
            let pinned = at(target, digest.as_str());
            self.transfer(&from, &pinned, instances, Some(&signing), options).await?;
        }
        self.transfer(&from, target, instances, None, options).await
    }

    /// Copies what the signature policy has been checked for.
    pub(super) async fn transfer(
        &self,
        from: &Source,
        to: &Source,
        instances: Instances,
        signing: Option<&Signing>,
        options: &Options,
    ) -> Result<(), Error> {
        let rate = options.rate.as_ref();
        let copy = Copy { from, to, instances, signing, trusted: true, rate };
        let copied = self.registry.copy(&copy, &|_| {}).await;
        copied.map_err(|error| Error::registry(to, error))
    }
}

/// The manifests in an index.
fn entries(top: Option<&RawManifest>) -> HashSet<Digest> {
    let index = top.and_then(|top| serde_json::from_slice::<Index>(&top.bytes).ok());
    let entries = index.into_iter().flat_map(|index| index.manifests);
    entries.filter(|entry| entry.media_type == MANIFEST).map(|entry| entry.digest).collect()
}
