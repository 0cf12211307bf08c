//! From a registry's stream to a file of the cache.

use std::io::{Read, Write};

use super::error::Cause;

/// The one buffer that a stream's bytes pass through.
const BUFFER: usize = 128 * 1024;

/// Copies with failures told apart: those of the reader are the registry's, those of the writer
/// the cache's.
pub(crate) fn copy(
    from: &mut (impl Read + ?Sized),
    to: &mut (impl Write + ?Sized),
) -> Result<(), Cause> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).map_err(Cause::reading)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).map_err(Cause::writing)?,
        }
    }
}
