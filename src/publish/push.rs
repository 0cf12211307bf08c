//! Pushing a plan: segments side by side, then manifests, then the tag.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{TryStreamExt, stream};

use super::document::Digest;
use super::error::Error;
use super::plan::{Document, Plan, held};
use super::segments::{NewSegment, Placement};
use super::state::{PublishedTag, State, at};
use super::workspace::Workspace;
use super::{Options, Progress, Publisher};
use crate::artifact::media_types::EMPTY;
use crate::reference::Reference;
use crate::registry::{Copy, Instances, Signing};
use crate::source::Source;

/// After how many new segments the progress is kept under a tag. Registries delete what no tag leads to after
/// an hour or two.
pub const CHECKPOINT: usize = 16;

/// The shortest time after which the tag is looked at once more, and how many states after ours are looked
/// through for it.
const SETTLE: Duration = Duration::from_millis(500);
const SUCCESSORS: usize = 10;

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The tag leads to the plan's state.
    Done,
    /// The tag leads to what others have pushed.
    Contended,
}

/// One push.
pub struct Push<'a> {
    publisher: &'a Publisher,
    target: &'a Source,
    before: Option<&'a str>,
    plan: &'a Plan,
    paths: &'a HashMap<Digest, PathBuf>,
    options: &'a Options,
    progress: &'a dyn Progress,
    /// The sizes of blobs that the registry lacks.
    lacking: Mutex<HashMap<String, u64>>,
    /// What is pushed: number of blobs, and their size in bytes.
    pub load: (usize, u64),
    has_kept_progress: AtomicBool,
}

impl<'a> Push<'a> {
    /// A push that has not begun. `state` is what the tag leads to.
    pub fn new(
        publisher: &'a Publisher,
        target: &'a Source,
        state: &'a State,
        plan: &'a Plan,
        paths: &'a HashMap<Digest, PathBuf>,
        options: &'a Options,
        progress: &'a dyn Progress,
    ) -> Self {
        let lacking = lacking(state, plan);
        let load = (lacking.len(), lacking.values().sum());
        let (before, lacking) = (state.digest.as_deref(), Mutex::new(lacking));
        let has_kept_progress = AtomicBool::new(false);
        Self {
            publisher,
            target,
            before,
            plan,
            paths,
            options,
            progress,
            lacking,
            load,
            has_kept_progress,
        }
    }

    /// Whether there is a tag with the progress.
    pub fn has_kept_progress(&self) -> bool {
        self.has_kept_progress.load(Ordering::Relaxed)
    }

    fn new_segments(&self) -> impl Iterator<Item = (&'a Placement, &'a NewSegment)> {
        self.plan.segments.iter().filter_map(|place| Some((place, place.new.as_ref()?)))
    }

    /// Pushes the plan.
    ///
    /// # Errors
    /// If the registry or the disk does not take it. The tag leads to what it led to then.
    pub async fn run(&self) -> Result<Pushed, Error> {
        let mut workspace = Workspace::new()?;
        self.fill(&mut workspace)?;
        self.progress.begin(self.load.0, self.load.1);
        self.push_segments(&workspace).await?;
        for document in &self.plan.manifests {
            self.push_document(&workspace, document).await?;
        }
        self.prepare_top(&workspace).await?;
        self.progress.end();
        self.move_tag(&workspace).await
    }

    fn fill(&self, workspace: &mut Workspace) -> Result<(), Error> {
        let documents = || self.plan.manifests.iter().chain([&self.plan.top]);
        let of_documents =
            documents().map(|document| (&document.digest, &document.bytes[..], document.is_index));
        let of_segments =
            self.new_segments().map(|(place, new)| (&place.entry.digest, &new.bytes[..], false));
        workspace.add_documents(of_documents.chain(of_segments))?;
        for blob in documents().flat_map(|document| &document.blobs) {
            workspace.add_blob(blob)?;
        }
        for (digest, _) in self.new_segments().flat_map(|(_, new)| &new.packages) {
            if let Some(path) = self.paths.get(digest) {
                workspace.link(digest, path)?;
            }
        }
        workspace.add_config()
    }

