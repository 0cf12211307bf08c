//! With a stand-in for skopeo that stalls, dies, and sends wrong bytes.

use std::sync::Arc;
use std::time::Duration;

use containers_image_proxy::oci_spec::image::Descriptor;
use dnf5_oci::engine::{self, Engine};
use dnf5_oci::error_kind::{Failure, Kind};
use dnf5_oci::registry::{Blob, Check, Delivered, Error, Registry, Settings};
use dnf5_oci::source::{Access, Source};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::layout::descriptor;
use super::read_all;
use super::stand_in::StandIn;

/// The right content of all blobs here.
const CONTENT: &str = "0123456789abcdef";

fn content() -> Descriptor {
    descriptor(CONTENT.as_bytes())
}

fn source() -> Source {
    let reference = "oci://registry.invalid/acme/rpms:stable".parse().expect("valid");
    Source { reference, access: Access::default() }
}

async fn open(registry: &Registry) -> Result<Blob, Error> {
    registry.blob(&source(), &content(), Check::Here).await
}

async fn fetch(registry: &Registry) -> Result<Vec<u8>, Error> {
    read_all(&mut open(registry).await?).await
}

/// Fetches the blob; the first attempt fails with `fault`, the second one is right.
async fn after(fault: Value) -> StandIn {
    let stand_in = StandIn::sending(json!([fault, [["send", CONTENT]]]));
    let fetched = fetch(&stand_in.impatient()).await.expect("fetched by the second attempt");
    assert_eq!(fetched, CONTENT.as_bytes());
    assert_eq!(stand_in.count("GetRawBlob"), 2);
    stand_in
}

#[tokio::test]
async fn a_stall_in_the_middle() {
    let stand_in = after(json!([["send", "01234"], ["stall"]])).await;
    // The worker that stalled was killed; another one continued.
    assert_eq!(stand_in.count("start"), 2);
}

#[tokio::test]
async fn a_stall_before_the_first_byte() {
    let stand_in = after(json!([["stall"]])).await;
    assert_eq!(stand_in.count("start"), 2);
}

#[tokio::test]
async fn a_stall_before_the_answer() {
    let stand_in = after(json!([["silence"]])).await;
    assert_eq!(stand_in.count("start"), 2);
}

#[tokio::test]
async fn a_death_in_the_middle() {
    let stand_in = after(json!([["send", "01234"], ["die"]])).await;
    assert_eq!(stand_in.count("start"), 2);
}

