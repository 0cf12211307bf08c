//! A repository of a web server into a registry, its metadata untouched, segment by segment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::{StreamExt, stream};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::curl::{Download, fetch};
use crate::artifact::is_plain_path;
use crate::blocking;
use crate::checksum::Checksum;
use crate::publish::contents::{Contents, REPOMD, SIGNATURE, hash, packages, parse_repomd, title};
use crate::publish::document::{Descriptor, Digest};
use crate::publish::error::Error;
use crate::publish::plan::{Next, Plan, held};
use crate::publish::push::{CHECKPOINT, Push, Pushed, progress_target};
use crate::publish::segments::{NewSegment, arrange};
use crate::publish::state::{Held, REPODATA, Segment, State, at};
use crate::publish::update::{check_target, difference, now, persist};
use crate::publish::workspace::Workspace;
use crate::publish::{Limits, Options, Outcome, Progress, Publisher, temporary_directory};
use crate::redact::Secrets;
use crate::registry::Instances;
use crate::repomd::{MAX_REPOMD, Package};
use crate::source::Source;
use crate::temporary::TemporaryDir;

/// The largest metadata file whose record has no size, in bytes.
const MAX_METADATA: u64 = 4 << 30;

/// What cannot be in a URL as it is: RFC 3986, 2. A percent sign stays, as with dnf5.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The URL of a repository, which may have a password in it.
#[derive(Clone)]
pub struct Url {
    text: String,
    secrets: Secrets,
}

/// Not the URL of a repository.
#[derive(Debug, thiserror::Error)]
#[error("not a URL of the form https://HOST/PATH, without a query")]
pub struct InvalidUrl;

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let is_valid = rest.is_some_and(|rest| {
            !rest.is_empty()
                && !rest.starts_with('/')
                && !rest.contains(['?', '#'])
                && rest.chars().all(|c| !c.is_control() && c != ' ')
        });
        if !is_valid {
            return Err(InvalidUrl);
        }
        let mut secrets = Secrets::default();
        secrets.add_url(text);
        Ok(Self { text: text.trim_end_matches('/').to_owned(), secrets })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hide(&self.text))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Url {
    /// The URL of a file of the repository.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}/{}", self.text, utf8_percent_encode(path, UNSAFE))
    }

    /// A text without the password.
    pub(super) fn hide(&self, text: &str) -> String {
        self.secrets.hide(text)
    }

    fn error(&self, path: &str, reason: &str) -> Error {
        let reason = format!("{reason}; try again: the repository may just be changing");
        Error::file(Path::new(&self.hide(&self.join(path))), reason)
    }
}

/// A package, and its digest as far as that is known.
#[derive(Clone)]
struct Wanted {
    listed: Package,
    digest: Option<Digest>,
}

/// Packages that are on disk.
struct Fetched {
    packages: Vec<(Package, Digest)>,
    paths: HashMap<Digest, PathBuf>,
    _directory: TemporaryDir,
}

