//! New content under a tag: publish, add and remove.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::contents::{
    Blob, Content, Contents, REPOMD, SIGNATURE, file, hash, parse_repomd, title,
};
use super::error::Error;
use super::plan::{Next, Plan};
use super::push::{CHECKPOINT, Push, Pushed, progress_target, with_tag};
use super::state::{Held, Instance, REPODATA, Segment, State, at, for_arch};
use super::{Options, Outcome, Progress, Publisher, metadata};
use crate::artifact::is_plain_path;
use crate::blocking;
use crate::engine::PrefetchOptions;
use crate::registry::{Copy, Instances};
use crate::repomd::read_nevras;
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// How often the work begins again because others have moved the tag.
pub(super) const ATTEMPTS: usize = 5;

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

/// New content, and the temporary directories that it is in.
struct Prepared {
    contents: Contents,
    warning: Option<String>,
    _directories: Vec<TemporaryDir>,
}

/// A directory with metadata to change, and symbolic links to new packages. It is below a temporary one, which
/// is locked: so is a cache while metadata is fetched into it.
pub struct Workspace {
    /// The directory.
    pub path: PathBuf,
    _directory: TemporaryDir,
}

impl Workspace {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn new() -> Result<Self, Error> {
        let _directory = new_directory()?;
        let path = _directory.path().join("repository");
        fs::create_dir(&path).map_err(|error| Error::file(&path, error))?;
        Ok(Self { path, _directory })
    }

    fn contents(&self, known: &BTreeMap<String, Held>) -> Result<Contents, Error> {
        Contents::read(&self.path, &self.path, known)
    }
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

    async fn prepare(
        &self,
        target: &Source,
        state: &State,
        old: Option<&Instance>,
        change: &Change,
        options: &Options,
    ) -> Result<Prepared, Error> {
        let old = old.cloned();
        let key = options.metadata_key.clone();
        match change.clone() {
            Change::Publish(directory) => {
                blocking::run(move || read_directory(&directory, old.as_ref(), key.as_deref()))
                    .await
            }
            change => {
                let workspace = Workspace::new()?;
                if let Some(old) = &old {
                    check_extensible(target, old, options)?;
                    let digest = state.digest.as_deref().unwrap_or_default();
                    self.fetch_metadata(target, digest, old, &workspace.path).await?;
                }
                let target = target.clone();
                blocking::run(move || {
                    let old = old.as_ref();
                    match change {
                        Change::Add { packages, replace } => {
                            add(&target, &workspace.path, old, &packages, replace)?;
                        }
                        Change::Remove { packages } => {
                            remove(&target, &workspace.path, old, &packages)?;
                        }
                        Change::Publish(_) => {}
                    }
                    changed(workspace, old, key.as_deref())
                })
                .await
            }
        }
    }

    /// Fetches the metadata of an instance into `directory`.
    pub(super) async fn fetch_metadata(
        &self,
        target: &Source,
        digest: &str,
        instance: &Instance,
        directory: &Path,
    ) -> Result<(), Error> {
        let source = for_arch(&at(target, digest), instance.arch.clone());
        let view = self.engine.view("", &source);
        let (cache, options) = (directory.to_owned(), PrefetchOptions::default());
        view.prefetch(cache, options, Arc::new(())).await?;
        Ok(())
    }

