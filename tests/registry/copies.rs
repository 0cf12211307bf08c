//! Copies with the real skopeo and docker-registry.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dnf5_oci::error_kind::{Failure, Kind};
use dnf5_oci::registry::{Copy, Error, Instances, RateLimit, Registry, Settings};
use dnf5_oci::source::{Login, Source};
use serde_json::{Value, json};

use super::repository::{PACKAGES, Repository};
use super::server::Server;

fn registry() -> Registry {
    Registry::new(Settings { backoff: Duration::from_millis(1), ..Settings::default() })
}

fn copy_of<'a>(from: &'a Source, to: &'a Source, instances: Instances) -> Copy<'a> {
    Copy { from, to, instances, signing: None, trusted: true, rate: None }
}

async fn copy(from: &Source, to: &Source, instances: Instances) -> Result<(), Error> {
    registry().copy(&copy_of(from, to, instances), &|_| {}).await
}

/// Pushes a manifest of the layout by its digest.
async fn push(repository: &Repository, name: &str, digest: &str, to: &Source) -> Result<(), Error> {
    let to = at(to, digest);
    copy(&repository.source(name), &to, Instances::Manifest).await
}

fn at(source: &Source, digest: &str) -> Source {
    Source { reference: source.reference.at_digest(digest), access: source.access.clone() }
}

/// Pushes all manifests, then the index under the tag.
async fn publish(repository: &Repository, to: &Source) -> Result<(), Error> {
    for (number, digest) in repository.segments.iter().enumerate() {
        push(repository, &format!("s{number}"), digest, to).await?;
    }
    push(repository, "metadata", &repository.metadata, to).await?;
    copy(&repository.source("index"), to, Instances::IndexOnly).await
}

/// How many requests there were of each method, for manifests and for blobs.
fn counts(requests: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        let mut words = request.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        let kind = ["manifests", "uploads", "blobs"].into_iter().find(|kind| path.contains(kind));
        if let Some(kind) = kind {
            *counts.entry(format!("{method} {kind}")).or_default() += 1;
        }
    }
    counts
}

fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

fn json_error(code: &str, message: &str) -> String {
    json!({"errors": [{"code": code, "message": message}]}).to_string()
}

fn answer(method: &str, path: &str, status: u16, body: &str) -> Value {
    let headers = json!({"Content-Type": "application/json"});
    json!({"method": method, "path": path, "status": status, "body": body, "headers": headers})
}

#[tokio::test]
async fn a_manifest_by_its_digest_and_the_index_by_its_tag() {
    let (server, repository) = (Server::start(), Repository::new(2, "a"));
    let to = server.source("acme/rpms:stable");
    push(&repository, "s0", &repository.segments[0], &to).await.expect("pushed");
    assert_eq!(
        counts(&server.requests()),
        expected([
            // Each package, and the config.
            ("HEAD blobs", 2 * PACKAGES + 1),
            ("POST uploads", PACKAGES + 1),
            ("PATCH uploads", PACKAGES + 1),
            ("PUT uploads", PACKAGES + 1),
            ("PUT manifests", 1),
        ])
    );
    push(&repository, "s0", &repository.segments[0], &to).await.expect("pushed again");
    assert_eq!(
        counts(&server.requests()),
        expected([("HEAD blobs", PACKAGES + 1), ("PUT manifests", 1)])
    );
    push(&repository, "s1", &repository.segments[1], &to).await.expect("pushed");
    push(&repository, "metadata", &repository.metadata, &to).await.expect("pushed");
    let error = registry().raw_manifest(&to).await.expect_err("there is no tag yet");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    server.requests();
    copy(&repository.source("index"), &to, Instances::IndexOnly).await.expect("pushed");
    assert_eq!(counts(&server.requests()), expected([("PUT manifests", 1)]));
    let raw = registry().raw_manifest(&to).await.expect("there");
    assert_eq!(raw.digest, repository.index);
    assert_eq!(counts(&server.requests()), expected([("GET manifests", 1)]));
    let file = repository.path("layout/blobs/sha256").join(&raw.digest["sha256:".len()..]);
    assert_eq!(raw.bytes, fs::read(file).expect("readable"));
    // As a client reads it.
    let manifest = registry().manifest(&to).await.expect("there");
    assert_eq!(manifest.digest.to_string(), repository.metadata);
}

