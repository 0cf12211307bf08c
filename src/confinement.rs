//! Landlock: rules that a process or thread imposes on itself, for as long as it lives, and on all that it
//! starts: landlock(7).
//!
//! A kernel that does not know a rule goes without it; one without Landlock goes without all of them.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope, path_beneath_rules,
};

/// The version whose rules are used: Linux 6.15.
const VERSION: ABI = ABI::V7;

/// Rules, before they are imposed.
#[derive(Debug)]
pub struct Confinement(RulesetCreated);

impl Confinement {
    /// For a program that reads what it wants and connects to where it wants, but writes only below
    /// `writable`. It cannot listen on TCP ports, and cannot send signals to others.
    ///
    /// # Errors
    /// If the kernel refuses a rule that it knows.
    pub fn reader(writable: &[impl AsRef<Path>]) -> io::Result<Self> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(VERSION))
            .and_then(|rules| rules.handle_access(AccessNet::BindTcp))
            .and_then(|rules| rules.scope(Scope::Signal))
            .and_then(Ruleset::create)
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(["/"], AccessFs::from_read(VERSION)))
            })
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))
            })
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(writable, AccessFs::from_all(VERSION)))
            });
        rules.map(Self).map_err(io::Error::other)
    }

    /// For work that needs what it has open already, and one directory.
    ///
    /// # Errors
    /// As above.
    pub fn within(directory: impl AsFd) -> io::Result<Self> {
        let all = AccessFs::from_all(VERSION);
        let rules = Ruleset::default()
            .handle_access(all)
            .and_then(|rules| rules.handle_access(AccessNet::from_all(VERSION)))
            .and_then(Ruleset::create)
            .and_then(|rules| {
                rules.add_rule(PathBeneath::new(directory, all & !AccessFs::Execute))
            });
        rules.map(Self).map_err(io::Error::other)
    }

    /// Imposes the rules on the calling thread, and takes from it the means to gain privileges. Between fork
    /// and exec, this makes system calls only.
    ///
    /// # Errors
    /// If the kernel has Landlock and refuses.
    pub fn impose(self) -> io::Result<()> {
        let imposed = self.0.restrict_self();
        imposed.map(drop).map_err(|_| io::Error::last_os_error())
    }
}

/// Whether the kernel has Landlock.
pub fn is_available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::WriteFile)
        .and_then(Ruleset::create)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::{ErrorKind, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    /// What `work` returns on a thread that has imposed the rules.
    fn confined<T: Send>(rules: Confinement, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rules.impose().expect("imposed");
                work()
            });
            thread.join().expect("no panic")
        })
    }

    #[test]
    fn a_reader_writes_only_what_it_may() {
        assert!(is_available(), "the tests need a kernel with Landlock");
        let (ours, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (ours, other) = (ours.expect("a directory"), other.expect("a directory"));
        fs::write(other.path().join("file"), "content").expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let rules = Confinement::reader(&[ours.path()]).expect("rules");
        confined(rules, || {
            fs::write(ours.path().join("file"), "x").expect("allowed");
            fs::write("/dev/null", "x").expect("allowed");
            assert_eq!(fs::read_to_string(other.path().join("file")).expect("allowed"), "content");
            assert!(fs::read_dir(other.path()).is_ok());
            TcpStream::connect(address).expect("allowed");
            for denied in [
                fs::write(other.path().join("new"), "x"),
                fs::write(other.path().join("file"), "x"),
                fs::remove_file(other.path().join("file")),
                fs::create_dir(other.path().join("directory")),
                TcpListener::bind("127.0.0.1:0").map(drop),
            ] {
                assert_eq!(denied.expect_err("denied").kind(), ErrorKind::PermissionDenied);
            }
        });
        fs::write(other.path().join("new"), "x").expect("other threads are free");
    }

    #[test]
    fn within_a_directory_nothing_else_can_be_opened() {
        let (ours, other) = (tempfile::tempdir(), tempfile::tempdir());
        let (ours, other) = (ours.expect("a directory"), other.expect("a directory"));
        fs::write(other.path().join("file"), "content").expect("written");
        let mut open = File::create(other.path().join("open")).expect("created");
        let directory = File::open(ours.path()).expect("opened");
        confined(Confinement::within(&directory).expect("rules"), || {
            fs::create_dir(ours.path().join("a")).expect("allowed");
            fs::write(ours.path().join("a/b"), "x").expect("allowed");
            fs::rename(ours.path().join("a/b"), ours.path().join("c")).expect("allowed");
            assert_eq!(fs::read_to_string(ours.path().join("c")).expect("allowed"), "x");
            open.write_all(b"x").expect("it was open before");
            for denied in [
                fs::read(other.path().join("file")).map(drop),
                fs::read_dir("/").map(drop),
                fs::write(other.path().join("new"), "x"),
                fs::write("/dev/null", "x"),
                TcpStream::connect("127.0.0.1:9").map(drop),
            ] {
                assert_eq!(denied.expect_err("denied").kind(), ErrorKind::PermissionDenied);
            }
        });
    }
}