#[tokio::test]
async fn a_short_stream_without_an_error() {
    let stand_in = after(json!([["send", "01234"]])).await;
    // The worker is used again.
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn a_retryable_error_in_the_middle() {
    after(json!([["send", "01234"], ["error", "retryable", "connection reset by peer"]])).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle() {
    // skopeo does not call this one retryable.
    after(json!([["send", "01234"], ["error", "other", "unexpected EOF"]])).await;
}

#[tokio::test]
async fn a_retryable_refusal() {
    after(json!([["refuse", "retryable", "received unexpected HTTP status: 503"]])).await;
}

#[tokio::test]
async fn a_second_attempt_that_is_shorter_than_the_first() {
    let stand_in = StandIn::sending(json!([
        [["send", "0123456789"]],
        [["send", "01234"]],
        [["send", CONTENT]],
    ]));
    let fetched = fetch(&stand_in.registry()).await.expect("fetched by the third attempt");
    assert_eq!(fetched, CONTENT.as_bytes());
}

#[tokio::test]
async fn attempts_are_limited() {
    let stand_in = StandIn::sending(json!([[["send", "01234"]]]));
    let error = fetch(&stand_in.registry()).await.expect_err("always short");
    assert!(matches!(error, Error::Short { received: 5, size: 16, .. }), "{error}");
    assert_eq!(stand_in.count("GetRawBlob"), Settings::default().attempts);
}

#[tokio::test]
async fn a_stall_in_every_attempt_is_an_error() {
    let stand_in = StandIn::sending(json!([[["send", "01234"], ["stall"]]]));
    let error = fetch(&stand_in.impatient()).await.expect_err("always stalled");
    assert_eq!(error.kind(), Kind::Stalled);
    assert_eq!(stand_in.count("start"), Settings::default().attempts);
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn a_refusal_that_is_final() {
    let stand_in = StandIn::sending(json!([[["refuse", "other", "fetching blob: blob unknown"]]]));
    let error = fetch(&stand_in.registry()).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

#[tokio::test]
async fn wrong_bytes_never_look_complete() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let error = read_all(&mut blob).await.expect_err("wrong");
    assert!(is_mismatch(&error), "{error}");
    let again = blob.read(&mut [0; 8]).await.expect_err("must not look complete").into();
    assert!(is_mismatch(&again), "{again}");
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

/// Whether these bytes were wrong, and others may be right.
fn is_mismatch(error: &Error) -> bool {
    matches!(error, Error::MirrorCorrupt(inner) if matches!(**inner, Error::DigestMismatch { .. }))
}

#[tokio::test]
async fn wrong_bytes_are_final_when_they_come_again_and_again() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let registry = stand_in.registry();
    let mut errors = Vec::new();
    for _ in 0..Settings::default().attempts {
        errors.push(fetch(&registry).await.expect_err("wrong"));
    }
    let last = errors.pop().expect("several");
    assert!(errors.iter().all(is_mismatch), "{errors:?}");
    assert!(matches!(last, Error::DigestMismatch { .. }), "{last}");
    // It begins anew then.
    assert!(is_mismatch(&fetch(&registry).await.expect_err("wrong")));
}

#[tokio::test]
async fn wrong_bytes_once() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]], [["send", CONTENT]]]));
    let registry = stand_in.registry();
    assert!(is_mismatch(&fetch(&registry).await.expect_err("wrong")));
    assert_eq!(fetch(&registry).await.expect("right"), CONTENT.as_bytes());
}

/// Fetches the blob for a reader that checks its digest.
async fn fetch_unchecked(
    registry: &Registry,
    delivered: &Arc<Delivered>,
) -> Result<Vec<u8>, Error> {
    read_all(&mut registry.blob(&source(), &content(), Check::ByReader(delivered)).await?).await
}

#[tokio::test]
async fn what_a_reader_requests_again_is_checked() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let (registry, delivered) = (stand_in.registry(), Arc::default());
    let unchecked = fetch_unchecked(&registry, &delivered).await.expect("unchecked");
    assert_eq!(unchecked, wrong.as_bytes());
    let mut errors = Vec::new();
    for _ in 1..Settings::default().attempts {
        errors.push(fetch_unchecked(&registry, &delivered).await.expect_err("wrong"));
    }
    let last = errors.pop().expect("several");
    assert!(errors.iter().all(is_mismatch), "{errors:?}");
    // The transfer that was not checked counts as well.
    assert!(matches!(last, Error::DigestMismatch { .. }), "{last}");
}

#[tokio::test]
async fn a_reader_that_finds_wrong_bytes_gets_the_right_ones() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]], [["send", CONTENT]]]));
    let (registry, delivered) = (stand_in.registry(), Arc::default());
    assert_eq!(fetch_unchecked(&registry, &delivered).await.expect("unchecked"), wrong.as_bytes());
    assert_eq!(fetch_unchecked(&registry, &delivered).await.expect("right"), CONTENT.as_bytes());
}

#[tokio::test]
async fn readers_that_request_the_same_blob_do_not_count_as_one() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let registry = stand_in.registry();
    for _ in 0..2 {
        let fetched = fetch_unchecked(&registry, &Arc::default()).await.expect("unchecked");
        assert_eq!(fetched, wrong.as_bytes());
    }
}

#[tokio::test]
async fn what_another_reader_has_found_wrong_is_checked() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let registry = stand_in.registry();
    assert!(is_mismatch(&fetch(&registry).await.expect_err("wrong")));
    let error = fetch_unchecked(&registry, &Arc::default()).await.expect_err("checked");
    assert!(is_mismatch(&error), "{error}");
}