    /// The packages that the metadata of an instance lists, by location.
    pub(super) async fn listed(
        &self,
        target: &Source,
        digest: &str,
        instance: &Instance,
    ) -> Result<BTreeMap<String, Held>, Error> {
        let workspace = Workspace::new()?;
        self.fetch_metadata(target, digest, instance, &workspace.path).await?;
        let known = instance.packages.clone();
        blocking::run(move || Ok(workspace.contents(&known)?.packages)).await
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

fn check_extensible(target: &Source, old: &Instance, options: &Options) -> Result<(), Error> {
    if !old.is_extensible {
        let reason = "its packages are not layers of their own; publish the whole directory once with \
                      \"dnf5-oci publish\"";
        return Err(Error::conflict(target, reason));
    }
    let is_signed = old.files.iter().any(|file| file.title() == Some(&title(SIGNATURE)));
    if is_signed && options.metadata_key.is_none() {
        let reason = "its metadata is signed; use --sign-metadata to sign the new metadata";
        return Err(Error::conflict(target, reason));
    }
    Ok(())
}

pub(super) fn new_directory() -> Result<TemporaryDir, Error> {
    TemporaryDir::new().map_err(|error| Error::file(&std::env::temp_dir(), error))
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

fn read_directory(
    directory: &Directory,
    old: Option<&Instance>,
    key: Option<&str>,
) -> Result<Prepared, Error> {
    let path = &directory.path;
    let workspace = new_directory()?;
    let is_made = directory.createrepo || !path.join(title(REPOMD)).is_file();
    if is_made {
        metadata::create(path, workspace.path())?;
    }
    let metadata = if is_made { workspace.path().to_owned() } else { path.clone() };
    let known = old.map(|old| old.packages.clone()).unwrap_or_default();
    let mut contents = Contents::read(&metadata, path, &known)?;
    if let Some(old) = old.filter(|_| is_made) {
        contents.keep_metadata(old, key);
    }
    contents.add_keys(path)?;
    let warning = if is_made { None } else { unlisted(path, &contents)? };
    let mut directories = vec![workspace];
    if let Some(key) = key {
        directories.push(sign(&mut contents, &metadata, old, key)?);
    }
    Ok(Prepared { contents, warning, _directories: directories })
}

/// What to say of packages that the metadata does not list.
fn unlisted(directory: &Path, contents: &Contents) -> Result<Option<String>, Error> {
    let mut unlisted = metadata::package_files(directory)?;
    unlisted.retain(|path| {
        let location = path.strip_prefix(directory).unwrap_or(path);
        location.to_str().is_none_or(|location| !contents.packages.contains_key(location))
    });
    Ok(unlisted.first().map(|first| {
        format!(
            "{} of the packages in {} are not in its metadata, such as {first:?}; run createrepo_c, or \
             use --createrepo",
            unlisted.len(),
            directory.display()
        )
    }))
}

impl Contents {
    /// Takes the metadata of an instance, if that lists the same packages: metadata that is made again differs
    /// by its times. Whether it does. Metadata in a tar layer cannot be taken, nor metadata that is to be
    /// signed and is not.
    fn keep_metadata(&mut self, old: &Instance, key: Option<&str>) -> bool {
        let metadata = metadata_of(old);
        let has = |name| {
            let title = title(name);
            metadata.iter().any(|file| file.descriptor.title() == Some(&title))
        };
        let is_kept =
            self.packages == old.packages && has(REPOMD) && (key.is_none() || has(SIGNATURE));
        if is_kept {
            self.files = metadata;
            self.created = old.created();
        }
        is_kept
    }
}

/// The metadata files of an instance, which stay in the registry.
fn metadata_of(instance: &Instance) -> Vec<Blob> {
    let is_metadata = |title: &str| title.starts_with(REPODATA);
    remote(instance, is_metadata)
}

fn remote(instance: &Instance, is_wanted: impl Fn(&str) -> bool) -> Vec<Blob> {
    let files = instance.files.iter().filter(|file| file.title().is_some_and(&is_wanted));
    files.map(|file| Blob { descriptor: file.clone(), content: Content::Remote }).collect()
}

/// Signs the metadata, unless it is what the old signature is for.
fn sign(
    contents: &mut Contents,
    metadata: &Path,
    old: Option<&Instance>,
    key: &str,
) -> Result<TemporaryDir, Error> {
    let directory = new_directory()?;
    let find = |files: &[Blob], name: &str| {
        let mut files = files.iter();
        files.find(|file| file.descriptor.title() == Some(&title(name))).cloned()
    };
    let old = old.map(metadata_of).unwrap_or_default();
    let (repomd, old_repomd) = (find(&contents.files, REPOMD), find(&old, REPOMD));
    let is_same = repomd.as_ref().map(|file| &file.descriptor.digest)
        == old_repomd.as_ref().map(|file| &file.descriptor.digest);
    let signature = match find(&old, SIGNATURE).filter(|_| is_same) {
        Some(signature) => signature,
        None => {
            let (from, to) = (metadata.join(REPODATA), directory.path().join(REPODATA));
            let copied =
                fs::create_dir(&to).and_then(|()| fs::copy(from.join(REPOMD), to.join(REPOMD)));
            copied.map_err(|error| Error::file(&to, error))?;
            metadata::sign(directory.path(), key)?;
            file(&title(SIGNATURE), &to.join(SIGNATURE))?
        }
    };
    contents.files.retain(|file| file.descriptor.title() != Some(&title(SIGNATURE)));
    contents.files.push(signature);
    Ok(directory)
}

/// Adds packages to the metadata in `workspace`.
fn add(
    target: &Source,
    workspace: &Path,
    old: Option<&Instance>,
    packages: &[PathBuf],
    replace: bool,
) -> Result<(), Error> {
    let none = BTreeMap::new();
    let known = old.map_or(&none, |old| &old.packages);
    let (mut new, mut replaced) = (BTreeMap::new(), Vec::new());
    for path in packages {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_plain_path(name) || !name.ends_with(".rpm") {
            return Err(Error::file(path, "not the name of an RPM package"));
        }
        if let Some(held) = known.get(name) {
            if hash(path, None)? == held.digest {
                continue;
            }
            if !replace {
                let reason = format!(
                    "it has another package as {name:?}; use --replace, or increase its release"
                );
                return Err(Error::conflict(target, reason));
            }
            replaced.push(name.to_owned());
        }
        if let Some(other) = new.insert(name.to_owned(), path.clone()) {
            let reason = format!("{} has the same name", other.display());
            return Err(Error::file(path, reason));
        }
    }
    let after = old.map(|_| created(workspace)).transpose()?;
    if !replaced.is_empty() {
        metadata::remove(workspace, &replaced, after.unwrap_or_default())?;
    }
    let new: Vec<_> = new.into_iter().collect();
    if new.is_empty() && old.is_some() {
        return Ok(());
    }
    metadata::add(workspace, &new, after)?;
    let listed = Contents::read(workspace, workspace, known)?.packages;
    if let Some((_, path)) = new.iter().find(|(location, _)| !listed.contains_key(location)) {
        return Err(Error::file(path, "not an RPM package"));
    }
    check_locations(known.keys().chain(new.iter().map(|(location, _)| location)), &listed)
}

/// Removes packages from the metadata in `workspace`.
fn remove(
    target: &Source,
    workspace: &Path,
    old: Option<&Instance>,
    packages: &[String],
) -> Result<(), Error> {
    let Some(old) = old else {
        return Err(Error::conflict(target, "there is no such repository"));
    };
    let mut locations = BTreeSet::new();
    let mut names: HashMap<String, Vec<String>> = HashMap::new();
    let repodata = workspace.join(REPODATA);
    for (location, nevra) in nevras(&repodata)? {
        for name in nevra.spellings() {
            names.entry(name).or_default().push(location.clone());
        }
    }
    for package in packages {
        match names.get(package) {
            Some(found) => locations.extend(found.iter().cloned()),
            None if old.packages.contains_key(package) => {
                locations.insert(package.clone());
            }
            None => {
                let reason = format!("it has no package {package:?}; see \"dnf5-oci list\"");
                return Err(Error::conflict(target, reason));
            }
        }
    }
    let locations: Vec<_> = locations.into_iter().collect();
    metadata::remove(workspace, &locations, created(workspace)?)?;
    let listed = Contents::read(workspace, workspace, &old.packages)?.packages;
    let kept = old.packages.keys().filter(|location| !locations.contains(location));
    check_locations(kept, &listed)
}

/// createrepo_c selects packages by patterns, which could select more than was meant.
fn check_locations<'a>(
    expected: impl Iterator<Item = &'a String>,
    listed: &BTreeMap<String, Held>,
) -> Result<(), Error> {
    let expected: BTreeSet<_> = expected.collect();
    match expected.symmetric_difference(&listed.keys().collect()).next() {
        Some(location) => {
            let reason =
                format!("it has changed the package {location:?}, too; publish the directory");
            Err(Error::Program { program: "createrepo_c", reason })
        }
        None => Ok(()),
    }
}

fn created(workspace: &Path) -> Result<u64, Error> {
    Ok(parse_repomd(&workspace.join(title(REPOMD)))?.created())
}

/// The locations and names of all packages in the metadata.
///
/// # Errors
/// If it is malformed.
pub fn nevras(repodata: &Path) -> Result<Vec<(String, crate::repomd::Nevra)>, Error> {
    let repomd = parse_repomd(&repodata.join(REPOMD))?;
    let Some(primary) = repomd.records.into_iter().find(|record| record.kind == "primary") else {
        return Ok(Vec::new());
    };
    let path = repodata.join(&primary.name);
    let open = || {
        let file = fs::File::open(&path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    let (file, size) = open().map_err(|error: std::io::Error| Error::file(&path, error))?;
    let mut all = Vec::new();
    read_nevras(file, size, |location, nevra| all.push((location, nevra)))
        .map_err(|error| Error::file(&path, error))?;
    Ok(all)
}

/// What the metadata in a workspace and the old instance make together.
fn changed(
    workspace: Workspace,
    old: Option<&Instance>,
    key: Option<&str>,
) -> Result<Prepared, Error> {
    let known = old.map(|old| old.packages.clone()).unwrap_or_default();
    let mut contents = workspace.contents(&known)?;
    let mut directories = Vec::new();
    if old.is_some_and(|old| contents.keep_metadata(old, key)) {
        // Its signature, if it has one, is kept with it.
    } else if let Some(key) = key {
        directories.push(sign(&mut contents, &workspace.path, old, key)?);
    }
    let others = |title: &str| !title.starts_with(REPODATA);
    contents.files.extend(old.map(|old| remote(old, others)).unwrap_or_default());
    directories.push(workspace._directory);
    Ok(Prepared { contents, warning: None, _directories: directories })
}
