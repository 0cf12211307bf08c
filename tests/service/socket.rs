//! A private instance.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use zbus::connection::Builder;

use super::client::{Client, failure};
use super::place::{PATIENCE, PROGRAM, Place, end_of, has_ended, signal, until};

/// Starts one as the plugin does, with its socket as descriptor 3.
async fn start(place: &Place) -> (Child, Client) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let child = place
        .command("/bin/sh")
        .args(["-c", "exec \"$0\" serve --fd 3 3<&0 <&-", PROGRAM])
        .stdin(OwnedFd::from(theirs))
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let connection = Builder::unix_stream(ours).p2p().method_timeout(PATIENCE).build().await;
    let connection = connection.expect("connected");
    (child, Client { connection, service: None })
}

/// What it has written to dnf5's terminal.
fn terminal(mut child: Child) -> String {
    std::io::read_to_string(child.stderr.take().expect("piped")).expect("text")
}

#[tokio::test]
async fn it_gives_up_and_ends_when_the_socket_is_closed() {
    let place = Place::new();
    let (mut child, client) = start(&place).await;
    let call = client.inspecting();
    let skopeo = place.skopeo().await;
    assert!(!has_ended(&skopeo));
    client.connection.close().await.expect("closed");
    assert_eq!(end_of(&mut child).await.code(), Some(0));
    until("skopeo ends", async || has_ended(&skopeo)).await;
    call.await.expect("ended").expect_err("nobody has answered");
    assert_eq!(terminal(child), "");
}

#[tokio::test]
async fn it_answers_before_it_stops_at_a_signal() {
    let place = Place::new();
    let (mut child, client) = start(&place).await;
    let call = client.inspecting();
    place.skopeo().await;
    signal(&child, Signal::INT);
    let (name, line) = failure(call.await.expect("ended"));
    assert_eq!(name, "io.github.dnf5_oci.Error.Cancelled");
    assert_eq!(line, "the dnf5-oci service was told to stop; run dnf5 again");
    assert_eq!(end_of(&mut child).await.code(), Some(0));
    assert_eq!(terminal(child), "");
}

#[tokio::test]
async fn a_signal_ends_it_though_nobody_has_spoken() {
    let place = Place::new();
    let (_silent, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut child = place
        .command(PROGRAM)
        .args(["serve", "--fd=0"])
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .expect("started");
    let process = std::path::PathBuf::from(format!("/proc/{}/status", child.id()));
    // SigCgt, in hexadecimal: bit 14 is SIGTERM, which is number 15.
    until("it listens for signals", async || {
        let status = fs::read_to_string(&process).expect("read");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a set");
        u64::from_str_radix(caught.trim(), 16).expect("a number") & 1 << 14 != 0
    })
    .await;
    signal(&child, Signal::TERM);
    assert_eq!(end_of(&mut child).await.code(), Some(0));
}

#[tokio::test]
async fn skopeo_does_not_inherit_the_socket() {
    let place = Place::new();
    let (mut child, client) = start(&place).await;
    let call = client.inspecting();
    let skopeo = place.skopeo().await;
    let sockets: Vec<_> = fs::read_dir(skopeo.join("fd"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .collect();
    assert_eq!(sockets, [skopeo.join("fd/0")], "its own alone");
    signal(&child, Signal::TERM);
    end_of(&mut child).await;
    call.await.expect("ended").expect_err("given up");
}