#[tokio::test]
async fn a_tag_moves_with_two_requests() {
    let (server, repository) = (Server::start(), Repository::new(2, "a"));
    let stable = server.source("acme/rpms:stable");
    publish(&repository, &stable).await.expect("published");
    server.requests();
    let pinned = at(&stable, &repository.index);
    let prod = server.source("acme/rpms:prod");
    copy(&pinned, &prod, Instances::IndexOnly).await.expect("promoted");
    let promoted = counts(&server.requests());
    assert_eq!(promoted, expected([("GET manifests", 1), ("PUT manifests", 1)]));
    let raw = registry().raw_manifest(&prod).await.expect("there");
    assert_eq!(raw.digest, repository.index);
}

#[tokio::test]
async fn another_repository_of_the_registry_mounts_the_blobs() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let (ours, other) = (server.source("acme/rpms:stable"), server.source("acme/other:stable"));
    publish(&repository, &ours).await.expect("published");
    server.requests();
    let segment = &repository.segments[0];
    copy(&at(&ours, segment), &at(&other, segment), Instances::Manifest).await.expect("copied");
    let counts = counts(&server.requests());
    // The config, of two bytes, is the only blob that is fetched and sent.
    for transfer in ["GET blobs", "PATCH uploads"] {
        assert_eq!(counts.get(transfer), Some(&1), "{counts:?}");
    }
}

#[tokio::test]
async fn each_blob_is_reported_once() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = at(&server.source("acme/rpms:stable"), &repository.segments[0]);
    server.fail(&json!([{"method": "PUT", "path": "manifests", "times": 1, "status": 503}]));
    let reported = Mutex::new(Vec::new());
    let from = repository.source("s0");
    let copy = copy_of(&from, &to, Instances::Manifest);
    let report = |digest: &str| reported.lock().expect("no panic").push(digest.to_owned());
    registry().copy(&copy, &report).await.expect("the second attempt");
    let mut reported = reported.into_inner().expect("no panic");
    assert_eq!(reported.len(), PACKAGES, "{reported:?}");
    assert!(reported.iter().all(|digest| digest.starts_with("sha256:")));
    reported.sort();
    reported.dedup();
    assert_eq!(reported.len(), PACKAGES);
}

/// What passes.
#[tokio::test]
async fn temporary_failures_are_ridden_out() {
    let repository = Repository::new(1, "a");
    let after = json!({"Retry-After": "1"});
    for fault in [
        json!({"method": "POST", "status": 429, "headers": after}),
        json!({"method": "PATCH", "status": 429, "headers": after}),
        json!({"method": "PATCH", "status": 429, "body": json_error("TOOMANYREQUESTS", "slow down"),
               "headers": {"Content-Type": "application/json"}}),
        json!({"method": "HEAD", "status": 503}),
        json!({"method": "POST", "status": 500}),
        json!({"method": "PATCH", "status": 503}),
        json!({"method": "PATCH", "cut": true}),
        json!({"method": "PUT", "path": "manifests", "cut": true}),
        json!({"method": "PUT", "path": "manifests", "status": 502}),
    ] {
        let server = Server::start();
        let to = server.source("acme/rpms:stable");
        let mut twice = fault.clone();
        twice["times"] = 2.into();
        server.fail(&json!([twice]));
        publish(&repository, &to).await.unwrap_or_else(|error| panic!("{fault}: {error}"));
        let requests = server.requests();
        let sent: Vec<_> =
            requests.iter().filter(|line| line.starts_with("PUT /v2/acme/rpms/blobs")).collect();
        assert_eq!(sent.len(), PACKAGES + 1 + 3, "nothing is sent twice: {fault}: {requests:#?}");
    }
}

#[tokio::test]
async fn the_failure_of_an_index_is_ridden_out() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = server.source("acme/rpms:stable");
    for fault in [json!({"status": 503}), json!({"status": 429}), json!({"cut": true})] {
        let mut twice = fault.clone();
        (twice["times"], twice["path"]) = (2.into(), "manifests/stable".into());
        server.fail(&json!([twice]));
        publish(&repository, &to).await.unwrap_or_else(|error| panic!("{fault}: {error}"));
        let puts = server.requests().into_iter().filter(|line| line.contains("manifests/stable"));
        assert_eq!(puts.count(), 3, "{fault}");
    }
}

