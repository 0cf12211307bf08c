//! Requests and responses.

use std::convert::Infallible;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{self, HeaderName, HeaderValue, RANGE};
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::route::{Next, Refusal, Route, Router};
use crate::engine::{Content, Entry, Error, View};
use crate::error_kind::{Failure, Kind};

/// Size of the buffer between the content and the client, in bytes.
const BUFFER: usize = 512 * 1024;

/// How long skipping to the start of a range may take. After this the client gets the whole file: without a
/// response it would time out and repeat the request for ever.
const SKIP_TIMEOUT: Duration = Duration::from_secs(5);

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Response = hyper::Response<Body>;

/// Responds to a request from the route that its path leads to, also if that fails.
pub(super) async fn respond(
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, "");
        set(&mut response, header::ALLOW, "GET, HEAD");
        return Ok(response);
    }
    let (route, location) = match router.find(request.uri().path()) {
        Ok(found) => found,
        Err(Refusal { status, line }) => return Ok(failure(status, &line)),
    };
    let range = request.headers().get(RANGE);
    tracing::debug!(location, method = %request.method(), ?range, "request");
    if let Some(failed) = route.recent_failure(&location) {
        return Ok(failure(failed.status, &failed.line));
    }
    let (kind, line, next) = match &route.view {
        Ok(view) => match serve(&route, view, &location, &request).await {
            Ok(response) => return Ok(response),
            Err(error) => (error.kind(), error.to_string(), Next::after(&error)),
        },
        Err(line) => (Kind::InvalidReference, line.clone(), Next::Fails),
    };
    let failed = route.record(&location, status(kind), line, next);
    Ok(failure(failed.status, &failed.line))
}

/// Serves the file at `location`. There are no entity tags (RFC 9110, 8.8.3): librepo identifies files by
/// their checksums, and makes no conditional requests.
async fn serve(
    route: &Arc<Route>,
    view: &Arc<View>,
    location: &str,
    request: &Request<Incoming>,
) -> Result<Response, Error> {
    let entry = view.find(location).await?;
    route.found();
    let (size, modified) = (entry.size, entry.modified);
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let Ok(mut range) = byte_range(range.unwrap_or_default(), size) else {
        let mut response = response(StatusCode::RANGE_NOT_SATISFIABLE, "");
        set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
        return Ok(response);
    };
    let mut response = response(StatusCode::OK, "");
    if request.method() == Method::GET {
        let content;
        (content, range) = open(view, location, entry, range).await?;
        let length = length(range.as_ref(), size);
        let content = content.take(length);
        *response.body_mut() =
            body(Arc::clone(route), Arc::clone(view), location.to_owned(), content, length);
    }
    if let Some(modified) = modified {
        // dnf5 gives the file that time, if told so.
        set(&mut response, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    }
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_LENGTH, &length(range.as_ref(), size).to_string());
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let (first, last) = range.into_inner();
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    Ok(response)
}

/// The range that a Range header requests, if it can be satisfied. `None` stands for the whole file, also
/// where the header is invalid or has several ranges: a server may ignore it (RFC 9110, 14.2).
pub(super) fn byte_range(
    header: &str,
    size: u64,
) -> Result<Option<RangeInclusive<u64>>, RangeUnsatisfiableError> {
    match parse_range_header(header) {
        Ok(ranges) if ranges.len() == 1 => Ok(ranges.validate(size)?.pop()),
        _ => Ok(None),
    }
}

fn length(range: Option<&RangeInclusive<u64>>, size: u64) -> u64 {
    range.map_or(size, |range| range.end() - range.start() + 1)
}

/// Opens a file at the start of the range, or the whole file if it takes too long to get there.
async fn open(
    view: &View,
    location: &str,
    entry: Entry,
    range: Option<RangeInclusive<u64>>,
) -> Result<(Content, Option<RangeInclusive<u64>>), Error> {
    let start = range.as_ref().map_or(0, |range| *range.start());
    let limit = if start > 0 { SKIP_TIMEOUT } else { Duration::MAX };
    match timeout(limit, view.read(entry, start)).await {
        Ok(content) => Ok((content?, range)),
        Err(_) => {
            let entry = view.find(location).await?;
            Ok((view.read(entry, 0).await?, None))
        }
    }
}

