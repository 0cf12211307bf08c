//! Tests that need a separate process: to kill it, to set its umask, to mount file systems.
//!
//! Such a test runs this test binary again, with itself as the only test and the cache directory in the
//! environment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::testing::{Cache, sample, sha256};
use super::{PACKAGES, REPODATA, REPOMD, Verification};
use crate::error_kind::{Failure, Kind};

const DIRECTORY: &str = "DNF5_OCI_TEST_DIRECTORY";

/// Number of processes that are killed.
const ROUNDS: u32 = 40;

/// Each process is killed this much later than the one before. Together they cover several commits of
/// about a millisecond each.
const STEP: Duration = Duration::from_micros(317);

/// The directory, in the process that a test has started; `None` in the test itself.
fn given_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// This binary with `test` as the only test.
fn myself(test: &str, directory: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    command.args(["--exact", &format!("{module}::{test}")]).env(DIRECTORY, directory);
    command
}

/// Runs `test` in a new mount namespace, after `mounts`, a shell script.
fn run_in_namespace(test: &str, directory: &Path, mounts: &str) {
    let test = myself(test, directory);
    let mut command = Command::new("unshare");
    let script = format!("cd \"${DIRECTORY}\"\n{mounts}\nexec \"$@\"");
    command.args(["--map-root-user", "--mount", "sh", "-ec", &script, "sh"]);
    // /proc/self would be the shell's.
    command.arg(std::env::current_exe().expect("an executable")).args(test.get_args());
    assert_passes(command.env(DIRECTORY, directory));
}

/// Runs a test in its process. A test that is not found has not passed.
fn assert_passes(command: &mut Command) {
    let done = command.output().expect("started");
    let output = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() && output.contains("1 passed"), "{output}");
}

/// Kills a process that commits for ever, many times, each time at another instant. `check` inspects what
/// it has left.
fn kill_again_and_again(test: &str, check: impl Fn(&Cache)) {
    let cache = Cache::new();
    cache.commit("first");
    for round in 0..ROUNDS {
        let before = cache.primary();
        let mut run = myself(test, &cache.dir.path).stdout(Stdio::null()).spawn().expect("started");
        let started = Instant::now();
        while fs::read_to_string(cache.path("repodata/primary.xml")).is_ok_and(|now| now == before)
        {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing is committed");
            sleep(Duration::from_micros(100));
        }
        sleep(STEP * round);
        run.kill().expect("killed");
        run.wait().expect("ended");
        check(&cache);
        cache.reopen();
        cache.dir.sweep().expect("swept");
        cache.holds_only(&cache.primary());
    }
}

/// Commits until the test that has started this process kills it or ends.
fn commit_for_ever(directory: &Path, commit: fn(&Cache, &str)) -> ! {
    set_parent_process_death_signal(Some(Signal::KILL)).expect("set");
    let cache = Cache::at(directory);
    let process = std::process::id();
    for round in 0_u64.. {
        commit(&cache, &format!("{process}-{round}"));
    }
    unreachable!("the numbers do not end")
}

#[test]
fn killed_at_any_instant_the_metadata_is_whole() {
    if let Some(directory) = given_directory() {
        commit_for_ever(&directory, Cache::commit);
    }
    kill_again_and_again("killed_at_any_instant_the_metadata_is_whole", |cache| {
        assert!(cache.is_whole());
    });
}

#[test]
fn killed_in_a_swap_in_steps_the_metadata_is_whole_or_hidden() {
    if let Some(directory) = given_directory() {
        commit_for_ever(&directory, Cache::commit_in_steps);
    }
    kill_again_and_again("killed_in_a_swap_in_steps_the_metadata_is_whole_or_hidden", |cache| {
        assert!(!cache.path(REPOMD).exists() || cache.is_whole());
    });
}

#[test]
fn modes_are_no_wider_than_those_of_dnf5() {
    let Some(directory) = given_directory() else {
        let top = tempfile::tempdir().expect("a temporary directory");
        let directory = top.path().join("a/b");
        assert_passes(&mut myself("modes_are_no_wider_than_those_of_dnf5", &directory));
        return;
    };
    rustix::process::umask(Mode::empty());
    let cache = Cache::at(&directory);
    cache.commit("one");
    let package = cache.dir.stage_package("a.rpm", 0, Verification::Stream).expect("staged");
    package.commit().expect("committed");
    for (name, expected) in [
        ("..", 0o755),
        ("", 0o755),
        (REPODATA, 0o755),
        (PACKAGES, 0o755),
        (REPOMD, 0o644),
        ("repodata/.dnf5-oci.json", 0o644),
        ("packages/a.rpm", 0o644),
    ] {
        let mode = fs::metadata(cache.path(name)).expect("read").permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{name}: {mode:o}");
    }
}

