//! The service on a bus.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use dnf5_oci::dbus::{NAME, PATH};
use rustix::process::{Signal, geteuid};
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::client::{Client, INTERFACE, failure};
use super::environment::{
    Environment, PROGRAM, TIMEOUT, exit_status, has_exited, signal, wait_until,
};

/// An ordinary user.
const NOBODY: u32 = 65534;

/// A bus that starts the service with this `--idle`.
struct Bus {
    environment: Environment,
    daemon: Child,
}

impl Bus {
    async fn new(idle: u32) -> Self {
        let environment = Environment::new();
        let directory = environment.path().display();
        let configuration = format!(
            "<busconfig><listen>unix:path={directory}/bus</listen><auth>EXTERNAL</auth>\
             <servicedir>{directory}</servicedir><policy context='default'><allow user='*'/>\
             <allow own='*'/><allow send_destination='*' eavesdrop='true'/>\
             <allow eavesdrop='true'/></policy></busconfig>"
        );
        fs::write(environment.path().join("bus.conf"), configuration).expect("written");
        let activation =
            format!("[D-BUS Service]\nName={NAME}\nExec={PROGRAM} serve --idle {idle}\n");
        fs::write(environment.path().join(format!("{NAME}.service")), activation).expect("written");
        let daemon = environment
            .command("dbus-daemon")
            .arg(format!("--config-file={directory}/bus.conf"))
            .args(["--nofork", "--nopidfile"])
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={directory}/bus"))
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let bus = Self { environment, daemon };
        wait_until("the bus listens", async || bus.environment.path().join("bus").exists()).await;
        bus
    }

    fn address(&self) -> String {
        format!("unix:path={}/bus", self.environment.path().display())
    }

    /// Starts the service directly.
    async fn serve(&self, idle: u32) -> Child {
        let child = self
            .environment
            .command(PROGRAM)
            .args(["serve", "--idle", &idle.to_string()])
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let client = self.client().await;
        wait_until("the service has its name", async || client.is_served().await).await;
        child
    }

    /// A service that has just released its name, and a client that can still call it: its calls are like
    /// those that were sent to the name before.
    async fn released(&self) -> (Child, Client) {
        let client = self.client().await;
        let service = self.serve(1).await;
        let owner = client.bus().await.get_name_owner(NAME.try_into().expect("a name")).await;
        wait_until("the name is released", async || !client.is_served().await).await;
        let late = Client { service: Some(owner.expect("owned").into()), ..client };
        (service, late)
    }

    async fn client(&self) -> Client {
        let address = self.address();
        let connection = Builder::address(address.as_str()).method_timeout(TIMEOUT).build().await;
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

/// Only root may call methods.
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
async fn it_is_started_by_a_call_and_exits_when_idle() {
    let bus = Bus::new(1).await;
    let client = bus.client().await;
    for _ in 0..2 {
        assert!(!client.is_served().await);
        let version: String = client.property("Version").await.expect("answered");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(client.is_served().await);
        wait_until("it exits", async || !client.is_served().await).await;
    }
}

#[tokio::test]
async fn no_call_is_lost_when_an_instance_exits() {
    let bus = Bus::new(0).await;
    let client = bus.client().await;
    for call in 0..60 {
        let version = client.property::<String>("Version").await;
        assert_eq!(version.expect("answered"), env!("CARGO_PKG_VERSION"), "call {call}");
        // The calls come at different moments of the exit.
        tokio::time::sleep(Duration::from_millis(call)).await;
    }
}

/// systemd sends the signal when the name is released.
#[tokio::test]
async fn calls_to_the_released_name_are_answered_in_spite_of_a_signal() {
    must_be_root();
    let bus = Bus::new(60).await;
    let (mut service, late) = bus.released().await;
    // Its skopeo takes a second.
    let caller = late.clone();
    let call = tokio::spawn(async move { caller.property::<String>("SkopeoVersion").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    signal(&service, Signal::TERM);
    let mut opened = late.open_repository().await;
    wait_until("no session is opened any more", async || {
        opened = late.open_repository().await;
        opened.is_err()
    })
    .await;
    let (name, line) = failure(opened);
    assert_eq!(name, "io.github.dnf5_oci.Error.Cancelled");
    assert_eq!(line, "the dnf5-oci service is stopping; run the command again");
    assert_eq!(call.await.expect("ended").expect("answered"), "9.9.9");
    assert_eq!(exit_status(&mut service).await.code(), Some(0));
}

/// As long as this instance runs, systemd starts no other one for other callers.
#[tokio::test]
async fn a_signal_ends_the_sessions_of_an_instance_that_has_released_its_name() {
    must_be_root();
    let bus = Bus::new(60).await;
    let (mut service, late) = bus.released().await;
    let address = late.open_repository().await.expect("opened");
    let (_, proxy, _): (String, String, String) = address.body().deserialize().expect("strings");
    let socket = proxy.strip_prefix("socks5h://localhost").expect("a socket");
    assert!(Path::new(socket).exists());
    signal(&service, Signal::TERM);
    assert_eq!(exit_status(&mut service).await.code(), Some(0));
    assert!(!Path::new(socket).exists());
}

/// The policy of this bus allows everything, so it is the service that refuses.
#[tokio::test]
async fn only_root_may_call_methods_and_everyone_may_read_properties() {
    must_be_root();
    let bus = Bus::new(60).await;
    let busctl = |command: &str, arguments: &[&str]| {
        bus.environment
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
        "Call failed: permission denied: only root may use the system instance; dnf5 starts a private \
         one for other users\n"
    );
}

#[tokio::test]
async fn the_work_of_a_caller_that_disconnects_is_cancelled() {
    must_be_root();
    let bus = Bus::new(60).await;
    let (caller, other) = (bus.client().await, bus.client().await);
    let call = caller.inspecting();
    let skopeo = bus.environment.skopeo().await;
    assert_eq!(other.property::<u32>("ActiveJobs").await.expect("answered"), 1);
    caller.connection.close().await.expect("closed");
    wait_until("no call is running", async || {
        other.property::<u32>("ActiveJobs").await.expect("answered") == 0
    })
    .await;
    wait_until("skopeo exits", async || has_exited(&skopeo)).await;
    call.await.expect("ended").expect_err("not answered");
}

#[tokio::test]
async fn it_answers_before_it_stops_at_a_signal() {
    must_be_root();
    let bus = Bus::new(60).await;
    let mut service = bus.serve(60).await;
    let client = bus.client().await;
    let call = client.inspecting();
    let skopeo = bus.environment.skopeo().await;
    signal(&service, Signal::TERM);
    let (name, line) = failure(call.await.expect("ended"));
    assert_eq!(name, "io.github.dnf5_oci.Error.Cancelled");
    assert_eq!(line, "the dnf5-oci service is stopping; run the command again");
    assert_eq!(exit_status(&mut service).await.code(), Some(0));
    assert!(has_exited(&skopeo));
}

#[tokio::test]
async fn it_exits_with_the_bus() {
    let mut bus = Bus::new(60).await;
    let mut service = bus.serve(60).await;
    bus.daemon.kill().expect("killed");
    assert_eq!(exit_status(&mut service).await.code(), Some(0));
}
