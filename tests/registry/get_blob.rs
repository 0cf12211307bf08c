//! With a stand-in for skopeo 1.18, which has no GetRawBlob.

use std::time::Duration;

use dnf5_oci::error_kind::{Failure, Kind};
use dnf5_oci::registry::{Blob, Check, Error, Registry, Settings};
use dnf5_oci::source::{Access, Source};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::layout::descriptor;
use super::read_all;
use super::stand_in::StandIn;

const CONTENT: &str = "0123456789abcdef";

/// Longer than skopeo is given before it is asked whether a body has ended.
const STALL: Duration = Duration::from_secs(3);

fn sending(bodies: Value) -> StandIn {
    StandIn::new(json!({"protocol": "0.2.6", "bodies": bodies}))
}

fn impatient(stand_in: &StandIn) -> Registry {
    Registry::new(Settings { stall: STALL, ..stand_in.settings() })
}

async fn open(registry: &Registry) -> Result<Blob, Error> {
    let reference = "oci://registry.invalid/acme/rpms:stable".parse().expect("valid");
    let source = Source { reference, access: Access::default() };
    registry.blob(&source, &descriptor(CONTENT.as_bytes()), Check::Here).await
}

async fn fetch(registry: &Registry) -> Result<Vec<u8>, Error> {
    read_all(&mut open(registry).await?).await
}

#[tokio::test]
async fn one_worker_sends_many_bodies_and_is_asked_about_each() {
    let stand_in = sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    for _ in 0..10 {
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
    }
    stand_in.wait_until_logged("FinishPipe", 10).await;
    assert_eq!((stand_in.count("start"), stand_in.count("GetBlob")), (1, 10));
    assert_eq!(stand_in.count("GetRawBlob"), 0);
}

