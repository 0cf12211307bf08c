//! The D-Bus interface: its members as dbus/ documents them, its errors, and its options.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use dnf5_oci::dbus;
use dnf5_oci::engine::{self, Engine};
use dnf5_oci::gateway::Gateway;
use dnf5_oci::registry::{self, Registry};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use tokio_util::sync::CancellationToken;
use zbus::connection::Builder;
use zbus::message::Message;
use zbus::{Connection, DBusError, OwnedVariant, Variant};

const INTERFACE: &str = "io.github.dnf5_oci.Backend1";
const CONTRACT: &str = include_str!("../dbus/io.github.dnf5_oci.Backend1.xml");

type Options = HashMap<&'static str, Variant<'static>>;

/// Starts a private instance without skopeo in this process, and connects to it.
async fn instance() -> Connection {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let settings =
        registry::Settings { skopeo: PathBuf::from("/nonexistent/skopeo"), ..Default::default() };
    let engine = Engine::new(Registry::new(settings), engine::Settings::default());
    let gateway = Arc::new(Gateway::new(engine.clone()));
    let instance = dbus::Instance { engine, gateway, refusal: None, jobs: Default::default() };
    tokio::spawn(dbus::serve_socket(instance, theirs, CancellationToken::new()));
    Builder::unix_stream(ours).p2p().build().await.expect("connected")
}

