//! primary.xml, compressed or not, and the index of its packages.

#![no_main]

use dnf5_oci::repomd::{Builder, read_primary};
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 8 << 20;

/// The longest location, in bytes.
const MAX_LOCATION: usize = 1024;

fuzz_target!(|xml: &[u8]| {
    within(MEMORY, || {
        let mut index = Builder::new(|| unreachable!("few packages need no file"));
        let mut last = None;
        let result = read_primary(xml, xml.len() as u64, |package| {
            assert!(package.location.len() <= MAX_LOCATION);
            index.add(&package.location, &package);
            last = Some(package.location);
        });
        let index = index.finish().expect("no file");
        if let Some(location) = last {
            assert!(index.get(&location).expect("no file").is_some());
            assert!(index.smallest().is_some());
        }
        if let Err(error) = result {
            assert!(error.to_string().len() <= 8192, "{error}");
        }
    });
});
