//! DNF's cache directory for a reference: whether there is one, what is in it, and whether it can
//! be written. Nothing is written.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use super::{Check, Step, Verdict};
use crate::dnf_cache::{CacheDir, Freshness, MaxAge, directory_name};
use crate::error_kind::counted;

/// Looks at what `cachedir` has for these baseurls: dnf5 names the directory of a repository by
/// its id and a hash of its baseurl. `needed` is the size of the metadata in bytes.
pub(super) fn examine(cachedir: &Path, baseurls: &[String], needed: u64) -> Step {
    let suffixes: Vec<_> = baseurls.iter().map(|baseurl| directory_name("", baseurl)).collect();
    let found = directories(cachedir, &suffixes);
    let of_cachedir = vec![cachedir.to_owned()];
    let to_write = if found.is_empty() { &of_cachedir } else { &found };
    let failed = |text| Step::new(Check::Cache, Verdict::Failed, text);
    if let Some(path) = to_write.iter().find_map(|path| not_writable(path)) {
        let path = path.display();
        return failed(format!("{path} cannot be written; check its owner and permissions"));
    }
    if let Some((path, free)) = free_if_less(cachedir, needed) {
        let path = path.display();
        return failed(format!("{path} has {free} bytes left, and the metadata needs {needed}"));
    }
    let text = match found.is_empty() {
        true => {
            let suffix = suffixes.first().map_or("", String::as_str);
            format!("nothing yet; it will be {}/REPOSITORY{suffix}", cachedir.display())
        }
        false => found.iter().map(|path| describe(path)).collect::<Vec<_>>().join(", "),
    };
    Step::new(Check::Cache, Verdict::Ok, text)
}

fn directories(cachedir: &Path, suffixes: &[String]) -> Vec<PathBuf> {
    let entries = fs::read_dir(cachedir).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut found: Vec<_> = entries
        .unwrap_or_default()
        .iter()
        .filter(|entry| {
            let name = entry.file_name();
            suffixes.iter().any(|suffix| name.to_string_lossy().ends_with(suffix))
        })
        .map(fs::DirEntry::path)
        .collect();
    found.sort();
    found
}

/// The path itself if it exists, or the closest directory above it that does.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

/// The directory where an ordinary user has fewer bytes left than `needed`, and how many.
fn free_if_less(path: &Path, needed: u64) -> Option<(&Path, u64)> {
    let there = existing(path)?;
    let system = statvfs(there).ok()?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    (free < needed).then_some((there, free))
}

/// The directory that keeps a path from being written: itself or the closest one above it.
fn not_writable(path: &Path) -> Option<&Path> {
    let there = existing(path)?;
    let rights = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, there, rights, AtFlags::EACCESS).is_err().then_some(there)
}

fn describe(path: &Path) -> String {
    // It is there, so nothing is made.
    let opened = CacheDir::open(path);
    let metadata = match opened.map(|cache| cache.freshness(MaxAge::Forever, None)) {
        Ok(Freshness::Fresh) => "metadata",
        Ok(Freshness::Expired) => "expired metadata",
        Ok(Freshness::Missing) => "no metadata",
        Err(_) => "metadata that cannot be read",
    };
    let packages = fs::read_dir(path.join("packages")).map_or(0, Iterator::count);
    format!("{} with {metadata}, {}", path.display(), counted(packages, "package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASEURL: &str = "oci://localhost:5000/acme/rpms:stable";

    fn examined(cachedir: &Path) -> (Verdict, String) {
        examined_for(cachedir, 0)
    }

    fn examined_for(cachedir: &Path, needed: u64) -> (Verdict, String) {
        let step = examine(cachedir, &[BASEURL.to_owned()], needed);
        let top = cachedir.parent().expect("a parent").display().to_string();
        (step.verdict, step.text.replace(&top, ""))
    }

    #[test]
    fn directories_are_known_by_the_hash_of_the_baseurl() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let cachedir = top.path().join("libdnf5");
        let hash = "5f2178b1bf2c56bc";
        let nothing = format!("nothing yet; it will be /libdnf5/REPOSITORY-{hash}");
        assert_eq!(examined(&cachedir), (Verdict::Ok, nothing));
        assert!(!cachedir.exists(), "it is left as it is");
        for name in [format!("tools-{hash}"), format!("b.a-{hash}"), "x-0123456789abcdef".into()] {
            fs::create_dir_all(cachedir.join(name).join("packages")).expect("made");
        }
        fs::write(cachedir.join(format!("tools-{hash}/packages/a.rpm")), "").expect("written");
        let both = format!(
            "/libdnf5/b.a-{hash} with no metadata, 0 packages, /libdnf5/tools-{hash} with no \
             metadata, 1 package"
        );
        assert_eq!(examined(&cachedir), (Verdict::Ok, both));
    }

    #[test]
    fn what_has_no_room_or_lets_nobody_write_is_named() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let (verdict, text) = examined_for(&top.path().join("libdnf5"), u64::MAX);
        assert_eq!(verdict, Verdict::Failed);
        assert!(
            text.ends_with(&format!("bytes left, and the metadata needs {}", u64::MAX)),
            "{text}"
        );
        let file = top.path().join("file");
        fs::write(&file, "").expect("written");
        let step = examine(&file.join("libdnf5"), &[], 0);
        let path = file.display();
        let text = format!("{path} cannot be written; check its owner and permissions");
        assert_eq!((step.verdict, step.text), (Verdict::Failed, text));
    }
}