#[tokio::test]
async fn bodies_of_one_worker_flow_side_by_side() {
    let stand_in = sending(json!([
        [["send", "01234"], ["wait", "go"], ["send", &CONTENT[5..]]],
        [["send", CONTENT]],
    ]));
    let registry = Registry::new(Settings { max_processes: 1, ..stand_in.settings() });
    let mut first = open(&registry).await.expect("begun");
    assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
    std::fs::write(stand_in.path("go"), "").expect("written");
    assert_eq!(read_all(&mut first).await.expect("fetched"), CONTENT.as_bytes());
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn every_fault_is_tried_again() {
    for fault in [
        json!([["stall"]]),
        json!([["send", "01234"], ["stall"]]),
        json!([["silence"]]),
        json!([["send", "01234"], ["die"]]),
        json!([["send", "01234"]]),
        json!([["send", "01234"], ["error", "", "unexpected EOF"]]),
        json!([["refuse", "", "received unexpected HTTP status: 503"]]),
    ] {
        let stand_in = sending(json!([fault, [["send", CONTENT]]]));
        let fetched = fetch(&impatient(&stand_in)).await;
        assert_eq!(fetched.expect("the second attempt"), CONTENT.as_bytes(), "{fault}");
        assert_eq!(stand_in.count("GetBlob"), 2, "{fault}");
    }
}

#[tokio::test]
async fn what_ends_early_is_said_in_our_words() {
    let stand_in =
        sending(json!([[["send", "01234"], ["error", "", "expected 16 bytes in blob, got 5"]]]));
    let registry = Registry::new(Settings { attempts: 1, ..stand_in.settings() });
    let error = fetch(&registry).await.expect_err("short");
    assert!(matches!(error, Error::Short { received: 5, size: 16, .. }), "{error}");
}

#[tokio::test]
async fn the_reason_of_an_early_end_is_skopeos() {
    let stand_in = sending(json!([[["send", "01234"], ["error", "", "connection reset by peer"]]]));
    let registry = Registry::new(Settings { attempts: 1, ..stand_in.settings() });
    let error = fetch(&registry).await.expect_err("cut");
    assert_eq!(error.to_string(), "connection reset by peer");
}

#[tokio::test]
async fn a_stall_in_every_attempt_is_an_error() {
    let stand_in = sending(json!([[["send", "01234"], ["stall"]]]));
    let error = fetch(&impatient(&stand_in)).await.expect_err("always stalled");
    assert_eq!(error.kind(), Kind::Stalled, "{error}");
    assert_eq!(stand_in.count("start"), Settings::default().attempts);
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn a_worker_whose_body_has_paused_gets_no_other_request() {
    let stand_in = sending(json!([
        [["send", "01234"], ["wait", "go"], ["send", &CONTENT[5..]]],
        [["send", CONTENT]],
    ]));
    let registry = Registry::new(Settings { max_processes: 2, ..stand_in.settings() });
    let mut first = open(&registry).await.expect("begun");
    stand_in.wait_until_logged("FinishPipe", 1).await;
    assert_eq!(fetch(&registry).await.expect("not behind the other"), CONTENT.as_bytes());
    assert_eq!(stand_in.count("start"), 2);
    std::fs::write(stand_in.path("go"), "").expect("written");
    assert_eq!(read_all(&mut first).await.expect("goes on"), CONTENT.as_bytes());
    assert_eq!(stand_in.count("GetBlob"), 2);
}

#[tokio::test]
async fn a_pause_of_the_reader_is_not_one_of_the_body() {
    let stand_in = sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    let mut blob = open(&registry).await.expect("begun");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(read_all(&mut blob).await.expect("all there"), CONTENT.as_bytes());
    fetch(&registry).await.expect("fetched");
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn wrong_bytes_never_look_complete() {
    for (wrong, finish) in [
        (CONTENT.replace('0', "X"), "corrupted blob, expecting sha256:0"),
        (format!("{CONTENT}0"), "expected 16 bytes in blob, got 17"),
    ] {
        let stand_in = sending(json!([[["send", wrong], ["error", "", finish]]]));
        let mut blob = open(&stand_in.registry()).await.expect("begun");
        let error = read_all(&mut blob).await.expect_err("wrong");
        assert_eq!(error.kind(), Kind::DigestMismatch, "{error}");
        blob.read(&mut [0; 8]).await.expect_err("must not look complete");
        assert_eq!(stand_in.count("GetBlob"), 1);
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_leaves_the_worker() {
    let stand_in =
        sending(json!([[["refuse", "", "fetching blob: blob unknown"]], [["send", CONTENT]]]));
    let registry = stand_in.registry();
    let error = fetch(&registry).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn a_cancelled_body_ends_its_worker() {
    let stand_in = sending(json!([[["send", "01234"], ["stall"]], [["send", CONTENT]]]));
    let registry = stand_in.registry();
    let mut blob = open(&registry).await.expect("begun");
    blob.read_exact(&mut [0; 5]).await.expect("five bytes");
    drop(blob);
    // Soon, not at once.
    let replaced = async {
        while stand_in.count("start") < 2 {
            assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), replaced).await.expect("another worker");
    stand_in.wait_until_alive(1).await;
}

#[tokio::test]
async fn a_cancelled_request_leaves_no_process() {
    let stand_in = sending(json!([[["silence"]]]));
    let registry = stand_in.registry();
    let request = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.wait_until_logged("GetBlob", 1).await;
    request.abort();
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn a_body_that_does_not_end_after_its_last_byte_costs_its_worker_only() {
    let stand_in = sending(json!([[["send", CONTENT], ["stall"]], [["send", CONTENT]]]));
    let registry = impatient(&stand_in);
    assert_eq!(fetch(&registry).await.expect("all there"), CONTENT.as_bytes());
    // skopeo waits for the end that does not come, and answers nothing else.
    stand_in.wait_until_logged("FinishPipe", 1).await;
    assert_eq!(fetch(&registry).await.expect("by another worker"), CONTENT.as_bytes());
}
