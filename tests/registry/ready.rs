//! Workers that are started ahead of announced requests, and kept for them.

use std::time::Duration;

use dnf5_oci::registry::{Check, Registry, Settings};
use dnf5_oci::source::{Access, Source};
use serde_json::json;

use super::layout::descriptor;
use super::read_all;
use super::stand_in::StandIn;

const CONTENT: &str = "0123456789abcdef";

const IDLE: Duration = Duration::from_millis(100);

fn source() -> Source {
    let reference = "oci://registry.invalid/acme/rpms:stable".parse().expect("valid");
    Source { reference, access: Access::default() }
}

/// A registry whose workers are kept for `IDLE`, and for `ready` while requests are announced.
fn registry(stand_in: &StandIn, ready: Duration) -> Registry {
    Registry::new(Settings { idle: IDLE, ready, ..stand_in.settings() })
}

fn stand_in() -> StandIn {
    StandIn::sending(json!([[["send", CONTENT]]]))
}

async fn fetch(registry: &Registry) {
    let mut blob = registry
        .blob(&source(), &descriptor(CONTENT.as_bytes()), Check::Here)
        .await
        .expect("begun");
    assert_eq!(read_all(&mut blob).await.expect("fetched"), CONTENT.as_bytes());
}

#[tokio::test]
async fn a_worker_is_there_before_the_request() {
    let stand_in = stand_in();
    let registry = registry(&stand_in, Duration::from_secs(3600));
    assert!(!registry.is_open(&source()).await.expect("known"));
    let expected = registry.expect(&source(), 1).await.expect("expected");
    assert_eq!(stand_in.count("start"), 0, "expecting starts none");
    expected.start_workers().await.expect("started");
    assert!(registry.is_open(&source()).await.expect("known"));
    expected.start_workers().await.expect("it is there");
    assert_eq!((stand_in.count("start"), stand_in.count("OpenImage")), (1, 1));
    assert_eq!(stand_in.count("GetRawBlob"), 0);
    fetch(&registry).await;
    assert_eq!((stand_in.count("start"), stand_in.count("OpenImage")), (1, 1));
}

#[tokio::test]
async fn it_is_kept_while_the_user_reads_and_ends_when_nothing_is_expected() {
    let stand_in = stand_in();
    let registry = registry(&stand_in, Duration::from_secs(3600));
    let expected = registry.expect(&source(), 1).await.expect("expected");
    expected.start_workers().await.expect("started");
    tokio::time::sleep(IDLE * 10).await;
    assert_eq!(stand_in.alive().len(), 1);
    drop(expected);
    stand_in.wait_until_alive(0).await;
    assert!(!registry.is_open(&source()).await.expect("known"));
}

#[tokio::test]
async fn the_user_may_not_read_for_ever() {
    let stand_in = stand_in();
    let registry = registry(&stand_in, IDLE * 3);
    let expected = registry.expect(&source(), 1).await.expect("expected");
    expected.start_workers().await.expect("started");
    stand_in.wait_until_alive(0).await;
    // What was announced is still served.
    fetch(&registry).await;
    assert_eq!(stand_in.count("start"), 2);
    drop(expected);
}

#[tokio::test]
async fn nothing_is_left_of_workers_that_are_being_started() {
    let stand_in = StandIn::new(json!({ "open": ["gate"], "bodies": [] }));
    let registry = registry(&stand_in, Duration::from_secs(3600));
    let expected = registry.expect(&source(), 1).await.expect("expected");
    let starting = tokio::spawn(async move { expected.start_workers().await });
    stand_in.wait_until_logged("OpenImage", 1).await;
    starting.abort();
    stand_in.wait_until_alive(0).await;
}
