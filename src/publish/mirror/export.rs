//! A repository of a registry into a layout, whole or what is new in it.

use std::collections::HashSet;

use futures_util::{TryStreamExt, stream};

use super::layout::Layout;
use crate::publish::document::{Descriptor, Digest, INDEX, Index, MANIFEST};
use crate::publish::error::Error;
use crate::publish::promote::{Original, Transferred};
use crate::publish::state::{at, raw_digest};
use crate::publish::{Options, Progress, Publisher};
use crate::reference::LayoutReference;
use crate::registry::Instances;
use crate::source::Source;

impl Publisher {
    /// Copies what a reference leads to into a layout. With `since`, the digest of an older state, the layout
    /// lacks the segments of that one.
    ///
    /// # Errors
    /// If that fails; the tag of the layout leads to what it led to then.
    pub async fn export(
        &self,
        from: &Source,
        target: &LayoutReference,
        since: Option<&str>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Transferred, Error> {
        progress.step("Reading the repository");
        let original = Original::read(self, from).await?;
        let old = match since {
            Some(since) => self.segments_of(&at(from, since)).await?,
            None => HashSet::new(),
        };
        let mut wanted = original.entries();
        wanted.retain(|entry| !(entry.is_segment() && old.contains(&entry.digest)));
        let digest = raw_digest(&original.source, &original.top)?;
        let media_type = if original.index.is_some() { INDEX } else { MANIFEST };
        let top = Descriptor::new(media_type, digest, original.top.bytes.len() as u64);
        if original.index.is_none() {
            wanted.push(&top);
        }
        let outcome = Transferred {
            reference: format!("oci://{}:{}", target.directory().display(), target.tag()),
            digest: original.top.digest.clone(),
            previous: None,
            changed: true,
            segments: original.segments(),
            copied: wanted.len(),
            dry_run: options.is_dry_run,
        };
        if options.is_dry_run {
            return Ok(outcome);
        }
        self.check_policy(&original).await?;
        progress.step(&format!("Copying manifests: {}", wanted.len()));
        let layout = Layout::open(target.directory())?;
        stream::iter(wanted.into_iter().map(Ok))
            .try_for_each_concurrent(options.parallel, async |entry| {
                let copy = layout.for_copy()?;
                let (from, to) = (original.manifest(&entry.digest)?, copy.source(&entry.digest)?);
                self.transfer(&from, &to, Instances::Manifest, None, options).await
            })
            .await?;
        layout.add(&top.digest, &original.top.bytes)?;
        layout.tag(target.tag(), &top)?;
        Ok(outcome)
    }

    async fn segments_of(&self, source: &Source) -> Result<HashSet<Digest>, Error> {
        let raw = self.raw_manifest(source).await?;
        let index = serde_json::from_slice::<Index>(&raw.bytes);
        let entries = index.map(|index| index.manifests).unwrap_or_default();
        Ok(entries.into_iter().filter(Descriptor::is_segment).map(|entry| entry.digest).collect())
    }
}
