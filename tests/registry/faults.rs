//! With a stand-in for skopeo that stalls, dies, and sends what it should not.

use std::time::Duration;

use containers_image_proxy::oci_spec::image::Descriptor;
use dnf5_oci::engine::{self, Engine};
use dnf5_oci::error_kind::{Failure, Kind};
use dnf5_oci::registry::{Blob, Error, Registry, Settings};
use dnf5_oci::source::{Access, Source};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::layout::descriptor;
use super::read_all;
use super::stand_in::StandIn;

/// What the blobs of these tests should be.
const CONTENT: &str = "0123456789abcdef";

fn content() -> Descriptor {
    descriptor(CONTENT.as_bytes())
}

fn source() -> Source {
    let reference = "oci://registry.invalid/acme/rpms:stable".parse().expect("valid");
    Source { reference, access: Access::default() }
}

async fn open(registry: &Registry) -> Result<Blob, Error> {
    registry.blob(&source(), &content()).await
}

async fn fetch(registry: &Registry) -> Result<Vec<u8>, Error> {
    read_all(&mut open(registry).await?).await
}

/// Fetches the blob with the real thing to follow a first try that fails as `fault` says.
async fn after(fault: Value) -> StandIn {
    let stand_in = StandIn::sending(json!([fault, [["send", CONTENT]]]));
    let fetched = fetch(&stand_in.impatient()).await.expect("fetched with the second try");
    assert_eq!(fetched, CONTENT.as_bytes());
    assert_eq!(stand_in.count("GetRawBlob"), 2);
    stand_in
}

