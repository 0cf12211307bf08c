//! Metadata made by createrepo_c, and its signature by gpg.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use super::contents::{REPOMD, SIGNATURE};
use super::error::Error;
use super::state::REPODATA;
use crate::error_kind::printable;

const CREATEREPO: &str = "createrepo_c";
const GPG: &str = "gpg";

/// How createrepo_c's own messages begin.
const LOG: &str = "C_CREATEREPOLIB: ";

/// Makes the metadata of a directory's packages in `output`.
///
/// # Errors
/// If createrepo_c fails.
pub fn create(directory: &Path, output: &Path) -> Result<(), Error> {
    let mut command = createrepo(newest(directory)?);
    command.arg("--outputdir").arg(output).arg(directory);
    run(CREATEREPO, command, "install createrepo_c")
}

/// Adds packages to the metadata in `workspace`, given by their locations and paths. Those that the metadata
/// lists already need not be there. `after` is when it was made; `None` if there is none yet.
///
/// # Errors
/// If createrepo_c fails, or a file is not a package.
pub fn add(
    workspace: &Path,
    packages: &[(String, PathBuf)],
    after: Option<u64>,
) -> Result<(), Error> {
    let mut newest = after.map_or(0, |after| after + 1);
    for (location, path) in packages {
        let link = workspace.join(location);
        let path = fs::canonicalize(path).map_err(|error| Error::file(path, error))?;
        newest = newest.max(modified(&path)?);
        symlink(&path, &link).map_err(|error| Error::file(&link, error))?;
    }
    let list = workspace.join("packages");
    let lines: String = packages.iter().map(|(location, _)| format!("{location}\n")).collect();
    fs::write(&list, lines).map_err(|error| Error::file(&list, error))?;
    let mut command = if after.is_some() { update(newest) } else { createrepo(newest) };
    command.arg("--pkglist").arg(&list).arg(workspace);
    run(CREATEREPO, command, "install createrepo_c")
}

/// Removes the packages at these locations from the metadata in `workspace`.
///
/// # Errors
/// If createrepo_c fails.
pub fn remove(workspace: &Path, locations: &[String], after: u64) -> Result<(), Error> {
    let mut command = update(after + 1);
    for location in locations {
        command.arg("--excludes").arg(location);
    }
    command.arg(workspace);
    run(CREATEREPO, command, "install createrepo_c")
}

/// Signs the metadata in `repodata` with this key.
///
/// # Errors
/// If gpg fails.
pub fn sign(metadata: &Path, key: &str) -> Result<(), Error> {
    let repodata = metadata.join(REPODATA);
    let mut command = Command::new(GPG);
    command.args(["--batch", "--yes", "--armor", "--detach-sign", "--local-user", key, "--output"]);
    command.arg(repodata.join(SIGNATURE)).arg(repodata.join(REPOMD));
    run(GPG, command, "install gnupg")
}

/// The same input makes the same metadata: its times are those of the packages, not that of the clock.
fn createrepo(revision: u64) -> Command {
    let mut command = Command::new(CREATEREPO);
    command.args(["--set-timestamp-to-revision", "--revision"]).arg(revision.to_string());
    command
}

fn update(revision: u64) -> Command {
    let mut command = createrepo(revision);
    command.args(["--update", "--recycle-pkglist", "--skip-stat"]);
    command
}

/// The time of the newest package below a directory.
fn newest(directory: &Path) -> Result<u64, Error> {
    let mut times = package_files(directory)?.into_iter().map(|path| modified(&path));
    times.try_fold(0, |newest, time| Ok(time?.max(newest)))
}

/// All files below a directory that are named like packages, sorted.
///
/// # Errors
/// If a directory cannot be read.
pub fn package_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(|error| Error::file(&directory, error))? {
            let entry = entry.map_err(|error| Error::file(&directory, error))?;
            let kind = entry.file_type().map_err(|error| Error::file(&entry.path(), error))?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension() == Some(OsStr::new("rpm")) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn modified(path: &Path) -> Result<u64, Error> {
    let time = fs::metadata(path).and_then(|found| found.modified());
    let time = time.map_err(|error| Error::file(path, error))?;
    Ok(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn run(program: &'static str, mut command: Command, install: &str) -> Result<(), Error> {
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let reason = format!("not installed; {install}");
            return Err(Error::Program { program, reason });
        }
        output => output.map_err(|error| Error::Program { program, reason: error.to_string() })?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = last_warning(&said).unwrap_or_else(|| output.status.to_string());
    Err(Error::program(program, &reason))
}

/// The last line that a program has printed as a reason for its failure, without the prefix that GLib and gpg
/// put before it.
fn last_warning(said: &str) -> Option<String> {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let (ours, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(LOG));
    let line = ours.last().or(others.last())?;
    let line = line.trim_start_matches(LOG).trim_start_matches("gpg: ");
    let line = ["Warning: ", "Critical: "]
        .iter()
        .find_map(|level| line.strip_prefix(level))
        .unwrap_or(line);
    Some(printable(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failure_is_its_last_warning() {
        for (said, expected) in [
            (
                "C_CREATEREPOLIB: Warning: read_header: failed\n\
                 C_CREATEREPOLIB: Warning: Cannot read package: a.rpm: error\nPool finished\n",
                Some("Cannot read package: a.rpm: error"),
            ),
            (
                "gpg: skipped \"x\": No secret key\ngpg: signing failed: No secret key\n",
                Some("signing failed: No secret key"),
            ),
            (" \n", None),
        ] {
            assert_eq!(last_warning(said).as_deref(), expected);
        }
    }
}