/// As in a container whose image has cached metadata.
#[test]
fn metadata_of_a_lower_layer_is_replaced() {
    let Some(directory) = given_directory() else {
        let top = tempfile::tempdir().expect("a temporary directory");
        Cache::at(&top.path().join("seed")).commit("lower");
        run_in_namespace(
            "metadata_of_a_lower_layer_is_replaced",
            top.path(),
            "mkdir layers merged
             mount -t tmpfs tmpfs layers
             mkdir layers/upper layers/work
             cp -a seed layers/lower
             mount -t overlay -o userxattr,lowerdir=layers/lower,upperdir=layers/upper,\
workdir=layers/work overlay merged",
        );
        return;
    };
    let cache = Cache::at(&directory.join("merged"));
    cache.holds_only("lower");
    fs::create_dir(cache.path("probe")).expect("made");
    let exchange = || {
        let (probe, repodata) = (cache.path("probe"), cache.path(REPODATA));
        renameat_with(CWD, probe, CWD, repodata, RenameFlags::EXCHANGE)
    };
    assert_eq!(exchange(), Err(Errno::XDEV), "the test needs a file system without exchange");
    cache.commit("one");
    exchange().expect("possible now");
    exchange().expect("and back");
    fs::remove_dir(cache.path("probe")).expect("removed");
    cache.commit("two");
    cache.holds_only("two");
}

/// The old metadata cannot be removed while something is mounted in it.
#[test]
fn a_swap_in_steps_that_fails_hides_the_old_metadata_and_is_completed_later() {
    let Some(directory) = given_directory() else {
        let top = tempfile::tempdir().expect("a temporary directory");
        Cache::at(&top.path().join("seed")).commit("one");
        run_in_namespace(
            "a_swap_in_steps_that_fails_hides_the_old_metadata_and_is_completed_later",
            top.path(),
            // tmpfs lists the newest name first, so removal reaches the mount first.
            "mkdir cache && mount -t tmpfs tmpfs cache
             mkdir -p cache/repodata && cp seed/repodata/* cache/repodata
             mkdir cache/repodata/mounted && mount -t tmpfs tmpfs cache/repodata/mounted",
        );
        return;
    };
    let cache = Cache::at(&directory.join("cache"));
    assert!(cache.path(REPOMD).exists());
    let staged = cache.stage(&sample("two"));
    staged.seal(&Cache::marker("two")).expect("sealed");
    let locked = cache.dir.lock().expect("locked");
    cache.dir.swap_in_steps(staged.staged.name(), &locked).expect_err("it is mounted");
    drop((staged, locked));
    assert!(!cache.path(REPOMD).exists());
    let mounted = cache.path("repodata/mounted");
    assert!(Command::new("umount").arg(mounted).status().expect("started").success());
    cache.reopen();
    cache.holds_only("two");
}

#[test]
fn a_full_file_system_has_its_own_kind() {
    let Some(directory) = given_directory() else {
        let top = tempfile::tempdir().expect("a temporary directory");
        run_in_namespace(
            "a_full_file_system_has_its_own_kind",
            top.path(),
            "mkdir full && mount -t tmpfs -o size=64k tmpfs full",
        );
        return;
    };
    let cache = Cache::at(&directory.join("full"));
    cache.commit("one");
    let large = "x".repeat(100_000);
    let staged = cache.dir.stage_repodata().expect("staged");
    let mut file = staged.file("primary.xml").expect("made");
    let error = std::io::Write::write_all(&mut file, large.as_bytes()).expect_err("full");
    assert_no_space(error, "/full/.dnf5-oci-repodata-");
    drop(staged);
    let checksum = sha256(large.as_bytes());
    let mut package = cache
        .dir
        .stage_package("a.rpm", large.len() as u64, Verification::Checksum(&checksum))
        .expect("staged");
    let error = std::io::Write::write_all(&mut package, large.as_bytes()).expect_err("full");
    assert_no_space(error, "/full/.dnf5-oci-package-");
    drop(package);
    cache.holds_only("one");
}

fn assert_no_space(error: std::io::Error, path: &str) {
    let error = super::Error::from(error);
    assert_eq!(error.kind(), Kind::NoSpace);
    assert!(error.to_string().contains(path), "{error}");
}