#[tokio::test]
async fn what_a_reader_did_not_get_to_its_end_was_not_wrong() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let (registry, delivered) = (stand_in.registry(), Arc::default());
    let unchecked = Check::ByReader(&delivered);
    let mut blob = registry.blob(&source(), &content(), unchecked).await.expect("begun");
    blob.read_exact(&mut [0; 8]).await.expect("the beginning");
    drop(blob);
    assert_eq!(fetch_unchecked(&registry, &delivered).await.expect("unchecked"), wrong.as_bytes());
}

#[tokio::test]
async fn the_size_of_unchecked_bytes_is_right() {
    for (sent, kind) in [("01234", Kind::Unreachable), ("0123456789abcdefg", Kind::DigestMismatch)]
    {
        let stand_in = StandIn::sending(json!([[["send", sent]]]));
        let error = fetch_unchecked(&stand_in.registry(), &Arc::default()).await.expect_err("size");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn the_last_bytes_are_delivered_only_if_all_are_right() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let mut all = [0; CONTENT.len()];
    let error = blob.read_exact(&mut all).await.expect_err("the last byte is not delivered");
    assert!(is_mismatch(&error.into()));
}

#[tokio::test]
async fn a_stall_after_the_last_byte_does_not_matter() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT], ["stall"]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    assert_eq!(read_all(&mut blob).await.expect("all there"), CONTENT.as_bytes());
    assert_eq!(blob.read(&mut [0; 8]).await.expect("end of file"), 0);
}

