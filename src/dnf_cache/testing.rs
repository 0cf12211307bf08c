//! Helpers for the tests of the cache.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CacheDir, Marker, REPODATA, StagedRepodata};
use crate::checksum::{Algorithm, Checksum, Hasher};

/// Names and contents.
pub(super) type Files = Vec<(String, String)>;

/// Metadata with the primary file `content`.
pub(super) fn sample(content: &str) -> Files {
    let repomd = format!(
        "<repomd><data type=\"primary\"><checksum type=\"sha256\">{}</checksum>\
         <location href=\"repodata/primary.xml\"/><size>{}</size></data></repomd>",
        sha256(content.as_bytes()).hex(),
        content.len()
    );
    vec![("repomd.xml".to_owned(), repomd), ("primary.xml".to_owned(), content.to_owned())]
}

pub(super) fn sha256(content: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    hasher.finish()
}

/// The names in a directory, in order.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("read");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("read").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

/// A cache directory, by default in a temporary one.
pub(super) struct Cache {
    pub(super) dir: Arc<CacheDir>,
    _temporary: Option<tempfile::TempDir>,
}

impl Cache {
    pub(super) fn new() -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = Arc::new(CacheDir::open(&top.path().join("cache")).expect("opened"));
        Self { dir, _temporary: Some(top) }
    }

    pub(super) fn at(path: &Path) -> Self {
        Self { dir: Arc::new(CacheDir::open(path).expect("opened")), _temporary: None }
    }

    /// As another process would.
    pub(super) fn reopen(&self) {
        CacheDir::open(&self.dir.path).expect("opened");
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path.join(name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        names(&self.dir.path)
    }

    pub(super) fn primary(&self) -> String {
        fs::read_to_string(self.path("repodata/primary.xml")).expect("read")
    }

    pub(super) fn marker(digest: &str) -> Marker {
        Marker {
            reference: "oci://quay.io/acme/rpms:1".to_owned(),
            manifest_digest: digest.to_owned(),
            repodata_layers: vec![digest.to_owned()],
        }
    }

    pub(super) fn stage(&self, files: &Files) -> StagedRepodata {
        let staged = self.dir.stage_repodata().expect("staged");
        for (name, content) in files {
            staged.file(name).expect("made").write_all(content.as_bytes()).expect("written");
        }
        staged
    }

    /// Metadata with the primary file `content`, and `content` as the manifest's digest.
    pub(super) fn commit(&self, content: &str) {
        let staged = self.stage(&sample(content));
        staged.verify().expect("verified");
        staged.commit(&Self::marker(content)).expect("committed");
    }

    /// The same as on a file system without exchange.
    pub(super) fn commit_in_steps(&self, content: &str) {
        let staged = self.stage(&sample(content));
        staged.verify().expect("verified");
        staged.seal(&Self::marker(content)).expect("sealed");
        let locked = self.dir.lock().expect("locked");
        self.dir.swap_in_steps(staged.staged.name(), &locked).expect("swapped");
    }

    /// Whether the metadata is complete and consistent.
    pub(super) fn is_whole(&self) -> bool {
        let repodata = names(&self.path(REPODATA));
        let content = self.primary();
        let repomd = fs::read_to_string(self.path("repodata/repomd.xml")).expect("read");
        repodata == [".dnf5-oci.json", "primary.xml", "repomd.xml"]
            && repomd == sample(&content)[0].1
            && self.dir.marker() == Some(Self::marker(&content))
    }

    /// Asserts that the directory has the metadata of `content`, all of it, and nothing else.
    #[track_caller]
    pub(super) fn holds_only(&self, content: &str) {
        assert_eq!(self.names(), [REPODATA]);
        assert_eq!(self.primary(), content);
        assert!(self.is_whole());
    }
}
