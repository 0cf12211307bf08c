//! Requests and responses.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::run::{Failed, Shelf};
use crate::backend::{Content, Error, Found};
use crate::failure::{Failure, Kind};

/// What goes to the client at a time, in bytes: as much as a pipe holds.
const CHUNK: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<Body>;

/// Answers one request. What fails is answered, too.
pub(super) async fn answer(
    shelf: Arc<Shelf>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(answer);
    }
    let Some(location) = shelf.location(request.uri().path()) else {
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    if let Some(failed) = shelf.failed(&location) {
        return Ok(refusal(&failed));
    }
    tracing::debug!(location, method = %request.method(), "asked for");
    Ok(match serve(&shelf, &location, &request).await {
        Ok(answer) => answer,
        Err(error) => refusal(&shelf.note(&location, status(error.kind()), error.to_string())),
    })
}

async fn serve(
    shelf: &Arc<Shelf>,
    location: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Error> {
    let found = shelf.view.find(location).await?;
    let tag =
        format!("\"{}\"", found.tag.replace(|c: char| c == '"' || !c.is_ascii_graphic(), "_"));
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(IF_NONE_MATCH).is_some_and(|tags| tags.contains(&tag)) {
        return Ok(with_tag(empty(StatusCode::NOT_MODIFIED), &tag));
    }
    let (size, mut part) = (found.size, Part::Whole);
    if header(IF_RANGE).is_none_or(|wanted| wanted == tag) {
        part = header(RANGE).map_or(Part::Whole, |range| Part::parse(range, size));
    }
    let (first, length) = match part {
        Part::Whole => (0, size),
        Part::Of(first, last) => (first, last - first + 1),
        Part::Outside => {
            let mut answer = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(answer);
        }
    };
    let body = match *request.method() {
        Method::HEAD => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        _ => body(shelf, location, found, first, length).await?,
    };
    let mut answer = with_tag(Response::new(body), &tag);
    set(&mut answer, CONTENT_LENGTH, &length.to_string());
    set(&mut answer, CONTENT_TYPE, "application/octet-stream");
    if let Part::Of(first, last) = part {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    Ok(answer)
}

/// What of a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From byte to byte, both inclusive.
    Of(u64, u64),
    Outside,
}

impl Part {
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
}

/// A stream of content that is being sent.
struct Sending {
    shelf: Arc<Shelf>,
    location: String,
    content: Content,
    /// Bytes still to be sent.
    left: u64,
    /// Whether the part reaches to the end of the file.
    to_end: bool,
}

async fn body(
    shelf: &Arc<Shelf>,
    location: &str,
    found: Found,
    first: u64,
    length: u64,
) -> Result<Body, Error> {
    let to_end = first + length == found.size;
    let content = shelf.view.read(found, first).await?;
    let (shelf, location) = (Arc::clone(shelf), location.to_owned());
    let sending = Sending { shelf, location, content, left: length, to_end };
    let frames = stream::try_unfold(sending, |mut sending| async move {
        let chunk = sending.next().await.map_err(|error| sending.broken(error))?;
        Ok((!chunk.is_empty()).then_some((Frame::data(chunk), sending)))
    });
    Ok(StreamBody::new(Box::pin(frames)).boxed_unsync())
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
        if self.left == 0 && self.to_end && read > 0 {
            // The content is checked by the read that finds its end.
            self.content.read(&mut [0]).await?;
        }
        Ok(chunk.into())
    }

    /// Notes what broke the stream; the client sees that it ends early.
    fn broken(&self, error: io::Error) -> io::Error {
        let error = self.shelf.view.broken(error);
        self.shelf.note(&self.location, status(error.kind()), error.to_string());
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

fn with_tag(mut answer: Answer, tag: &str) -> Answer {
    set(&mut answer, ETAG, tag);
    set(&mut answer, ACCEPT_RANGES, "bytes");
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
            ("bytes=0-", Part::Of(0, 99)),
            ("bytes=40-", Part::Of(40, 99)),
            ("bytes=40-49", Part::Of(40, 49)),
            ("bytes=40-1000", Part::Of(40, 99)),
            ("bytes=-10", Part::Of(90, 99)),
            ("bytes=100-", Part::Outside),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(Part::parse(range, 100), expected, "{range}");
        }
    }
}
