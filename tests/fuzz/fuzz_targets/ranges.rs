//! Range headers. The first line of an input is the size of the file, the second the header.

#![no_main]

use dnf5_oci::gateway::fuzzing::byte_range;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 2 << 20;

fuzz_target!(|text: &str| {
    let Some((size, header)) = text.split_once('\n') else {
        return;
    };
    let Ok(size) = size.parse() else {
        return;
    };
    if let Some(Some(range)) = within(MEMORY, || byte_range(header, size)) {
        assert!(range.start() <= range.end() && *range.end() < size, "{range:?} of {size}");
    }
});
