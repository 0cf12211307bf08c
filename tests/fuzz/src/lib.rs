//! What the fuzz targets share.

/// Runs `parse`, and panics if it holds more than `limit` bytes at a time: a small input must not become a
/// large one. Memory that C libraries allocate does not count; libFuzzer's own limit covers it.
pub fn within<T>(limit: u64, parse: impl FnOnce() -> T) -> T {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(parse()));
    assert!(used.bytes_max <= limit, "{} bytes of memory, more than {limit}", used.bytes_max);
    result.expect("it ran")
}
