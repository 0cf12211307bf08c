//! The new content of a repository: from a directory, or from what the repository has and what a command changes
//! in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::{
    Blob, Content, Contents, REPOMD, SIGNATURE, file, hash, named_packages, parse_repomd, title,
};
use super::error::Error;
use super::state::{Held, Instance, REPODATA, State, at, for_arch};
use super::update::{Change, Directory};
use super::{Options, Publisher, metadata, temporary_directory};
use crate::artifact::is_plain_path;
use crate::blocking;
use crate::engine::PrefetchOptions;
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// New content, and the temporary directories that it is in.
pub struct Prepared {
    /// The content.
    pub contents: Contents,
    /// What the user should know.
    pub warning: Option<String>,
    _directories: Vec<TemporaryDir>,
}

/// A directory with metadata to change, and symbolic links to new packages. It is below a temporary one, which
/// is locked: so is a cache while metadata is fetched into it.
pub struct MetadataDir {
    /// The directory.
    pub path: PathBuf,
    _directory: TemporaryDir,
}

impl MetadataDir {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn new() -> Result<Self, Error> {
        let _directory = temporary_directory()?;
        let path = _directory.path().join("repository");
        fs::create_dir(&path).map_err(|error| Error::file(&path, error))?;
        Ok(Self { path, _directory })
    }
}

impl Publisher {
    /// The content that a change leads to, given what there is.
    ///
    /// # Errors
    /// If the change is not possible.
    pub(super) async fn prepare(
        &self,
        target: &Source,
        state: &State,
        old: Option<&Instance>,
        change: &Change,
        options: &Options,
    ) -> Result<Prepared, Error> {
        match change.clone() {
            Change::Publish(directory) => {
                let (old, key) = (old.cloned(), options.metadata_key.clone());
                blocking::run(move || read_directory(&directory, old.as_ref(), key.as_deref()))
                    .await
            }
            Change::Add { packages, replace } => {
                let add = move |target: &_, workspace: &_, old: Option<&_>| {
                    add(target, workspace, old, &packages, replace)
                };
                self.prepare_change(target, state, old, options, add).await
            }
            Change::Remove { packages } => {
                let remove = move |target: &_, workspace: &_, old: Option<&_>| {
                    remove(target, workspace, old, &packages)
                };
                self.prepare_change(target, state, old, options, remove).await
            }
        }
    }

    /// Has `change` change the metadata that there is.
    async fn prepare_change(
        &self,
        target: &Source,
        state: &State,
        old: Option<&Instance>,
        options: &Options,
        change: impl FnOnce(&Source, &Path, Option<&Instance>) -> Result<Contents, Error>
        + Send
        + 'static,
    ) -> Result<Prepared, Error> {
        let workspace = MetadataDir::new()?;
        if let Some(old) = old {
            check_extensible(target, old, options)?;
            let digest = state.digest.as_deref().unwrap_or_default();
            self.fetch_metadata(target, digest, old, &workspace.path).await?;
        }
        let (target, old, key) = (target.clone(), old.cloned(), options.metadata_key.clone());
        blocking::run(move || {
            let contents = change(&target, &workspace.path, old.as_ref())?;
            changed(workspace, contents, old.as_ref(), key.as_deref())
        })
        .await
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
        let workspace = MetadataDir::new()?;
        self.fetch_metadata(target, digest, instance, &workspace.path).await?;
        let known = instance.packages.clone();
        blocking::run(
            move || Ok(Contents::read(&workspace.path, &workspace.path, &known)?.packages),
        )
        .await
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

fn read_directory(
    directory: &Directory,
    old: Option<&Instance>,
    key: Option<&str>,
) -> Result<Prepared, Error> {
    let path = &directory.path;
    let workspace = temporary_directory()?;
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
    let directory = temporary_directory()?;
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

/// Adds packages to the metadata in `workspace`, and returns the content that it describes then.
fn add(
    target: &Source,
    workspace: &Path,
    old: Option<&Instance>,
    packages: &[PathBuf],
    replace: bool,
) -> Result<Contents, Error> {
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
        return Contents::read(workspace, workspace, known);
    }
    metadata::add(workspace, &new, after)?;
    let contents = Contents::read(workspace, workspace, known)?;
    let listed = &contents.packages;
    if let Some((_, path)) = new.iter().find(|(location, _)| !listed.contains_key(location)) {
        return Err(Error::file(path, "not an RPM package"));
    }
    check_locations(known.keys().chain(new.iter().map(|(location, _)| location)), listed)?;
    Ok(contents)
}

/// Removes packages from the metadata in `workspace`, and returns the content that it describes then.
fn remove(
    target: &Source,
    workspace: &Path,
    old: Option<&Instance>,
    packages: &[String],
) -> Result<Contents, Error> {
    let Some(old) = old else {
        return Err(Error::conflict(target, "there is no such repository"));
    };
    let mut locations = BTreeSet::new();
    let mut names: HashMap<String, Vec<String>> = HashMap::new();
    let repodata = workspace.join(REPODATA);
    let repomd = parse_repomd(&repodata.join(REPOMD))?;
    if let Some(primary) = repomd.primary() {
        for (listed, nevra) in named_packages(&repodata.join(&primary.name))? {
            for name in nevra.spellings() {
                names.entry(name).or_default().push(listed.location.clone());
            }
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
    metadata::remove(workspace, &locations, repomd.created())?;
    let contents = Contents::read(workspace, workspace, &old.packages)?;
    let kept = old.packages.keys().filter(|location| !locations.contains(location));
    check_locations(kept, &contents.packages)?;
    Ok(contents)
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

/// What the changed metadata in a workspace and the old instance make together.
fn changed(
    workspace: MetadataDir,
    mut contents: Contents,
    old: Option<&Instance>,
    key: Option<&str>,
) -> Result<Prepared, Error> {
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
