//! The service on a bus.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use dnf5_oci::dbus::{NAME, PATH};
use rustix::process::{Signal, geteuid};
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::client::{Client, INTERFACE, failure};
use super::place::{PATIENCE, PROGRAM, Place, end_of, has_ended, signal, until};

/// Whom nothing belongs to.
const NOBODY: u32 = 65534;

/// A bus that starts the service, with `--idle` as given.
struct Bus {
    place: Place,
    daemon: Child,
}

impl Bus {
    async fn new(idle: u32) -> Self {
        let place = Place::new();
        let directory = place.path().display();
        let configuration = format!(
            "<busconfig><listen>unix:path={directory}/bus</listen><auth>EXTERNAL</auth>\
             <servicedir>{directory}</servicedir><policy context='default'><allow user='*'/>\
             <allow own='*'/><allow send_destination='*' eavesdrop='true'/>\
             <allow eavesdrop='true'/></policy></busconfig>"
        );
        fs::write(place.path().join("bus.conf"), configuration).expect("written");
        let activation =
            format!("[D-BUS Service]\nName={NAME}\nExec={PROGRAM} serve --idle {idle}\n");
        fs::write(place.path().join(format!("{NAME}.service")), activation).expect("written");
        let daemon = place
            .command("dbus-daemon")
            .arg(format!("--config-file={directory}/bus.conf"))
            .args(["--nofork", "--nopidfile"])
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={directory}/bus"))
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let bus = Self { place, daemon };
        until("the bus listens", async || bus.place.path().join("bus").exists()).await;
        bus
    }

    fn address(&self) -> String {
        format!("unix:path={}/bus", self.place.path().display())
    }

    /// Starts the service before the bus does.
    async fn serve(&self, idle: u32) -> Child {
        let child = self
            .place
            .command(PROGRAM)
            .args(["serve", "--idle", &idle.to_string()])
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let client = self.client().await;
        until("the service has its name", async || client.is_served().await).await;
        child
    }

    async fn client(&self) -> Client {
        let address = self.address();
        let connection = Builder::address(address.as_str()).method_timeout(PATIENCE).build().await;
        let service = Some(BusName::from_static_str(NAME).expect("a name"));
        Client { connection: connection.expect("connected"), service }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Only root is served.
fn must_be_root() {
    assert!(geteuid().is_root(), "run the tests as root, or in `unshare --map-root-user`");
}

impl Client {
    async fn bus(&self) -> DBusProxy<'_> {
        DBusProxy::new(&self.connection).await.expect("there is a bus")
    }

    async fn is_served(&self) -> bool {
        let name = BusName::from_static_str(NAME).expect("a name");
        self.bus().await.name_has_owner(name).await.expect("asked")
    }
}

#[tokio::test]
async fn it_is_started_by_a_call_and_ends_when_idle() {
    let bus = Bus::new(1).await;
    let client = bus.client().await;
    for _ in 0..2 {
        assert!(!client.is_served().await);
        let version: String = client.property("Version").await.expect("answered");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(client.is_served().await);
        until("it ends", async || !client.is_served().await).await;
    }
}

#[tokio::test]
async fn no_call_is_lost_to_an_instance_that_ends() {
    let bus = Bus::new(0).await;
    let client = bus.client().await;
    for call in 0..60 {
        let version = client.property::<String>("Version").await;
        assert_eq!(version.expect("answered"), env!("CARGO_PKG_VERSION"), "call {call}");
        // Every moment of an instance's end is hit by some call.
        tokio::time::sleep(Duration::from_millis(call)).await;
    }
}

/// systemd sends the signal when the name is given up.
#[tokio::test]
async fn what_came_before_the_name_was_given_up_is_answered_in_spite_of_a_signal() {
    let bus = Bus::new(60).await;
    let client = bus.client().await;
    let mut service = bus.serve(1).await;
    let owner = client.bus().await.get_name_owner(client.service.clone().expect("a name")).await;
    let late = Client { service: Some(owner.expect("owned").into()), ..client.clone() };
    until("the name is given up", async || !client.is_served().await).await;
    // As if it had been on its way: nobody but the bus can still send to the name. It takes skopeo
    // a second to answer.
    let call = tokio::spawn(async move { late.property::<String>("SkopeoVersion").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    signal(&service, Signal::TERM);
    assert_eq!(call.await.expect("ended").expect("answered"), "9.9.9");
    assert_eq!(end_of(&mut service).await.code(), Some(0));
}

/// The policy in dbus/ says the same; the policy of this bus lets everything pass.
#[tokio::test]
async fn only_root_may_call_but_anybody_may_look() {
    must_be_root();
    let bus = Bus::new(60).await;
    let busctl = |command: &str, arguments: &[&str]| {
        bus.place
            .command("busctl")
            .args([&format!("--address={}", bus.address()), command, NAME, PATH, INTERFACE])
            .args(arguments)
            .uid(NOBODY)
            .output()
            .expect("busctl is installed")
    };
    let looked = busctl("get-property", &["Version"]);
    let text = String::from_utf8(looked.stdout).expect("text");
    assert_eq!(text, format!("s \"{}\"\n", env!("CARGO_PKG_VERSION")));

    let called = busctl("call", &["Inspect", "sa{sv}", "oci://quay.io/acme/rpms", "0"]);
    let text = String::from_utf8(called.stderr).expect("text");
    assert_eq!(
        text,
        "Call failed: only root may use the system's instance; dnf5 run by another user starts an \
         instance of its own\n"
    );
}

#[tokio::test]
async fn the_work_of_a_caller_that_leaves_is_given_up() {
    must_be_root();
    let bus = Bus::new(60).await;
    let (caller, other) = (bus.client().await, bus.client().await);
    let call = caller.inspecting();
    let skopeo = bus.place.skopeo().await;
    assert_eq!(other.property::<u32>("ActiveJobs").await.expect("answered"), 1);
    caller.connection.close().await.expect("closed");
    until("nothing is worked on", async || {
        other.property::<u32>("ActiveJobs").await.expect("answered") == 0
    })
    .await;
    until("skopeo ends", async || has_ended(&skopeo)).await;
    call.await.expect("ended").expect_err("nobody has answered");
}

#[tokio::test]
async fn it_answers_before_it_stops_at_a_signal() {
    must_be_root();
    let bus = Bus::new(60).await;
    let mut service = bus.serve(60).await;
    let client = bus.client().await;
    let call = client.inspecting();
    let skopeo = bus.place.skopeo().await;
    signal(&service, Signal::TERM);
    let (name, line) = failure(call.await.expect("ended"));
    assert_eq!(name, "io.github.dnf5_oci.Error.Cancelled");
    assert_eq!(line, "the dnf5-oci service was told to stop; run dnf5 again");
    assert_eq!(end_of(&mut service).await.code(), Some(0));
    assert!(has_ended(&skopeo));
}

#[tokio::test]
async fn it_ends_with_the_bus() {
    let mut bus = Bus::new(60).await;
    let mut service = bus.serve(60).await;
    bus.daemon.kill().expect("killed");
    assert_eq!(end_of(&mut service).await.code(), Some(0));
}