#[tokio::test]
async fn attempts_are_limited_unless_they_get_further() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = at(&server.source("acme/rpms:stable"), &repository.segments[0]);
    server.fail(&json!([{"method": "PATCH", "status": 503}]));
    let error = copy(&repository.source("s0"), &to, Instances::Manifest).await.expect_err("503");
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    let tried = counts(&server.requests())["PATCH uploads"];
    assert_eq!(tried, PACKAGES * Settings::default().attempts);
}

#[tokio::test]
async fn who_gets_further_gets_the_full_number_of_attempts() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = at(&server.source("acme/rpms:stable"), &repository.segments[0]);
    server.fail(&json!([
        {"method": "PATCH", "times": PACKAGES - 1, "status": 503},
        {"method": "PUT", "path": "manifests", "times": 2, "status": 503},
    ]));
    let settings =
        Settings { attempts: 3, backoff: Duration::from_millis(1), ..Settings::default() };
    let from = repository.source("s0");
    let copy = copy_of(&from, &to, Instances::Manifest);
    Registry::new(settings).copy(&copy, &|_| {}).await.expect("the fourth attempt");
}

/// What does not pass, with what is said of it.
#[tokio::test]
async fn final_failures_are_told_at_once() {
    let repository = Repository::new(1, "a");
    let denied = json_error("DENIED", "requested access to the resource is denied");
    let layers = json_error("DENIED", "Limit on number of layers per image exceeded");
    let immutable = json_error("TAG_INVALID", "the image tag is immutable");
    let unknown = json_error("NAME_UNKNOWN", "The repository with name acme/rpms does not exist");
    let size = json_error("MANIFEST_INVALID", "manifest invalid");
    let lower = "lower --layers-per-manifest";
    for (fault, kind, said, remedy) in [
        (answer("POST", "", 403, &denied), Kind::Unauthorized, "denied", "may push"),
        (answer("POST", "", 401, &denied), Kind::Unauthorized, "denied", "may push"),
        (answer("POST", "", 403, "no"), Kind::Unauthorized, "StatusCode: 403", "may push"),
        (answer("PUT", "manifests", 403, &denied), Kind::Unauthorized, "denied", "may push"),
        (
            answer("POST", "", 404, &unknown),
            Kind::NotFound,
            "does not exist",
            "create the repository",
        ),
        (answer("PUT", "manifests", 405, &layers), Kind::BadRepository, "number of layers", lower),
        (answer("PUT", "manifests", 413, "<html>413</html>"), Kind::BadRepository, "413", lower),
        (answer("PUT", "manifests", 400, &size), Kind::BadRepository, "invalid", lower),
        (
            answer("PUT", "manifests", 400, &immutable),
            Kind::AccessDenied,
            "immutable",
            "another tag",
        ),
        (
            answer("PATCH", "", 413, "<html>nginx</html>"),
            Kind::BadRepository,
            "413",
            "raise the limit",
        ),
        (
            answer("PUT", "uploads", 413, "<html>nginx</html>"),
            Kind::BadRepository,
            "413",
            "raise the limit",
        ),
    ] {
        let server = Server::start();
        server.fail(&json!([fault]));
        let to = server.source("acme/rpms:stable");
        let error = copy(&repository.source("s0"), &to, Instances::Manifest).await;
        let error = error.expect_err("it fails");
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        let line = error.to_string();
        assert!(line.contains(said), "{fault}: {line}");
        assert!(!line.contains("_state"), "{line}");
        let found = error.remedy().unwrap_or_default();
        assert!(found.contains(remedy), "{fault}: {line}; {found}");
        let pings = server.requests().iter().filter(|line| line.starts_with("GET /v2/ ")).count();
        assert_eq!(pings, 1, "one attempt: {fault}");
    }
}

#[tokio::test]
async fn the_reason_why_an_index_is_rejected_is_told() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = server.source("acme/rpms:stable");
    // Its manifests are not there.
    let error = copy(&repository.source("index"), &to, Instances::IndexOnly).await;
    let error = error.expect_err("it fails");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(error.to_string().contains("blob unknown to registry"), "{error}");
    let size = json_error("MANIFEST_INVALID", "request body too large");
    server.fail(&json!([answer("PUT", "manifests/stable", 400, &size)]));
    let error = publish(&repository, &to).await.expect_err("it fails");
    assert!(matches!(error, Error::ManifestRejected(_)), "{error}");
}