async fn call<B>(connection: &Connection, method: &str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + zbus::Type + Sync,
{
    connection.call_method(None::<&str>, dbus::PATH, Some(INTERFACE), method, body).await
}

/// The name and the message of the error of a call.
#[track_caller]
fn failure(result: zbus::Result<Message>) -> (String, String) {
    match result {
        Err(zbus::Error::MethodError(name, line, _)) => {
            (name.to_string(), line.unwrap_or_default())
        }
        // zbus knows the standard errors by type.
        Err(zbus::Error::FDO(error)) => {
            (error.name().to_string(), error.description().unwrap_or_default().to_owned())
        }
        other => unreachable!("{other:?}"),
    }
}

/// Every member of the interface, and every argument, as one line each.
fn members(xml: &str) -> BTreeSet<String> {
    let mut reader = Reader::from_str(xml);
    let mut found = BTreeSet::new();
    let mut inside = false;
    let mut member = String::new();
    let mut position = 0;
    loop {
        let (Event::Start(tag) | Event::Empty(tag)) = (match reader.read_event() {
            Ok(Event::Eof) => return found,
            event => event.expect("well-formed"),
        }) else {
            continue;
        };
        let [name, value, access, direction, note] =
            ["name", "type", "access", "direction", "value"].map(|key| attribute(&tag, key));
        match tag.local_name().as_ref() {
            "interface" => inside = name == INTERFACE,
            kind @ ("method" | "signal" | "property") if inside => {
                member = format!("{kind} {name}");
                position = 0;
                found.insert(format!("{member} {value} {access}"));
            }
            "arg" if inside => {
                found.insert(format!("{member} {position} {name} {value} {direction}"));
                position += 1;
            }
            "annotation" if inside => {
                found.insert(format!("{member} {name} {note}"));
            }
            _ => {}
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> String {
    let attribute = tag.try_get_attribute(name).expect("well-formed");
    attribute.map(|found| found.value.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn the_live_interface_is_the_contract() {
    let connection = instance().await;
    let introspectable = Some("org.freedesktop.DBus.Introspectable");
    let reply = connection
        .call_method(None::<&str>, dbus::PATH, introspectable, "Introspect", &())
        .await
        .expect("introspected");
    let live: String = reply.body().deserialize().expect("a string");
    let contract = members(CONTRACT);
    assert!(contract.len() > 30, "the contract was read: {contract:?}");
    assert_eq!(members(&live), contract);
}

#[tokio::test]
async fn errors_have_names_and_name_the_repository() {
    let connection = instance().await;
    let none = Options::new();
    let bad = ("tools", "oci://acme/rpms", "/tmp/cache", &none);
    let (name, line) = failure(call(&connection, "PrefetchRepodata", &bad).await);
    assert_eq!(name, "io.github.dnf5_oci.Error.InvalidReference");
    assert!(line.starts_with("repository tools: invalid reference \"oci://acme/rpms\""), "{line}");

    let cache = tempfile::tempdir().expect("a temporary directory");
    let path = cache.path().to_str().expect("text");
    let good = ("tools", "oci://quay.io/acme/rpms", path, &none);
    let (name, line) = failure(call(&connection, "PrefetchRepodata", &good).await);
    assert_eq!(name, "io.github.dnf5_oci.Error.SkopeoMissing");
    assert!(line.starts_with("repository tools oci://quay.io/acme/rpms:latest: "), "{line}");
    assert!(line.ends_with("install skopeo"), "{line}");

    let relative = ("tools", "oci://quay.io/acme/rpms", "cache", &none);
    let (name, _) = failure(call(&connection, "PrefetchRepodata", &relative).await);
    assert_eq!(name, "io.github.dnf5_oci.Error.CacheDirectory");
}

#[tokio::test]
async fn unknown_options_and_wrong_types_are_refused() {
    let connection = instance().await;
    for (option, value, problem) in [
        ("max-aeg", Variant::from(1_i64), "unknown option \"max-aeg\""),
        ("max-age", Variant::from("1"), "\"max-age\" is not a 64-bit number"),
        ("tls-verify", Variant::from("no"), "\"tls-verify\" is not a boolean"),
    ] {
        let options = Options::from([(option, value)]);
        let arguments = ("tools", "oci://quay.io/acme/rpms", "/tmp/cache", options);
        let (name, line) = failure(call(&connection, "PrefetchRepodata", &arguments).await);
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
        assert!(line.contains(problem), "{line}");
    }
    let packages = vec![("a.rpm", "sha256:short", 1_u64)];
    let arguments = ("tools", "oci://quay.io/a", "/tmp/cache", packages, Options::new());
    let (name, line) = failure(call(&connection, "FetchPackages", &arguments).await);
    assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
    assert!(line.contains("sha256:short"), "{line}");
}

#[tokio::test]
async fn packages_are_announced_for_open_repositories() {
    let connection = instance().await;
    let checksum = format!("sha256:{}", "0".repeat(64));
    let announce = async |id: &'static str, checksum: &str, options: Options| {
        let packages = vec![("a.rpm", checksum, 1_u64)];
        call(&connection, "AnnouncePackages", &(id, packages, options)).await
    };
    let refused = |result, problem: &str| {
        let (name, line) = failure(result);
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
        assert!(line.contains(problem), "{line}");
    };
    refused(announce("tools", &checksum, Options::new()).await, "repository tools is not open");
    let opened = ("tools", "oci://quay.io/acme/rpms", Options::new());
    call(&connection, "OpenRepository", &opened).await.expect("opened");
    refused(announce("to\nols", &checksum, Options::new()).await, "repository to ols is not open");
    refused(announce("tools", "sha256:short", Options::new()).await, "sha256:short");
    let unknown = Options::from([("max-age", Variant::from(1_i64))]);
    refused(announce("tools", &checksum, unknown).await, "unknown option \"max-age\"");
    // skopeo is missing, which whoever requests a package is told.
    announce("tools", &checksum, Options::new()).await.expect("announced");
    let other = instance().await;
    let arguments = ("tools", vec![("a.rpm", checksum.as_str(), 1_u64)], Options::new());
    refused(call(&other, "AnnouncePackages", &arguments).await, "repository tools is not open");
}

#[tokio::test]
async fn properties_can_be_read() {
    let connection = instance().await;
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = connection
        .call_method(None::<&str>, dbus::PATH, properties, "GetAll", &(INTERFACE,))
        .await
        .expect("read");
    let body = reply.body();
    let all: HashMap<String, OwnedVariant> = body.deserialize().expect("a dictionary");
    assert_eq!(*all["Version"], Variant::from(env!("CARGO_PKG_VERSION")));
    assert_eq!(*all["SkopeoVersion"], Variant::from(""));
    assert_eq!(*all["ActiveJobs"], Variant::from(0_u32));
}
