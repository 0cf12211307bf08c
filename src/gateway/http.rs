//! Requests and responses.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::AsyncReadExt;

use super::Routes;
use super::session::{Failed, Route};
use crate::engine::{Content, Entry, Error, View};
use crate::error_kind::{Failure, Kind};

/// The most that goes to the client at a time, in bytes: what came while it read the last.
const CHUNK: usize = 512 * 1024;

/// How long it may take to pass over what comes before the wanted range of a blob. A client that hears
/// nothing gives up when its timeout is over, and would do so each time that it asks for this range.
/// Nothing is lost by the whole: a registry is asked for nothing else.
const PASSES_OVER: Duration = Duration::from_secs(5);

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<Body>;

/// Answers one request, from the route that its path leads to. What fails is answered, too.
pub(super) async fn answer(
    routes: Routes,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(answer);
    }
    let path = request.uri().path();
    let there = |route: &Arc<Route>| Some((Arc::clone(route), route.location(path)?));
    let Some((route, location)) = routes.iter().find_map(there) else {
        if let Some(route) = routes.first() {
            route.note_astray(&format!("{path:?}, which the metadata lead to, is outside of it"));
        }
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    let range = request.headers().get(RANGE);
    tracing::debug!(location, method = %request.method(), ?range, "asked for");
    if let Some(failed) = route.failed(&location) {
        return Ok(refusal(&failed));
    }
    let (kind, line) = match &route.view {
        Ok(view) => match serve(&route, view, &location, &request).await {
            Ok(answer) => return Ok(answer),
            Err(error) => (error.kind(), error.to_string()),
        },
        Err(line) => (Kind::InvalidReference, line.clone()),
    };
    Ok(refusal(&route.note(&location, status(kind), line)))
}

/// Serves what there is. There are no validators (RFC 9110, 8.8): librepo knows what it has by its
/// checksum, and asks for none.
async fn serve(
    route: &Arc<Route>,
    view: &Arc<View>,
    location: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Error> {
    let found = view.find(location).await?;
    let size = found.size;
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let mut range = range.map_or(ByteRange::Whole, |range| ByteRange::parse(range, size));
    if range == ByteRange::Outside {
        let mut answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
        set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
        return Ok(answer);
    }
    let body = match *request.method() {
        Method::HEAD => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        _ => {
            let content;
            (content, range) = open(view, location, found, range).await?;
            let (route, view) = (Arc::clone(route), Arc::clone(view));
            let location = location.to_owned();
            let left = range.length(size);
            body(Sending { route, view, location, content, left })
        }
    };
    let mut answer = Response::new(body);
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, CONTENT_LENGTH, &range.length(size).to_string());
    set(&mut answer, CONTENT_TYPE, "application/octet-stream");
    if let ByteRange::Of(first, last) = range {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    Ok(answer)
}

/// What of a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteRange {
    Whole,
    /// From byte to byte, both inclusive.
    Of(u64, u64),
    Outside,
}

impl ByteRange {
    /// Reads a Range header. What is not understood, or has several ranges, means the whole file,
    /// as RFC 9110 allows.
    fn parse(range: &str, size: u64) -> Self {
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|set| set.split_once('-'))
        else {
            return Self::Whole;
        };
        let end = size.saturating_sub(1);
        let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => (first, last.min(end)),
            (Ok(first), Err(_)) if last.is_empty() => (first, end),
            (Err(_), Ok(length)) if first.is_empty() && length > 0 => {
                (size.saturating_sub(length), end)
            }
            _ => return Self::Whole,
        };
        if first < size { Self::Of(first, last) } else { Self::Outside }
    }

    /// Where it begins.
    fn first(self) -> u64 {
        if let Self::Of(first, _) = self { first } else { 0 }
    }

    /// How long it is, of a file of that size.
    fn length(self, size: u64) -> u64 {
        match self {
            Self::Whole => size,
            Self::Of(first, last) => last - first + 1,
            Self::Outside => 0,
        }
    }
}

/// A stream of content that is being sent.
struct Sending {
    route: Arc<Route>,
    view: Arc<View>,
    location: String,
    content: Content,
    /// Bytes still to be sent.
    left: u64,
}

/// Opens what was found at the beginning of the range, or of the whole if it takes long to get there.
async fn open(
    view: &View,
    location: &str,
    found: Entry,
    range: ByteRange,
) -> Result<(Content, ByteRange), Error> {
    let reading = view.read(found, range.first());
    if range.first() == 0 {
        return Ok((reading.await?, range));
    }
    match tokio::time::timeout(PASSES_OVER, reading).await {
        Ok(content) => Ok((content?, range)),
        Err(_) => {
            let found = view.find(location).await?;
            Ok((view.read(found, 0).await?, ByteRange::Whole))
        }
    }
}

fn body(sending: Sending) -> Body {
    let frames = stream::try_unfold(sending, |mut sending| async move {
        let chunk = sending.next().await.map_err(|error| sending.broken(error))?;
        Ok((!chunk.is_empty()).then_some((Frame::data(chunk), sending)))
    });
    StreamBody::new(Box::pin(frames)).boxed_unsync()
}

impl Sending {
    /// The next chunk; the last one only when it is known that all is right, so that a client that
    /// has got everything has got the right thing.
    async fn next(&mut self) -> io::Result<Bytes> {
        let room = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; room];
        let read = self.content.read(&mut chunk).await?;
        if read == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        self.left -= read as u64;
        Ok(chunk.into())
    }

    /// Notes what broke the stream for good; the client sees that it ends early.
    fn broken(&self, error: io::Error) -> io::Error {
        let error = self.view.read_error(error);
        // Where a mirror was to blame, librepo gets it when it asks again.
        if !error.is_mirror_fault() {
            self.route.note(&self.location, status(error.kind()), error.to_string());
        }
        io::Error::other(error)
    }
}

/// The status that says the same as a kind of failure.
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

fn refusal(failed: &Failed) -> Answer {
    let line = format!("{}\n", failed.line);
    let mut answer = Response::new(Full::from(line).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = failed.status;
    set(&mut answer, CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn set(answer: &mut Answer, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ranges_mean() {
        for (range, expected) in [
            ("bytes=0-", ByteRange::Of(0, 99)),
            ("bytes=40-", ByteRange::Of(40, 99)),
            ("bytes=40-49", ByteRange::Of(40, 49)),
            ("bytes=40-1000", ByteRange::Of(40, 99)),
            ("bytes=-10", ByteRange::Of(90, 99)),
            ("bytes=100-", ByteRange::Outside),
            ("bytes=5-4", ByteRange::Whole),
            ("bytes=0-1,4-5", ByteRange::Whole),
            ("lines=1-2", ByteRange::Whole),
        ] {
            assert_eq!(ByteRange::parse(range, 100), expected, "{range}");
        }
    }
}