#[tokio::test]
async fn files_that_have_changed() {
    let server = Server::start();
    for change in ["other", "shorter", "longer", "removed"] {
        let repository = Repository::new(1, change);
        let file = repository.package(0);
        let mut content = fs::read(&file).expect("readable");
        match change {
            "other" => content[0] ^= 1,
            "shorter" => content.truncate(10),
            _ => content.push(0),
        }
        fs::write(&file, content).expect("written");
        if change == "removed" {
            fs::remove_file(&file).expect("removed");
        }
        let to = server.source("acme/rpms:stable");
        let error = push(&repository, "s0", &repository.segments[0], &to).await;
        let error = error.expect_err(change);
        assert!(matches!(error, Error::Changed(_)), "{change}: {error}");
        let remedy = error.remedy().expect("there is one");
        assert!(remedy.contains("run the command again"), "{remedy}");
    }
}

#[tokio::test]
async fn no_such_layout_and_no_such_manifest() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = server.source("acme/rpms:stable");
    for name in ["none", "metadata"] {
        let from = if name == "none" { repository.source(name) } else { to.clone() };
        let error = copy(&from, &to, Instances::Manifest).await.expect_err("not there");
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert!(!error.to_string().contains("initializing source"), "{error}");
    }
    let error = registry().raw_manifest(&to).await.expect_err("not there");
    assert!(error.to_string().starts_with("reading manifest stable in localhost:"), "{error}");
}

#[tokio::test]
async fn credentials_are_in_no_message() {
    let server = Server::start();
    let repository = Repository::new(1, "a");
    let mut to = server.source("acme/rpms:stable");
    let login = Login { username: "me".into(), password: "hunter22".to_owned().into() };
    to.access.login = Some(login);
    // A registry that repeats what it was given, and one that only accepts others.
    let echo = json_error("DENIED", "denied: me:hunter22 bWU6aHVudGVyMjI=");
    server.fail(&json!([answer("POST", "", 403, &echo)]));
    let error = copy(&repository.source("s0"), &to, Instances::Manifest).await.expect_err("denied");
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    server.fail(&json!([answer("GET", "manifests", 403, &echo)]));
    let reading = registry().raw_manifest(&to).await.expect_err("denied");
    for text in [format!("{error} {error:?}"), format!("{reading} {reading:?}")] {
        assert!(!text.contains("hunter22") && !text.contains("bWU6aHVudGVyMjI="), "{text}");
    }
}

/// The processes whose command line has this text in it.
fn processes(text: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("there").filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

async fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_cancelled_copy_leaves_no_process_and_the_next_goes_on() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = server.source("acme/rpms:stable");
    let target = format!("localhost:{}/acme/rpms@sha256:", server.port);
    server.fail(&json!([{"method": "PATCH", "times": 1, "wait": "never"}]));
    let (from, into) = (repository.source("s0"), at(&to, &repository.segments[0]));
    let task = tokio::spawn(async move { copy(&from, &into, Instances::Manifest).await });
    wait_until("an upload begins", || server.count() >= 5).await;
    assert_eq!(processes(&target), 1);
    task.abort();
    wait_until("skopeo has ended", || processes(&target) == 0).await;
    publish(&repository, &to).await.expect("published");
}

#[tokio::test]
async fn silence_is_not_waited_for_for_ever() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let to = at(&server.source("acme/rpms:stable"), &repository.segments[0]);
    server.fail(&json!([{"method": "PATCH", "times": 1, "stall": true}]));
    let settings = Settings {
        stall: Duration::from_millis(300),
        backoff: Duration::from_millis(1),
        ..Settings::default()
    };
    let from = repository.source("s0");
    let copy = copy_of(&from, &to, Instances::Manifest);
    Registry::new(settings).copy(&copy, &|_| {}).await.expect("the second attempt");
    assert!(server.requests().iter().any(|line| line.ends_with(" stall")));
}

#[tokio::test]
async fn copies_side_by_side() {
    let (server, repository) = (Server::start(), Repository::new(6, "a"));
    let to = server.source("acme/rpms:stable");
    let pushes = repository.segments.iter().enumerate().map(|(number, digest)| {
        let (repository, to) = (&repository, &to);
        async move { push(repository, &format!("s{number}"), digest, to).await }
    });
    futures_util::future::try_join_all(pushes).await.expect("all are pushed");
    publish(&repository, &to).await.expect("published");
    for digest in &repository.segments {
        let raw = registry().raw_manifest(&at(&to, digest)).await.expect("there");
        assert_eq!(&raw.digest, digest);
    }
}