#[tokio::test]
async fn a_pause_of_the_reader_is_not_a_stall() {
    let stand_in =
        StandIn::sending(json!([[["send", "01234"], ["wait", "go"], ["send", &CONTENT[5..]]]]));
    let stall = Duration::from_secs(3);
    let registry = Registry::new(Settings { stall, ..stand_in.settings() });
    let mut blob = open(&registry).await.expect("begun");
    blob.read_exact(&mut [0; 5]).await.expect("five bytes");
    tokio::time::sleep(stall + Duration::from_millis(500)).await;
    // The first poll finds no bytes, and the second future makes them come.
    let go = async { std::fs::write(stand_in.path("go"), "").expect("written") };
    let (rest, ()) = futures_util::future::join(read_all(&mut blob), go).await;
    assert_eq!(rest.expect("in time"), CONTENT.as_bytes()[5..]);
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

#[tokio::test]
async fn a_cancelled_read_loses_no_bytes() {
    let stand_in = StandIn::sending(json!([[["send", "01234"]], [["send", CONTENT]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let mut content = Vec::new();
    while content.len() < CONTENT.len() {
        let mut buffer = [0; 4];
        // Each read is cancelled after one poll, also while the blob is requested again.
        if let Some(read) = futures_util::FutureExt::now_or_never(blob.read(&mut buffer)) {
            content.extend_from_slice(&buffer[..read.expect("right")]);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(content, CONTENT.as_bytes());
}

#[tokio::test]
async fn a_long_stream_ends_at_once() {
    // It stalls after the first excess byte.
    let long = format!("{CONTENT}0");
    let stand_in = StandIn::sending(json!([[["send", long], ["stall"]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let error = read_all(&mut blob).await.expect_err("long");
    let is_long = |error: &Error| matches!(error, Error::Long { size: 16, .. });
    assert!(matches!(&error, Error::MirrorCorrupt(inner) if is_long(inner)), "{error}");
    assert_eq!(error.kind(), Kind::DigestMismatch);
    blob.read(&mut [0; 8]).await.expect_err("must not look complete");
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

#[tokio::test]
async fn other_bodies_of_a_killed_worker_continue() {
    // Two bodies of one worker: when the second stalls, the first fails with it.
    let stand_in =
        StandIn::sending(json!(
            [[["send", "01234"], ["stall"]], [["stall"]], [["send", CONTENT]],]
        ));
    let registry = stand_in.impatient();
    let mut first = open(&registry).await.expect("begun");
    let mut buffer = [0; 5];
    assert_eq!(first.read(&mut buffer).await.expect("five bytes"), 5);
    let mut second = open(&registry).await.expect("begun");
    assert_eq!(stand_in.count("start"), 1);
    assert_eq!(read_all(&mut second).await.expect("requested again"), CONTENT.as_bytes());
    assert_eq!(read_all(&mut first).await.expect("requested again"), CONTENT.as_bytes()[5..]);
}

#[tokio::test]
async fn one_worker_sends_many_bodies() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    for _ in 0..20 {
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
    }
    assert_eq!((stand_in.count("start"), stand_in.count("OpenImage")), (1, 1));
}

#[tokio::test]
async fn workers_are_limited() {
    let stand_in = StandIn::sending(json!([[["slow"], ["send", CONTENT]]]));
    let registry = Registry::new(Settings { max_processes: 2, ..stand_in.settings() });
    let fetched = futures_util::future::join_all((0..20).map(|_| fetch(&registry))).await;
    for content in fetched {
        assert_eq!(content.expect("fetched"), CONTENT.as_bytes());
    }
    assert_eq!(stand_in.count("start"), 2);
}

#[tokio::test]
async fn few_requests_need_one_worker() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    for content in futures_util::future::join_all((0..10).map(|_| fetch(&registry))).await {
        assert_eq!(content.expect("fetched"), CONTENT.as_bytes());
    }
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn the_workers_of_all_sources_are_limited() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = Registry::new(Settings { max_total_processes: 2, ..stand_in.settings() });
    let fetch = async |tag: usize| {
        let reference = format!("oci://registry.invalid/acme/rpms:{tag}").parse().expect("valid");
        let source = Source { reference, access: Access::default() };
        let (registry, mut content) = (registry.clone(), Vec::new());
        for _ in 0..2 {
            let mut blob =
                registry.blob(&source, &descriptor(CONTENT.as_bytes()), Check::Here).await?;
            content = read_all(&mut blob).await?;
        }
        Ok::<_, Error>(content)
    };
    let all = futures_util::future::join_all((0..6).map(fetch));
    let mut most = 0;
    let watch = async {
        loop {
            // One that was killed has not quite ended when another one starts.
            most = most.max(stand_in.alive().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        fetched = all => {
            for content in fetched {
                assert_eq!(content.expect("fetched"), CONTENT.as_bytes());
            }
        }
        () = watch => {}
    }
    assert!((1..=3).contains(&most), "{most}");
    assert_eq!(stand_in.count("start"), 6, "none is ended between two requests");
    assert_eq!(stand_in.alive().len(), 2);
}

#[tokio::test]
async fn a_silent_worker_does_not_block_other_requests() {
    // The first request is never answered; the second worker serves all others.
    let stand_in = StandIn::sending(json!([[["silence"]], [["send", CONTENT]]]));
    let registry = Registry::new(Settings { max_processes: 2, ..stand_in.settings() });
    let silent = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.wait_until_logged("GetRawBlob", 1).await;
    let fetched = futures_util::future::join_all((0..8).map(|_| fetch(&registry))).await;
    assert_eq!(fetched.len(), 8);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    silent.abort();
}

#[tokio::test]
async fn a_cancelled_request_leaves_no_process() {
    let stand_in = StandIn::sending(json!([[["silence"]]]));
    let registry = stand_in.registry();
    let request = tokio::spawn(async move { open(&registry).await.map(|_| registry) });
    stand_in.wait_until_logged("GetRawBlob", 1).await;
    request.abort();
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn a_cancelled_request_is_killed_while_the_pool_lives() {
    let stand_in = StandIn::sending(json!([[["silence"]], [["send", CONTENT]]]));
    let registry = stand_in.registry();
    let request = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.wait_until_logged("GetRawBlob", 1).await;
    request.abort();
    stand_in.wait_until_alive(0).await;
    assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
}

#[tokio::test]
async fn a_start_that_hangs() {
    let stand_in = StandIn::new(json!({"initialize": "silence", "bodies": []}));
    let error = fetch(&stand_in.impatient()).await.expect_err("never initialized");
    assert_eq!(error.kind(), Kind::Stalled, "{error}");
    assert_eq!(stand_in.count("start"), Settings::default().attempts);
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn a_cancelled_start_leaves_no_process() {
    let stand_in = StandIn::new(json!({"initialize": "silence", "bodies": []}));
    let registry = stand_in.registry();
    let request = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.wait_until_logged("Initialize", 1).await;
    request.abort();
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn the_worker_of_a_dropped_body_ends_when_idle() {
    // The body stalls; only the end of its worker ends it.
    let stand_in = StandIn::sending(json!([[["send", "01234"], ["stall"]]]));
    let settings = Settings { idle: Duration::from_millis(100), ..stand_in.settings() };
    let registry = Registry::new(settings);
    let mut blob = open(&registry).await.expect("begun");
    assert_eq!(blob.read(&mut [0; 5]).await.expect("five bytes"), 5);
    drop(blob);
    stand_in.wait_until_alive(0).await;
}

#[tokio::test]
async fn idle_workers_end_and_are_started_again() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let settings = Settings { idle: Duration::from_millis(100), ..stand_in.settings() };
    let registry = Registry::new(settings);
    for starts in 1..=2 {
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
        assert_eq!(stand_in.count("start"), starts);
        stand_in.wait_until_alive(0).await;
    }
}

#[tokio::test]
async fn a_worker_that_dies_while_idle_costs_no_attempt() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = Registry::new(Settings { attempts: 1, ..stand_in.settings() });
    fetch(&registry).await.expect("fetched");
    let [pid] = stand_in.alive()[..] else { panic!("one process") };
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("in range")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    stand_in.wait_until_alive(0).await;
    assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
}

#[tokio::test]
async fn workers_are_not_used_after_a_configuration_change() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let auth_file = directory.path().join("auth.json");
    let access = Access { auth_file: Some(auth_file.clone()), ..Access::default() };
    let source = Source { access, ..source() };
    let request = async || registry.blob(&source, &content(), Check::Here).await.map(|_| ());
    request().await.expect("begun");
    request().await.expect("begun");
    assert_eq!(stand_in.count("start"), 1);
    std::fs::write(&auth_file, "{}").expect("written");
    request().await.expect("begun");
    assert_eq!(stand_in.count("start"), 2);
    assert!(stand_in.log().iter().any(|line| line.contains(&auth_file.display().to_string())));
}

#[tokio::test]
async fn an_old_skopeo() {
    let stand_in = StandIn::new(json!({"protocol": "0.2.5", "bodies": []}));
    let error = fetch(&stand_in.registry()).await.expect_err("too old");
    assert_eq!(error.kind(), Kind::SkopeoTooOld);
    assert_eq!(
        error.to_string(),
        "skopeo is too old: expected version 0.2.6 of its proxy protocol, got 0.2.5"
    );
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn an_image_that_opens_in_the_second_attempt() {
    let stand_in = StandIn::new(json!({
        "open": [["retryable", "connect: connection refused"], null],
        "bodies": [[["send", CONTENT]]],
    }));
    assert_eq!(fetch(&stand_in.registry()).await.expect("fetched"), CONTENT.as_bytes());
    assert_eq!(stand_in.count("OpenImage"), 2);
}

/// A source with limits that suit a test.
fn impatient_source(min_rate: Option<u64>) -> Source {
    let timeout = Some(Duration::from_secs(1));
    Source { access: Access { min_rate, timeout, ..Access::default() }, ..source() }
}

async fn fetch_from(registry: &Registry, source: &Source) -> Result<Vec<u8>, Error> {
    read_all(&mut registry.blob(source, &content(), Check::Here).await?).await
}

#[tokio::test]
async fn a_body_that_drips_is_too_slow() {
    let stand_in = StandIn::sending(json!([[["drip", CONTENT.repeat(10)]]]));
    let registry = Registry::new(Settings { attempts: 2, ..stand_in.settings() });
    let drip = descriptor(CONTENT.repeat(10).as_bytes());
    let mut blob =
        registry.blob(&impatient_source(Some(1000)), &drip, Check::Here).await.expect("begun");
    let error = read_all(&mut blob).await.expect_err("too slow");
    assert!(matches!(error, Error::Slow { rate: 1000, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "transfer from the registry timed out: less than 1000 bytes/s for 1 s"
    );
    assert_eq!(stand_in.count("GetRawBlob"), 2);
}

#[tokio::test]
async fn a_body_may_drip_if_the_source_allows_it() {
    for min_rate in [0, 2] {
        let stand_in = StandIn::sending(json!([[["drip", CONTENT]]]));
        let registry =
            Registry::new(Settings { stall: Duration::from_secs(1), ..stand_in.settings() });
        let source = impatient_source(Some(min_rate));
        assert_eq!(fetch_from(&registry, &source).await.expect("fetched"), CONTENT.as_bytes());
        assert_eq!(stand_in.count("GetRawBlob"), 1);
    }
}

#[tokio::test]
async fn an_image_that_does_not_open_in_time() {
    let stand_in = StandIn::new(json!({"open": ["never"], "bodies": [[["send", CONTENT]]]}));
    let registry = Registry::new(Settings { attempts: 2, ..stand_in.settings() });
    let error = fetch_from(&registry, &impatient_source(None)).await.expect_err("silent");
    assert_eq!(error.kind(), Kind::Stalled, "{error}");
    assert_eq!(stand_in.count("OpenImage"), 2);
    stand_in.wait_until_alive(0).await;
}

/// What skopeo logs before it waits for a registry that limits requests.
fn pause(seconds: u32) -> String {
    format!(
        "time=\"2026-11-27T21:02:38Z\" level=debug msg=\"Too many requests to \
         https://registry.invalid/v2/acme/rpms/manifests/stable: sleeping for {seconds}.000000 \
         seconds before next attempt\""
    )
}

#[tokio::test]
async fn a_registry_that_limits_requests_is_waited_for() {
    // It is silent for twice as long as it may be otherwise.
    let mut lines = vec![pause(3)];
    lines.resize(5, String::new());
    let stand_in = StandIn::new(json!({"open": [lines], "bodies": [[["send", CONTENT]]]}));
    let source = impatient_source(None);
    let fetched = fetch_from(&stand_in.registry(), &source).await.expect("fetched");
    assert_eq!(fetched, CONTENT.as_bytes());
    assert_eq!(stand_in.count("OpenImage"), 1);
}

#[tokio::test]
async fn a_limit_without_end_is_reported_before_it_has_passed() {
    let lines = vec![[pause(60), pause(60), String::new()]; 10].concat();
    let stand_in = StandIn::new(json!({"open": [lines], "bodies": [[["send", CONTENT]]]}));
    let registry = stand_in.registry();
    for _ in 0..3 {
        let error = fetch(&registry).await.expect_err("limited");
        assert!(matches!(error, Error::Limited { waited: true, .. }), "{error}");
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("podman login")));
    }
    assert_eq!(stand_in.count("OpenImage"), 1, "the registry is left alone");
}

#[tokio::test]
async fn the_reason_why_skopeo_ends_is_shown() {
    let stand_in = StandIn::new(json!({"open": [["panic: out of memory", 3, 4]], "bodies": []}));
    let registry = Registry::new(Settings { attempts: 1, ..stand_in.settings() });
    let request = fetch(&registry);
    let kill = async {
        stand_in.wait_until_logged("OpenImage", 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let [pid] = stand_in.alive()[..] else { panic!("one process") };
        let pid = rustix::process::Pid::from_raw(pid.try_into().expect("in range"));
        rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::KILL)
            .expect("killed");
    };
    let (outcome, ()) = futures_util::future::join(request, kill).await;
    let error = outcome.expect_err("it has ended").to_string();
    assert_eq!(error, "skopeo crashed (panic: out of memory)");
}

#[tokio::test]
async fn a_pull_source_that_opens_slowly_gets_one_worker() {
    let stand_in = StandIn::new(json!({"open": ["go"], "bodies": [[["send", CONTENT]]]}));
    let registry = stand_in.registry();
    let first = fetch(&registry);
    let go = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::fs::write(stand_in.path("go"), "").expect("written");
    };
    let (fetched, ()) = futures_util::future::join(first, go).await;
    assert_eq!(fetched.expect("fetched"), CONTENT.as_bytes());
    for content in futures_util::future::join_all((0..20).map(|_| fetch(&registry))).await {
        assert_eq!(content.expect("fetched"), CONTENT.as_bytes());
    }
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn an_image_that_opens_slowly_is_opened_once_for_all_who_ask_and_give_up() {
    let stand_in = StandIn::new(json!({"open": ["go"], "bodies": []}));
    let engine = Engine::new(
        Registry::new(Settings { attempts: 1, ..stand_in.settings() }),
        engine::Settings::default(),
    );
    let view = engine.view("tools", &source());
    for _ in 0..2 {
        let asked = async {
            tokio::select! {
                _ = view.find("repodata/repomd.xml") => panic!("not before it is open"),
                () = stand_in.wait_until_logged("OpenImage", 1) => {}
            }
        };
        asked.await;
    }
    std::fs::write(stand_in.path("go"), "").expect("written");
    // The stand-in has no manifest.
    assert!(view.find("repodata/repomd.xml").await.is_err());
    assert_eq!(stand_in.count("OpenImage"), 1);
}

/// Whether a thread of this process has imposed rules on itself. They come with this: landlock(7).
fn has_confined_thread() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("read").flatten();
    let mut states =
        threads.map(|one| std::fs::read_to_string(one.path().join("status")).unwrap_or_default());
    states.any(|state| state.contains("NoNewPrivs:\t1"))
}

#[tokio::test]
async fn a_failure_to_unpack_is_remembered_although_the_request_has_left() {
    let layer = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 9,
        "digest": content().digest(), "annotations": {"org.opencontainers.image.title": "repodata"},
    });
    let stand_in = StandIn::new(json!({
        "manifest": {"schemaVersion": 2, "config": layer, "layers": [layer]},
        "bodies": [[["wait", "go"], ["send", "no archive"]]],
    }));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layer_store = Some(directory.path().to_owned());
    let settings = engine::Settings { layer_store, ..engine::Settings::default() };
    let engine = Engine::new(stand_in.registry(), settings);
    let view = engine.view("tools", &source());
    tokio::select! {
        _ = view.find("repodata/repomd.xml") => panic!("the layer has not come yet"),
        () = stand_in.wait_until_logged("GetRawBlob", 1) => {}
    }
    let confined = async {
        while !has_confined_thread() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, confined).await.expect("a confined thread unpacks the layer");
    std::fs::write(stand_in.path("go"), "").expect("written");
    for _ in 0..2 {
        let error = view.find("repodata/repomd.xml").await.map(drop).expect_err("refused");
        assert_eq!(error.kind(), Kind::DigestMismatch, "{error}");
    }
    assert_eq!(stand_in.count("GetRawBlob"), Settings::default().attempts);
}

#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    // skopeo dies with the thread that started it, and a thread for blocking work ends when it is idle.
    // Here the retry is made on one, as with every blob that is unpacked.
    let stand_in =
        StandIn::sending(json!([[["send", "01234"]], [["send", CONTENT]], [["send", CONTENT]]]));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_keep_alive(Duration::from_millis(1))
        .enable_all()
        .build()
        .expect("a runtime");
    let registry = stand_in.registry();
    runtime.block_on(async {
        let handle = tokio::runtime::Handle::current();
        let on_a_thread = registry.clone();
        tokio::task::spawn_blocking(move || handle.block_on(async { fetch(&on_a_thread).await }))
            .await
            .expect("no panic")
            .expect("fetched");
        let [pid] = stand_in.alive()[..] else { panic!("one process") };
        // The thread has ended by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stand_in.alive(), [pid]);
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
        assert_eq!(stand_in.count("start"), 1);
    });
}
