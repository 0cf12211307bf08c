//! The command line.

use std::fs::File;
use std::process::{Command, Stdio};

use super::environment::PROGRAM;

#[test]
fn the_version_is_printed() {
    let output = Command::new(PROGRAM).arg("--version").output().expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text, format!("dnf5-oci {}\n", env!("CARGO_PKG_VERSION")));
    assert!(output.status.success());
}

#[test]
fn a_descriptor_must_be_a_socket() {
    let file = || Stdio::from(File::open("/dev/null").expect("opened"));
    for (number, problem) in [
        ("0", "Socket operation on non-socket"),
        ("77", "Bad file descriptor"),
        ("x", "not a number"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["serve", "--fd", number])
            .stdin(file())
            .output()
            .expect("run");
        let lines = String::from_utf8(output.stderr).expect("text");
        assert!(lines.contains(&format!("'{number}' for '--fd <N>': {problem}")), "{lines}");
        assert_eq!(output.status.code(), Some(2));
    }
    let (socket, _) = std::os::unix::net::UnixDatagram::pair().expect("a pair of sockets");
    let output = Command::new(PROGRAM)
        .args(["serve", "--fd=0"])
        .stdin(std::os::fd::OwnedFd::from(socket))
        .output()
        .expect("run");
    let lines = String::from_utf8(output.stderr).expect("text");
    assert!(lines.contains("not a Unix stream socket"), "{lines}");
    assert_eq!(output.status.code(), Some(2));
}