#[tokio::test]
async fn requests_keep_to_the_limit_that_copies_share() {
    let (server, repository) = (Server::start(), Repository::new(2, "a"));
    let to = server.source("acme/rpms:stable");
    // Twenty a second.
    let limit = RateLimit::per_minute(NonZeroU32::new(1200).expect("not 0"));
    let begin = Instant::now();
    let registry = registry();
    let pushes = repository.segments.iter().enumerate().map(|(number, digest)| {
        let (from, to) = (repository.source(&format!("s{number}")), at(&to, digest));
        let (registry, limit) = (&registry, &limit);
        async move {
            let copy = Copy { rate: Some(limit), ..copy_of(&from, &to, Instances::Manifest) };
            registry.copy(&copy, &|_| {}).await
        }
    });
    let watch = async {
        loop {
            // What the pipes and buffers of the two hold.
            let allowed = 20.0 * begin.elapsed().as_secs_f64() + 2.0 * 15.0;
            let count = server.count();
            assert!((count as f64) < allowed, "{count} requests after {:?}", begin.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = futures_util::future::try_join_all(pushes) => { done.expect("pushed"); }
        () = watch => {}
    }
    let requests = server.requests().len();
    // The first of each copy need not wait.
    let least = Duration::from_secs_f64((requests - 2) as f64 / 20.0);
    assert!(begin.elapsed() >= least, "{requests} requests in {:?}", begin.elapsed());
}

#[tokio::test]
async fn deletion() {
    let (server, repository) = (Server::start(), Repository::new(1, "a"));
    let (stable, progress) =
        (server.source("acme/rpms:stable"), server.source("acme/rpms:stable.publishing"));
    publish(&repository, &stable).await.expect("published");
    copy(&repository.source("s0"), &progress, Instances::Manifest).await.expect("tagged");
    for body in [json_error("UNSUPPORTED", "The operation is unsupported."), "no".to_owned()] {
        server.fail(&json!([answer("DELETE", "", 405, &body)]));
        let error = registry().delete(&progress).await.expect_err("not allowed");
        assert!(matches!(error, Error::DeleteNotAllowed(_)), "{error}");
    }
    server.fail(&json!([answer("DELETE", "", 403, &json_error("DENIED", "denied"))]));
    let error = registry().delete(&progress).await.expect_err("not allowed");
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    server.fail(&json!([]));
    registry().delete(&progress).await.expect("deleted");
    let error = registry().delete(&progress).await.expect_err("it is gone");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    registry().raw_manifest(&stable).await.expect("still there");
}

#[tokio::test]
async fn digests_survive_copies_into_layouts_and_back() {
    let (server, repository) = (Server::start(), Repository::new(2, "a"));
    let stable = server.source("acme/rpms:stable");
    publish(&repository, &stable).await.expect("published");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut from = stable;
    for round in ["first", "second"] {
        let path = directory.path().join(round);
        let mut layout = repository.source("index");
        layout.reference = format!("oci://{}:1", path.display()).parse().expect("valid");
        copy(&from, &layout, Instances::All).await.expect("into a layout");
        let to = server.source(&format!("acme/{round}:1"));
        copy(&layout, &to, Instances::All).await.expect("and back");
        let raw = registry().raw_manifest(&to).await.expect("there");
        assert_eq!(raw.digest, repository.index);
        let metadata = at(&to, &repository.metadata);
        let raw = registry().raw_manifest(&metadata).await.expect("there");
        let manifest: Value = serde_json::from_slice(&raw.bytes).expect("JSON");
        assert_eq!(manifest["layers"][0]["data"], "PHJlcG9tZD5hPC9yZXBvbWQ+");
        from = to;
    }
}

#[tokio::test]
async fn a_variant_selects_a_segment() {
    let (server, repository) = (Server::start(), Repository::new(2, "a"));
    let stable = server.source("acme/rpms:stable");
    publish(&repository, &stable).await.expect("published");
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (variant, digest) in repository.variants.iter().zip(&repository.segments) {
        let layout = directory.path().join(variant);
        let status = Command::new("skopeo")
            .args(["--override-os", "unknown", "--override-arch", "unknown", "--override-variant"])
            .arg(variant)
            .args(["copy", "--quiet", "--src-tls-verify=false"])
            .arg(stable.reference.to_skopeo())
            .arg(format!("oci:{}:1", layout.display()))
            .status();
        assert!(status.expect("it starts").success());
        let index = fs::read_to_string(layout.join("index.json")).expect("readable");
        assert!(index.contains(digest), "{index}");
    }
}