/// Streams content. The content verifies itself before it hands out its last bytes, so that a client never
/// gets all of a corrupt file; if it fails, the client sees the body end early.
fn body(
    route: Arc<Route>,
    view: Arc<View>,
    location: String,
    content: impl AsyncRead + Send + 'static,
    mut left: u64,
) -> Body {
    let (served, requested) = (Arc::clone(&route), location.clone());
    let frames = ReaderStream::with_capacity(content, BUFFER).map_ok(move |bytes| {
        left = left.saturating_sub(bytes.len() as u64);
        if left == 0 {
            served.recovered(&requested);
        }
        Frame::data(bytes)
    });
    let frames = frames.map_err(move |error| {
        let error = view.read_error(error);
        let next = Next::after(&error);
        route.record(&location, status(error.kind()), error.to_string(), next);
        io::Error::other(error)
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The HTTP status for a kind of failure.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound | Kind::PackageNotInRepository => StatusCode::NOT_FOUND,
        Kind::Unauthorized | Kind::PolicyRejected | Kind::AccessDenied => StatusCode::FORBIDDEN,
        Kind::Unreachable | Kind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Stalled => StatusCode::GATEWAY_TIMEOUT,
        Kind::BadRepository | Kind::BadMetadata | Kind::DigestMismatch => StatusCode::BAD_GATEWAY,
        Kind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        Kind::InvalidReference
        | Kind::CacheDirectory
        | Kind::InvalidSettings
        | Kind::SkopeoMissing
        | Kind::SkopeoTooOld => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn failure(status: StatusCode, line: &str) -> Response {
    let mut response = response(status, format!("{line}\n"));
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

fn response(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio_util::io::StreamReader;

    use super::*;
    use crate::engine::Engine;
    use crate::registry::{self, Registry};
    use crate::source::Source;

    #[test]
    fn what_ranges_mean() {
        for (header, expected) in [
            ("bytes=0-", Ok(Some(0..=99))),
            ("bytes=40-", Ok(Some(40..=99))),
            ("bytes=40-49", Ok(Some(40..=49))),
            ("bytes=40-1000", Ok(Some(40..=99))),
            ("bytes=-10", Ok(Some(90..=99))),
            ("bytes=-1000", Ok(Some(0..=99))),
            ("bytes=100-", Err(RangeUnsatisfiableError::Unsatisfiable)),
            ("bytes=-0", Err(RangeUnsatisfiableError::Unsatisfiable)),
            ("bytes=5-4", Ok(None)),
            ("bytes=0-1,4-5", Ok(None)),
            ("lines=1-2", Ok(None)),
            ("", Ok(None)),
        ] {
            assert_eq!(byte_range(header, 100), expected, "{header}");
        }
    }

    /// What the client receives of content that fails in the middle, what is reported to the user, and how
    /// the next request fails without being made.
    async fn broken(error: registry::Error) -> (Vec<u8>, Vec<String>, Option<String>) {
        let engine = Engine::new(Registry::new(Default::default()), Default::default());
        let reference = "oci://quay.io/acme/rpms".parse().expect("a reference");
        let source = Source { reference, access: Default::default() };
        let view = Arc::new(engine.view("tools", &source));
        let route = Arc::new(Route::for_all(Ok(Arc::clone(&view))));
        let content = [Ok(&b"first "[..]), Ok(b"second"), Err(io::Error::from(error))];
        let content = StreamReader::new(stream::iter(content));
        let mut body = body(Arc::clone(&route), view, "a.rpm".to_owned(), content, 13);
        let mut received = Vec::new();
        let error = loop {
            match body.frame().await.expect("an error before the end") {
                Ok(frame) => received.extend_from_slice(&frame.into_data().expect("data")),
                Err(error) => break error.to_string(),
            }
        };
        let reported = route.failures.take();
        assert_eq!(reported, [error]);
        (received, reported, route.recent_failure("a.rpm").map(|failed| failed.line))
    }

    fn short() -> registry::Error {
        registry::Error::Short { digest: "sha256:1".to_owned(), received: 12, size: 13 }
    }

    #[tokio::test]
    async fn content_that_fails_in_the_middle_is_reported() {
        let (received, reported, next) = broken(short()).await;
        assert_eq!(received, b"first second");
        assert!(
            reported[0].starts_with("repository tools oci://quay.io/acme/rpms:latest: "),
            "{reported:?}"
        );
        assert_eq!(next.as_deref(), Some(reported[0].as_str()));
    }

    #[tokio::test]
    async fn only_what_was_served_to_its_end_has_recovered() {
        for (length, expected) in [(11, &[][..]), (12, &["gone"])] {
            let route = Arc::new(Route::for_all(Err("invalid".to_owned())));
            let engine = Engine::new(Registry::new(Default::default()), Default::default());
            let reference = "oci://quay.io/acme/rpms".parse().expect("a reference");
            let view = engine.view("tools", &Source { reference, access: Default::default() });
            route.record("a.rpm", StatusCode::NOT_FOUND, "gone".to_owned(), Next::MayFail);
            let content = &b"first second"[..11];
            let body =
                body(Arc::clone(&route), Arc::new(view), "a.rpm".to_owned(), content, length);
            assert_eq!(body.collect().await.expect("served").to_bytes().len(), 11);
            assert_eq!(route.failures.take(), expected);
        }
    }

    #[tokio::test]
    async fn after_wrong_bytes_the_next_request_is_made() {
        let (received, _, next) = broken(registry::Error::MirrorCorrupt(Box::new(short()))).await;
        assert_eq!(received, b"first second");
        assert_eq!(next, None);
    }

    #[test]
    fn a_refusal_is_repeated_as_often_as_a_web_servers() {
        let route = Route::for_all(Err("invalid".to_owned()));
        let record = |line: &str, next| {
            let failed = route.record("a.rpm", StatusCode::NOT_FOUND, line.to_owned(), next);
            assert_eq!(failed.line, line);
            route.recent_failure("a.rpm").is_some()
        };
        let held = [(); 4].map(|()| record("unknown", Next::MayFail));
        assert_eq!(held, [false, false, false, true]);
        assert!(!record("wrong", Next::IsServed));
        assert!(record("unreachable", Next::Fails));
        assert!(route.recent_failure("b.rpm").is_none());
        route.recovered("a.rpm");
        assert_eq!(route.failures.take(), [""; 0]);
    }
}