#[tokio::test]
async fn a_stall_in_the_middle() {
    let stand_in = after(json!([["send", "01234"], ["stall"]])).await;
    // The one that stalled was killed: another one went on.
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
    // The process is as good as before.
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
async fn a_second_try_that_is_shorter_than_the_first() {
    let stand_in = StandIn::sending(json!([
        [["send", "0123456789"]],
        [["send", "01234"]],
        [["send", CONTENT]],
    ]));
    let fetched = fetch(&stand_in.registry()).await.expect("fetched with the third try");
    assert_eq!(fetched, CONTENT.as_bytes());
}

#[tokio::test]
async fn tries_have_a_bound() {
    let stand_in = StandIn::sending(json!([[["send", "01234"]]]));
    let error = fetch(&stand_in.registry()).await.expect_err("always short");
    assert!(matches!(error, Error::Short { received: 5, size: 16, .. }), "{error}");
    assert_eq!(stand_in.count("GetRawBlob"), Settings::default().attempts);
}

#[tokio::test]
async fn stalling_for_ever_is_told() {
    let stand_in = StandIn::sending(json!([[["send", "01234"], ["stall"]]]));
    let error = fetch(&stand_in.impatient()).await.expect_err("always stalled");
    assert_eq!(error.kind(), Kind::Stalled);
    assert_eq!(stand_in.count("start"), Settings::default().attempts);
    stand_in.until_alive(0).await;
}

#[tokio::test]
async fn a_refusal_that_is_final() {
    let stand_in = StandIn::sending(json!([[["refuse", "other", "fetching blob: blob unknown"]]]));
    let error = fetch(&stand_in.registry()).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

#[tokio::test]
async fn wrong_bytes_are_never_at_their_end() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let error = read_all(&mut blob).await.expect_err("wrong");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let again = blob.read(&mut [0; 8]).await.expect_err("no end that looks right").into();
    assert!(matches!(again, Error::DigestMismatch { .. }), "{again}");
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

#[tokio::test]
async fn the_last_bytes_come_only_if_all_are_right() {
    let wrong = CONTENT.replace('0', "X");
    let stand_in = StandIn::sending(json!([[["send", wrong]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let mut all = [0; CONTENT.len()];
    let error = blob.read_exact(&mut all).await.expect_err("not a byte less than all");
    assert!(matches!(error.into(), Error::DigestMismatch { .. }));
}

#[tokio::test]
async fn a_stall_after_the_last_byte_is_not_waited_for() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT], ["stall"]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    assert_eq!(read_all(&mut blob).await.expect("all there"), CONTENT.as_bytes());
    assert_eq!(blob.read(&mut [0; 8]).await.expect("still at its end"), 0);
}

#[tokio::test]
async fn a_reader_that_gives_up_loses_no_bytes() {
    let stand_in = StandIn::sending(json!([[["send", "01234"]], [["send", CONTENT]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let mut content = Vec::new();
    while content.len() < CONTENT.len() {
        let mut buffer = [0; 4];
        // Ready or not, it is dropped after one poll: also in the middle of the second request.
        if let Some(read) = futures_util::FutureExt::now_or_never(blob.read(&mut buffer)) {
            content.extend_from_slice(&buffer[..read.expect("right")]);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(content, CONTENT.as_bytes());
}

#[tokio::test]
async fn a_long_stream_ends_at_once() {
    // It would stall after the first byte too many.
    let long = format!("{CONTENT}0");
    let stand_in = StandIn::sending(json!([[["send", long], ["stall"]]]));
    let mut blob = open(&stand_in.registry()).await.expect("begun");
    let error = read_all(&mut blob).await.expect_err("long");
    assert!(matches!(error, Error::Long { size: 16, .. }), "{error}");
    assert_eq!(error.kind(), Kind::DigestMismatch);
    blob.read(&mut [0; 8]).await.expect_err("no end that looks right");
    assert_eq!(stand_in.count("GetRawBlob"), 1);
}

#[tokio::test]
async fn the_others_of_a_killed_process_go_on() {
    // Two bodies of one process: the second stalls and takes the first along.
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
    assert_eq!(read_all(&mut second).await.expect("tried again"), CONTENT.as_bytes());
    assert_eq!(read_all(&mut first).await.expect("tried again"), CONTENT.as_bytes()[5..]);
}

#[tokio::test]
async fn one_process_carries_many_bodies() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    for _ in 0..20 {
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
    }
    assert_eq!((stand_in.count("start"), stand_in.count("OpenImage")), (1, 1));
}

#[tokio::test]
async fn processes_have_a_bound() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = Registry::new(Settings { max_processes: 2, ..stand_in.settings() });
    let fetched = futures_util::future::join_all((0..20).map(|_| fetch(&registry))).await;
    for content in fetched {
        assert_eq!(content.expect("fetched"), CONTENT.as_bytes());
    }
    assert_eq!(stand_in.count("start"), 2);
}

#[tokio::test]
async fn a_silent_process_holds_nobody_else_up() {
    // The first request is not answered; with two processes, all the others have the second one.
    let stand_in = StandIn::sending(json!([[["silence"]], [["send", CONTENT]]]));
    let registry = Registry::new(Settings { max_processes: 2, ..stand_in.settings() });
    let silent = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.until_noted("GetRawBlob", 1).await;
    let fetched = futures_util::future::join_all((0..8).map(|_| fetch(&registry))).await;
    assert_eq!(fetched.len(), 8);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    silent.abort();
}

#[tokio::test]
async fn a_dropped_request_leaves_no_process() {
    let stand_in = StandIn::sending(json!([[["silence"]]]));
    let registry = stand_in.registry();
    let request = tokio::spawn(async move { open(&registry).await.map(|_| registry) });
    stand_in.until_noted("GetRawBlob", 1).await;
    request.abort();
    stand_in.until_alive(0).await;
}

#[tokio::test]
async fn a_dropped_request_is_killed_though_the_pool_lives() {
    let stand_in = StandIn::sending(json!([[["silence"]], [["send", CONTENT]]]));
    let registry = stand_in.registry();
    let request = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.until_noted("GetRawBlob", 1).await;
    request.abort();
    stand_in.until_alive(0).await;
    assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
}

#[tokio::test]
async fn a_start_that_hangs() {
    let stand_in = StandIn::new(json!({"initialize": "silence", "bodies": []}));
    let error = fetch(&stand_in.impatient()).await.expect_err("never greeted");
    assert_eq!(error.kind(), Kind::Stalled, "{error}");
    assert_eq!(stand_in.count("start"), Settings::default().attempts);
    stand_in.until_alive(0).await;
}

#[tokio::test]
async fn a_dropped_start_leaves_no_process() {
    let stand_in = StandIn::new(json!({"initialize": "silence", "bodies": []}));
    let registry = stand_in.registry();
    let request = tokio::spawn({
        let registry = registry.clone();
        async move { open(&registry).await.map(|_| ()) }
    });
    stand_in.until_noted("Initialize", 1).await;
    request.abort();
    stand_in.until_alive(0).await;
}

#[tokio::test]
async fn a_dropped_body_leaves_an_idle_process_that_ends() {
    // The body stalls: nothing but its process's end would end it.
    let stand_in = StandIn::sending(json!([[["send", "01234"], ["stall"]]]));
    let settings = Settings { idle: Duration::from_millis(100), ..stand_in.settings() };
    let registry = Registry::new(settings);
    let mut blob = open(&registry).await.expect("begun");
    assert_eq!(blob.read(&mut [0; 5]).await.expect("five bytes"), 5);
    drop(blob);
    stand_in.until_alive(0).await;
}

#[tokio::test]
async fn idle_processes_end_and_come_again() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let settings = Settings { idle: Duration::from_millis(100), ..stand_in.settings() };
    let registry = Registry::new(settings);
    for starts in 1..=2 {
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
        assert_eq!(stand_in.count("start"), starts);
        stand_in.until_alive(0).await;
    }
}

#[tokio::test]
async fn one_that_died_while_idle_costs_no_try() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = Registry::new(Settings { attempts: 1, ..stand_in.settings() });
    fetch(&registry).await.expect("fetched");
    let [pid] = stand_in.alive()[..] else { panic!("one process") };
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("in range")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    stand_in.until_alive(0).await;
    assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
}

#[tokio::test]
async fn changed_configuration_retires_processes() {
    let stand_in = StandIn::sending(json!([[["send", CONTENT]]]));
    let registry = stand_in.registry();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let auth_file = directory.path().join("auth.json");
    let access = Access { auth_file: Some(auth_file.clone()), ..Access::default() };
    let source = Source { access, ..source() };
    let request = async || registry.blob(&source, &content()).await.map(|_| ());
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
    let stand_in = StandIn::new(json!({"protocol": "0.2.7", "bodies": []}));
    let error = fetch(&stand_in.registry()).await.expect_err("too old");
    assert_eq!(error.kind(), Kind::SkopeoTooOld);
    assert_eq!(
        error.to_string(),
        "skopeo speaks version 0.2.7 of its proxy protocol, 0.2.8 is needed"
    );
    assert_eq!(stand_in.count("start"), 1);
}

#[tokio::test]
async fn an_image_that_opens_with_the_second_try() {
    let stand_in = StandIn::new(json!({
        "open": [["retryable", "connect: connection refused"], null],
        "bodies": [[["send", CONTENT]]],
    }));
    assert_eq!(fetch(&stand_in.registry()).await.expect("fetched"), CONTENT.as_bytes());
    assert_eq!(stand_in.count("OpenImage"), 2);
}

#[tokio::test]
async fn a_place_that_opens_slowly_makes_do_with_one_process() {
    let stand_in = StandIn::new(json!({"open": ["go"], "bodies": [[["send", CONTENT]]]}));
    let settings = Settings { slow_open: Duration::from_millis(100), ..stand_in.settings() };
    let registry = Registry::new(settings);
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
                () = stand_in.until_noted("OpenImage", 1) => {}
            }
        };
        asked.await;
    }
    std::fs::write(stand_in.path("go"), "").expect("written");
    // The stand-in has no manifest.
    assert!(view.find("repodata/repomd.xml").await.is_err());
    assert_eq!(stand_in.count("OpenImage"), 1);
}

#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    // skopeo ends with the thread that started it, and a thread for blocking work may end at any
    // time. Here a retry is made on one, as with every blob that is unpacked.
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
        // More than enough for the thread to end.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stand_in.alive(), [pid]);
        assert_eq!(fetch(&registry).await.expect("fetched"), CONTENT.as_bytes());
        assert_eq!(stand_in.count("start"), 1);
    });
}
