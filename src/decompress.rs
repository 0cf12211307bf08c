//! Streams that may be compressed: decompressed, bounded, and with the stream's own failures apart.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::rc::Rc;
use std::sync::{Condvar, Mutex, PoisonError};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{self, CONCATENATED, Stream};

/// The largest window of a zstd stream, as a power of two: 8 MiB, which all decoders should support
/// (RFC 8878, 3.1.1.1.2). `zstd` exceeds it only with `--ultra` and `--long`.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much memory an xz stream may take, in bytes: enough for a dictionary of 8 MiB, which is what `xz -6`
/// and createrepo_c use.
const XZ_MEMORY: u64 = 10 << 20;

/// How many zstd and xz decoders exist at a time. Each may take some 10 MB; the others wait.
const DECODERS: usize = 4;

/// How much content may expand to whatever its size, in bytes.
const EXPANSION_BASE: u64 = 64 << 20;

/// How many times its own size larger content may expand to. Metadata reach 30, packages hardly 2.
const EXPANSION_RATIO: u64 = 200;

/// Size of the buffer before the decompressor, in bytes.
const BUFFER: usize = 128 * 1024;

/// Size of the longest magic number, in bytes. bzip2's own is so short that a tar could begin with it; that
/// of its first block follows.
const MAGIC: u64 = 10;

/// The limit for content of this compressed size that may expand to `most` bytes.
pub(crate) fn expansion_limit(compressed: u64, most: u64) -> u64 {
    most.min(EXPANSION_BASE.saturating_add(compressed.saturating_mul(EXPANSION_RATIO)))
}

/// The content of a stream that may be compressed with gzip, zstd, xz or bzip2. The first bytes decide:
/// media types and file names are often wrong.
pub(crate) fn decompress<'a>(stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    // A network may deliver these few bytes one by one.
    let mut magic = Vec::new();
    stream.by_ref().take(MAGIC).read_to_end(&mut magic)?;
    let source = Cursor::new(magic.clone()).chain(stream);
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        // A frame, or a skippable one, with which pzstd begins.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let slot = Slot::take();
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(Modest { decoder, _slot: slot })
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let slot = Slot::take();
            let decoder = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(Modest { decoder: XzDecoder::new_stream(source, decoder), _slot: slot })
        }
        [b'B', b'Z', b'h', _, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59] => {
            Box::new(MultiBzDecoder::new(source))
        }
        _ => Box::new(source),
    })
}

/// A decoder that takes much memory, up to a limit.
struct Modest<R> {
    decoder: R,
    _slot: Slot,
}

impl<R: Read> Read for Modest<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let explained = |error| if is_memory(&error) { io::Error::other(TOO_LARGE) } else { error };
        self.decoder.read(buffer).map_err(explained)
    }
}

const TOO_LARGE: &str = "its zstd window or xz dictionary is larger than 8 MiB; have its owner compress it \
                         with zstd without --ultra and --long, or with xz -6";

/// The right to one of the [`DECODERS`]. Only threads that may block wait for one.
struct Slot;

static TAKEN: Mutex<usize> = Mutex::new(0);
static RELEASED: Condvar = Condvar::new();

impl Slot {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let free = RELEASED.wait_while(taken, |taken| *taken == DECODERS);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        RELEASED.notify_one();
    }
}

/// Whether a decoder has reached its memory limit.
fn is_memory(error: &io::Error) -> bool {
    let xz = error.get_ref().and_then(|inner| inner.downcast_ref::<stream::Error>());
    // The zstd crate passes on the text alone.
    matches!(xz, Some(stream::Error::MemLimit)) || error.to_string().contains("too much memory")
}

/// Keeps the failure of a stream apart from those of its decompressor and parser.
pub(crate) struct ErrorTap<R> {
    stream: R,
    failure: Option<io::Error>,
}

impl<R: Read> ErrorTap<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, failure: None }
    }

    /// Reads the rest of a stream that is bounded, as blobs are. Wrong bytes can look like damage: only a
    /// checksum over the whole stream tells.
    pub(crate) fn drain(&mut self) {
        if self.failure.is_none() {
            // A failure is recorded.
            let _ = io::copy(self, &mut io::sink());
        }
    }

    pub(crate) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}

impl<R: Read> Read for ErrorTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    self.failure = Some(error);
                    return Err(io::Error::new(kind, "the stream failed"));
                }
                read => return read,
            }
        }
    }
}

/// Bounds decompressed content.
pub(crate) struct Bounded<R> {
    content: R,
    limit: u64,
    left: u64,
    budget: HeaderBudget,
    ended: bool,
}

/// The content is longer than this many bytes.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
pub(crate) struct TooLong(pub(crate) u64);

impl<R: Read> Bounded<R> {
    pub(crate) fn new(content: R, limit: u64, budget: HeaderBudget) -> Self {
        Self { content, limit, left: limit, budget, ended: false }
    }

    /// Whether all content has been read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        let too_long = || io::Error::other(TooLong(self.limit));
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_long)?;
        self.budget.spend(read as u64)?;
        Ok(read)
    }
}

/// Bounds what a parser holds in memory at a time: a tar header with its extensions, an XML event.
#[derive(Clone, Default)]
pub(crate) struct HeaderBudget(Rc<Cell<Option<u64>>>);

impl HeaderBudget {
    /// How many bytes one such step may read.
    const LIMIT: u64 = 1 << 20;

    /// Bounds what `step` reads.
    pub(crate) fn during<T>(&self, step: impl FnOnce() -> T) -> T {
        self.0.set(Some(Self::LIMIT));
        let result = step();
        self.0.set(None);
        result
    }

    fn spend(&self, read: u64) -> io::Result<()> {
        let Some(left) = self.0.get() else {
            return Ok(());
        };
        let too_large =
            || io::Error::other(format!("a header or element larger than {} bytes", Self::LIMIT));
        self.0.set(Some(left.checked_sub(read).ok_or_else(too_large)?));
        Ok(())
    }
}