    async fn push_segments(&self, workspace: &Workspace) -> Result<(), Error> {
        let all: Vec<_> = self.new_segments().map(|(place, _)| place).collect();
        let mut done: Vec<&Placement> = Vec::new();
        for batch in all.chunks(CHECKPOINT) {
            stream::iter(batch.iter().map(Ok))
                .try_for_each_concurrent(self.options.parallel, async |place| {
                    let digest = &place.entry.digest;
                    self.copy(workspace, digest, &self.at(digest), Instances::Manifest, None).await
                })
                .await?;
            done.extend(batch);
            if done.len() < all.len() {
                let entries = done.iter().map(|place| &place.entry);
                self.publisher.keep_progress(self.target, entries, self.options).await?;
                self.has_kept_progress.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    async fn push_document(&self, workspace: &Workspace, document: &Document) -> Result<(), Error> {
        let target = self.at(&document.digest);
        self.copy(workspace, &document.digest, &target, instances(document), None).await
    }

    /// Pushes what the tag will lead to, and its signatures, by digest: so the tag moves in one request, and
    /// never leads to something without a signature. An index without one needs nothing of this.
    async fn prepare_top(&self, workspace: &Workspace) -> Result<(), Error> {
        let top = &self.plan.top;
        let Some(signing) = &self.options.signing else {
            return match top.is_index {
                true => Ok(()),
                false => self.push_document(workspace, top).await,
            };
        };
        for tag in self.tags() {
            let signing = Signing { identity: identity(&tag), ..signing.clone() };
            let target = self.at(&top.digest);
            self.copy(workspace, &top.digest, &target, instances(top), Some(&signing)).await?;
        }
        Ok(())
    }

    /// Signs what the tag leads to already, if it is to be signed and is not known to be. A sigstore signature
    /// has a tag of its own; where others are stored, podman's configuration tells.
    ///
    /// # Errors
    /// If the signature cannot be made or stored.
    pub async fn sign_again(&self) -> Result<(), Error> {
        let Some(signing) = &self.options.signing else {
            return Ok(());
        };
        let signature = format!("{}.sig", self.plan.top.digest.as_str().replace(':', "-"));
        let signature = with_tag(self.target, &signature);
        if let Some(signature) = signature.filter(|_| signing.gpg_fingerprint.is_none())
            && self.publisher.tag(&signature).await?.is_some()
        {
            return Ok(());
        }
        let mut workspace = Workspace::new()?;
        self.fill(&mut workspace)?;
        self.prepare_top(&workspace).await
    }

    async fn move_tag(&self, workspace: &Workspace) -> Result<Pushed, Error> {
        let begin = Instant::now();
        let before = self.publisher.tag(self.target).await?.map(|tag| tag.digest);
        if before.as_deref() != self.before {
            return Ok(Pushed::Contended);
        }
        let top = &self.plan.top;
        self.copy(workspace, &top.digest, self.target, instances(top), None).await?;
        // There is no compare-and-swap: others may have looked at the tag at the same time.
        let window = begin.elapsed() * 2;
        tokio::time::sleep(window.max(SETTLE)).await;
        if !self.is_kept().await? {
            return Ok(Pushed::Contended);
        }
        for tag in self.tags().skip(1) {
            self.copy(workspace, &top.digest, &tag, instances(top), None).await?;
        }
        Ok(Pushed::Done)
    }

    /// Whether the tag leads to the plan's state or to one that followed it.
    async fn is_kept(&self) -> Result<bool, Error> {
        let ours = self.plan.top.digest.as_str();
        let mut current = self.publisher.tag(self.target).await?;
        for _ in 0..SUCCESSORS {
            match current {
                Some(PublishedTag { digest, .. }) if digest == ours => return Ok(true),
                Some(PublishedTag { previous: Some(previous), .. }) if previous == ours => {
                    return Ok(true);
                }
                Some(PublishedTag { previous: Some(previous), .. }) => {
                    current = self.publisher.tag(&at(self.target, &previous)).await?;
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The reference, and the other tags that are to lead to the same.
    fn tags(&self) -> impl Iterator<Item = Source> {
        let also = self.options.also.iter().filter_map(|tag| with_tag(self.target, tag));
        [self.target.clone()].into_iter().chain(also)
    }

    fn at(&self, digest: &Digest) -> Source {
        at(self.target, digest.as_str())
    }

    async fn copy(
        &self,
        workspace: &Workspace,
        digest: &Digest,
        to: &Source,
        instances: Instances,
        signing: Option<&Signing>,
    ) -> Result<(), Error> {
        let from = workspace.source(digest)?;
        let rate = self.options.rate.as_ref();
        let copy = Copy { from: &from, to, instances, signing, trusted: true, rate };
        let copied = self.publisher.registry.copy(&copy, &|digest| self.pushed(digest)).await;
        copied.map_err(|error| Error::registry(to, error))
    }

    fn pushed(&self, digest: &str) {
        let size = self.lacking.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
        if let Some(size) = size {
            self.progress.pushed(size);
        }
    }
}

/// The blobs that the registry lacks, with their sizes.
fn lacking(state: &State, plan: &Plan) -> HashMap<String, u64> {
    let held = held(state);
    let documents = plan.manifests.iter().chain([&plan.top]);
    let of_documents = documents
        .flat_map(|document| &document.blobs)
        .map(|blob| &blob.descriptor)
        .filter(|descriptor| descriptor.media_type != EMPTY)
        .map(|descriptor| (&descriptor.digest, descriptor.size));
    let new = plan.segments.iter().filter_map(|place| place.new.as_ref());
    let of_segments = new.flat_map(|new| &new.packages).map(|(digest, size)| (digest, *size));
    of_documents
        .chain(of_segments)
        .filter(|(digest, _)| !held.contains(digest))
        .map(|(digest, size)| (digest.to_string(), size))
        .collect()
}

fn instances(document: &Document) -> Instances {
    if document.is_index { Instances::IndexOnly } else { Instances::Manifest }
}

/// What a signature is for.
pub fn identity(source: &Source) -> Option<String> {
    match &source.reference {
        Reference::Registry(registry) => Some(format!("{}:{}", registry.name(), registry.tag()?)),
        Reference::Layout(_) => None,
    }
}

/// The same repository under another tag.
pub fn with_tag(source: &Source, tag: &str) -> Option<Source> {
    let Reference::Registry(registry) = &source.reference else {
        return None;
    };
    let reference = registry.with_tag(tag).ok()?;
    Some(Source { reference, access: source.access.clone() })
}

/// Where the progress of a long push is kept.
pub fn progress_target(source: &Source) -> Option<Source> {
    match &source.reference {
        Reference::Registry(registry) => {
            with_tag(source, &format!("{}.publishing", registry.tag()?))
        }
        Reference::Layout(_) => None,
    }
}
