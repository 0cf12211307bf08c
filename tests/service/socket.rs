//! A private instance.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, getsid};
use zbus::connection::Builder;

use super::client::{Client, failure};
use super::environment::{
    Environment, PROGRAM, TIMEOUT, exit_status, has_exited, signal, wait_until,
};

/// Starts one as the plugin does, with the socket as file descriptor 3.
async fn start(environment: &Environment) -> (Child, Client) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let child = environment
        .command("/bin/sh")
        .args(["-c", "exec \"$0\" serve --fd 3 3<&0 <&-", PROGRAM])
        .stdin(OwnedFd::from(theirs))
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    (child, connect(ours).await)
}

async fn connect(socket: UnixStream) -> Client {
    let connection = Builder::unix_stream(socket).p2p().method_timeout(TIMEOUT).build().await;
    Client { connection: connection.expect("connected"), service: None }
}

/// What it has written to dnf5's standard error.
fn terminal(mut child: Child) -> String {
    std::io::read_to_string(child.stderr.take().expect("piped")).expect("text")
}

/// Starts one as libdbus does, with the socket as standard input and output.
async fn start_as_libdbus(environment: &Environment) -> (Child, Client) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let child = environment
        .command(PROGRAM)
        .args(["serve", "--fd", "0"])
        .stdin(OwnedFd::from(theirs.try_clone().expect("cloned")))
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    (child, connect(ours).await)
}

#[tokio::test]
async fn it_cancels_its_work_and_exits_when_the_socket_is_closed() {
    let environment = Environment::new();
    let (mut child, client) = start(&environment).await;
    let call = client.inspecting();
    let skopeo = environment.skopeo().await;
    assert!(!has_exited(&skopeo));
    client.connection.close().await.expect("closed");
    assert_eq!(exit_status(&mut child).await.code(), Some(0));
    wait_until("skopeo exits", async || has_exited(&skopeo)).await;
    call.await.expect("ended").expect_err("not answered");
    assert_eq!(terminal(child), "");
}

#[tokio::test]
async fn it_answers_before_it_stops_at_a_signal() {
    let environment = Environment::new();
    let (mut child, client) = start(&environment).await;
    let call = client.inspecting();
    environment.skopeo().await;
    signal(&child, Signal::INT);
    let (name, line) = failure(call.await.expect("ended"));
    assert_eq!(name, "io.github.dnf5_oci.Error.Cancelled");
    assert_eq!(line, "the dnf5-oci service is stopping; run the command again");
    assert_eq!(exit_status(&mut child).await.code(), Some(0));
    assert_eq!(terminal(child), "");
}

#[tokio::test]
async fn a_signal_ends_it_before_the_d_bus_handshake() {
    let environment = Environment::new();
    let (_silent, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut child = environment
        .command(PROGRAM)
        .args(["serve", "--fd=0"])
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .expect("started");
    let process = PathBuf::from(format!("/proc/{}/status", child.id()));
    // SigCgt, in hexadecimal: bit 14 is SIGTERM, which is number 15.
    wait_until("it handles signals", async || {
        let status = fs::read_to_string(&process).expect("read");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a set");
        u64::from_str_radix(caught.trim(), 16).expect("a number") & 1 << 14 != 0
    })
    .await;
    signal(&child, Signal::TERM);
    assert_eq!(exit_status(&mut child).await.code(), Some(0));
}

/// The sockets that a process has open.
fn sockets(process: &Path) -> Vec<PathBuf> {
    fs::read_dir(process.join("fd"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .collect()
}

#[tokio::test]
async fn skopeo_does_not_inherit_the_socket() {
    let environment = Environment::new();
    let (mut child, client) = start(&environment).await;
    let call = client.inspecting();
    let skopeo = environment.skopeo().await;
    assert_eq!(sockets(&skopeo), [skopeo.join("fd/0")], "only its own");
    signal(&child, Signal::TERM);
    exit_status(&mut child).await;
    call.await.expect("ended").expect_err("cancelled");
}

#[tokio::test]
async fn its_standard_streams_can_be_the_socket() {
    let environment = Environment::new();
    let (mut child, client) = start_as_libdbus(&environment).await;
    let call = client.inspecting();
    let skopeo = environment.skopeo().await;
    assert_eq!(sockets(&skopeo), [skopeo.join("fd/0")], "only its own");
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    for stream in ["fd/0", "fd/1"] {
        assert_eq!(fs::read_link(process.join(stream)).expect("read"), Path::new("/dev/null"));
    }
    client.connection.close().await.expect("closed");
    assert_eq!(exit_status(&mut child).await.code(), Some(0));
    call.await.expect("ended").expect_err("not answered");
    assert_eq!(terminal(child), "");
}

#[tokio::test]
async fn the_terminal_does_not_interrupt_it() {
    let environment = Environment::new();
    let (mut child, client) = start_as_libdbus(&environment).await;
    let call = client.inspecting();
    environment.skopeo().await;
    let id = Pid::from_child(&child);
    assert_eq!(getsid(Some(id)), Ok(id), "a session without a terminal");
    client.connection.close().await.expect("closed");
    exit_status(&mut child).await;
    call.await.expect("ended").expect_err("not answered");
}