impl Publisher {
    /// Makes a tag lead to a repository of a web server.
    ///
    /// # Errors
    /// If that fails; the tag leads to what it led to then.
    pub async fn mirror(
        &self,
        url: &Url,
        target: &Source,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Outcome, Error> {
        check_target(target, options)?;
        persist(target, progress, async || self.try_mirror(url, target, options, progress).await)
            .await
    }

    /// `None` if others have moved the tag.
    async fn try_mirror(
        &self,
        url: &Url,
        target: &Source,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Option<Outcome>, Error> {
        progress.step("Reading the repository");
        let mut state = self.state(target).await?;
        progress.step("Downloading the metadata");
        let metadata = temporary_directory()?;
        let all = self.wanted(url, target, &state, metadata.path(), options).await?;
        let mut missing = missing(&state, &all);
        let unfinished =
            progress_target(target).filter(|_| missing.len() >= CHECKPOINT * options.limits.layers);
        let mut is_resumed = false;
        if let Some(unfinished) = &unfinished {
            let found = self.unfinished(unfinished, &state).await?;
            is_resumed = !found.is_empty();
            state.segments.extend(found);
            missing = self::missing(&state, &all);
        }
        let load = missing.iter().map(|wanted| wanted.listed.size).sum::<u64>();
        let (count, mut known) = (missing.len(), known(&all));
        let mut paths = HashMap::new();
        let mut fetched = None;
        if options.is_dry_run {
            // As if they were there, under any digest.
            for wanted in &missing {
                let digest = wanted.digest.clone();
                let digest =
                    digest.unwrap_or_else(|| Digest::of(wanted.listed.location.as_bytes()));
                let held = Held { digest: digest.clone(), size: wanted.listed.size };
                known.insert(wanted.listed.location.clone(), held);
                paths.insert(digest, PathBuf::new());
            }
        } else if is_small(&state, all.len(), load, &options.limits) {
            let whole = download(url, &missing).await?;
            known.extend(whole.held());
            paths.clone_from(&whole.paths);
            fetched = Some(whole);
        } else {
            progress.begin(count, load);
            let pushed = self.push_missing(url, target, &mut state, &missing, options, progress);
            known.extend(pushed.await?);
            progress.end();
        }
        let (directory, empty) = (metadata.path().to_owned(), temporary_directory()?);
        let contents =
            blocking::run(move || Contents::read(&directory, empty.path(), &known)).await?;
        let arch = options.arch.as_deref();
        let old = state.instance(arch);
        let next = Next::with(old, arch, contents, now());
        let (added, removed) = difference(old, &next.packages);
        let packages = next.packages.len();
        let plan = Plan::new(&state, next, &paths, &options.limits)
            .map_err(|problem| Error::conflict(target, problem))?;
        let push = Push::new(self, target, &state, &plan, &paths, options, progress);
        let of_segments = if paths.is_empty() { (count, load) } else { (0, 0) };
        let outcome = Outcome {
            reference: target.reference.to_string(),
            digest: plan.top.digest.to_string(),
            previous: state.digest.clone(),
            changed: !plan.is_current(&state),
            added,
            removed,
            packages,
            segments: if plan.top.is_index { plan.segments.len() } else { 0 },
            pushed: push.load.0 + of_segments.0,
            bytes: push.load.1 + of_segments.1,
            dry_run: options.is_dry_run,
        };
        if options.is_dry_run || !outcome.changed {
            return Ok(Some(outcome));
        }
        if push.run().await? == Pushed::Contended {
            return Ok(None);
        }
        drop(fetched);
        if let Some(unfinished) = unfinished
            && (is_resumed || count > CHECKPOINT * options.limits.layers)
        {
            self.forget_progress(target, &unfinished, &outcome.digest).await;
        }
        Ok(Some(outcome))
    }

    /// Downloads the metadata into `directory`: the packages that it lists.
    async fn wanted(
        &self,
        url: &Url,
        target: &Source,
        state: &State,
        directory: &Path,
        options: &Options,
    ) -> Result<Vec<Wanted>, Error> {
        let primary = fetch_metadata(url, directory).await?;
        let listed = blocking::run(move || packages(&primary)).await?;
        let is_sha256 = |listed: &Package| Digest::try_from(&listed.checksum).is_ok();
        let old = match listed.iter().all(is_sha256) {
            true => HashMap::new(),
            false => self.digests(target, state, options).await?,
        };
        let mut all = BTreeMap::new();
        for listed in listed {
            if !is_plain_path(&listed.location) {
                return Err(
                    url.error(&title(REPOMD), &format!("invalid location {:?}", listed.location))
                );
            }
            let known = (listed.location.clone(), listed.checksum.clone());
            let digest = Digest::try_from(&listed.checksum).ok();
            let digest = digest.or_else(|| old.get(&known).cloned());
            all.insert(listed.location.clone(), Wanted { listed, digest });
        }
        Ok(all.into_values().collect())
    }

    /// The digests of the packages that the registry has, by their locations and other checksums.
    async fn digests(
        &self,
        target: &Source,
        state: &State,
        options: &Options,
    ) -> Result<HashMap<(String, Checksum), Digest>, Error> {
        let (Some(old), Some(digest)) = (state.instance(options.arch.as_deref()), &state.digest)
        else {
            return Ok(HashMap::new());
        };
        let metadata = self.metadata(target, digest, old).await?;
        let known = metadata.packages.into_iter().filter_map(|package| {
            let held = old.packages.get(&package.location)?;
            Some(((package.location, package.checksum), held.digest.clone()))
        });
        Ok(known.collect())
    }

    /// Downloads packages and pushes them in segments, some at a time: the next ones are downloaded meanwhile.
    /// Adds the segments to the state; the packages that are held now.
    async fn push_missing(
        &self,
        url: &Url,
        target: &Source,
        state: &mut State,
        missing: &[Wanted],
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Held>, Error> {
        let mut known = BTreeMap::new();
        let mut new: Vec<Descriptor> = Vec::new();
        let mut kept = 0;
        let chunks = chunks(missing, &options.limits);
        let mut downloads =
            std::pin::pin!(stream::iter(chunks).map(|chunk| download(url, chunk)).buffered(2));
        while let Some(fetched) = downloads.next().await {
            let fetched = fetched?;
            let segments = self.push_segments(target, &fetched, options, progress).await?;
            new.extend(segments.iter().map(|segment| segment.entry.clone()));
            state.segments.extend(segments);
            known.extend(fetched.held());
            if new.len() >= kept + CHECKPOINT {
                kept = new.len();
                self.keep_progress(target, new.iter(), options).await?;
            }
        }
        Ok(known)
    }

    async fn push_segments(
        &self,
        target: &Source,
        fetched: &Fetched,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Vec<Segment>, Error> {
        let needed = fetched
            .packages
            .iter()
            .map(|(listed, digest)| (digest.clone(), (listed.location.clone(), listed.size)));
        let needed: BTreeMap<_, _> = needed.collect();
        let mut segments = Vec::new();
        for placement in arrange(&[], &[], &needed, &options.limits).segments {
            let Some(NewSegment { bytes, packages }) = placement.new else {
                continue;
            };
            let mut workspace = Workspace::new()?;
            workspace.add_config()?;
            workspace.add_document(&placement.entry.digest, &bytes, false)?;
            for (digest, _) in &packages {
                if let Some(path) = fetched.paths.get(digest) {
                    workspace.link(digest, path)?;
                }
            }
            let from = workspace.source(&placement.entry.digest)?;
            let to = at(target, placement.entry.digest.as_str());
            self.transfer(&from, &to, Instances::Manifest, None, options).await?;
            packages.iter().for_each(|(_, size)| progress.pushed(*size));
            let packages = packages.into_iter().filter_map(|(digest, _)| {
                let package = needed.get(&digest)?.clone();
                Some((digest, package))
            });
            let (entry, variant) = (placement.entry, placement.variant);
            segments.push(Segment { entry, variant, packages: packages.collect() });
        }
        Ok(segments)
    }
}

impl Fetched {
    fn held(&self) -> impl Iterator<Item = (String, Held)> {
        self.packages.iter().map(|(listed, digest)| {
            (listed.location.clone(), Held { digest: digest.clone(), size: listed.size })
        })
    }
}

/// Downloads repomd.xml, its signature, and the files that it lists: the path of primary.xml.
async fn fetch_metadata(url: &Url, directory: &Path) -> Result<PathBuf, Error> {
    let repodata = directory.join(REPODATA);
    fs::create_dir(&repodata).map_err(|error| Error::file(&repodata, error))?;
    let file = |name: &str, max_size, is_optional| Download {
        path: title(name),
        file: repodata.join(name),
        max_size,
        is_optional,
    };
    let first = [file(REPOMD, MAX_REPOMD, false), file(SIGNATURE, MAX_REPOMD, true)];
    fetch(url, &first).await?;
    let repomd = parse_repomd(&repodata.join(REPOMD))?;
    let files: Vec<_> = repomd
        .records
        .iter()
        .map(|record| file(&record.name, record.size.unwrap_or(MAX_METADATA), false))
        .collect();
    fetch(url, &files).await?;
    for record in &repomd.records {
        if hash(&repodata.join(&record.name), Some(&record.checksum)).is_err() {
            return Err(url.error(&title(&record.name), "checksum mismatch"));
        }
    }
    let primary = repomd
        .primary()
        .ok_or_else(|| url.error(&title(REPOMD), "it lists no primary metadata"))?;
    Ok(repodata.join(&primary.name))
}

/// Downloads packages into a temporary directory, and checks them.
async fn download(url: &Url, wanted: &[Wanted]) -> Result<Fetched, Error> {
    let directory = temporary_directory()?;
    let downloads: Vec<_> = wanted
        .iter()
        .enumerate()
        .map(|(number, wanted)| Download {
            path: wanted.listed.location.clone(),
            file: directory.path().join(number.to_string()),
            max_size: wanted.listed.size,
            is_optional: false,
        })
        .collect();
    if !downloads.is_empty() {
        fetch(url, &downloads).await?;
    }
    let (url, wanted) = (url.clone(), wanted.to_vec());
    blocking::run(move || {
        let (mut packages, mut paths) = (Vec::new(), HashMap::new());
        for (Wanted { listed, .. }, Download { file, .. }) in wanted.into_iter().zip(downloads) {
            let size = fs::metadata(&file).map_or(0, |found| found.len());
            if size != listed.size {
                let reason = format!("size mismatch: expected {} bytes, got {size}", listed.size);
                return Err(url.error(&listed.location, &reason));
            }
            let digest = hash(&file, Some(&listed.checksum))
                .map_err(|_| url.error(&listed.location, "checksum mismatch"))?;
            paths.insert(digest.clone(), file);
            packages.push((listed, digest));
        }
        Ok(Fetched { packages, paths, _directory: directory })
    })
    .await
}

/// The packages that the registry does not have.
fn missing(state: &State, all: &[Wanted]) -> Vec<Wanted> {
    let held: HashSet<_> = held(state);
    let is_held =
        |wanted: &&Wanted| wanted.digest.as_ref().is_some_and(|digest| held.contains(digest));
    all.iter().filter(|wanted| !is_held(wanted)).cloned().collect()
}

/// The packages whose digests are known.
fn known(all: &[Wanted]) -> BTreeMap<String, Held> {
    let known = all.iter().filter_map(|Wanted { listed, digest }| {
        let held = Held { digest: digest.clone()?, size: listed.size };
        Some((listed.location.clone(), held))
    });
    known.collect()
}

/// Whether the packages may be one manifest with the metadata, and on disk all at once.
fn is_small(state: &State, packages: usize, load: u64, limits: &Limits) -> bool {
    !state.is_index && packages < limits.layers && load <= limits.segment_size
}

/// Cuts the packages into what may be on disk at a time: about a segment each.
fn chunks<'a>(all: &'a [Wanted], limits: &Limits) -> Vec<&'a [Wanted]> {
    let mut chunks = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (position, wanted) in all.iter().enumerate() {
        let is_full =
            position - start == limits.layers || size + wanted.listed.size > limits.segment_size;
        if is_full && position > start {
            chunks.push(&all[start..position]);
            (start, size) = (position, 0);
        }
        size += wanted.listed.size;
    }
    if start < all.len() {
        chunks.push(&all[start..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_and_names_are_encoded() {
        let url: Url = "https://me:hunter22@example.com/a/".parse().expect("valid");
        assert!(!format!("{url} {url:?}").contains("hunter22"));
        assert_eq!(
            url.join("P/a b+~^1:2%.rpm"),
            "https://me:hunter22@example.com/a/P/a%20b+~%5E1:2%.rpm"
        );
        let error = url.error("x.rpm", "checksum mismatch").to_string();
        assert!(!error.contains("hunter22"), "{error}");
        for text in ["ftp://a/b", "https://", "https:///a", "https://a/b?c", "https://a/\nurl"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
