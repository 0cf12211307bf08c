//! The compression of a layer, told by its first bytes: media types are often wrong about it.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// The largest window of a zstd stream, as a power of two: 128 MiB is what the zstd command allows
/// without being told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Buffered before decompression.
const BUFFER: usize = 128 * 1024;

/// How many of the first bytes tell.
const MAGIC: u64 = 4;

/// The content of a stream that may be compressed with gzip or zstd.
pub(crate) fn decompress<'a>(stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    // A network may deliver these few bytes one by one.
    let mut magic = Vec::new();
    stream.by_ref().take(MAGIC).read_to_end(&mut magic)?;
    let source = Cursor::new(magic.clone()).chain(stream);
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        // A frame, or a skippable one, with which pzstd begins.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(source),
    })
}
