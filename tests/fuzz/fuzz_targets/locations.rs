//! The tables of packages that a published repository has.

#![no_main]

use dnf5_oci::artifact::locations::{Located, Table};
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 8 << 20;

/// The longest location, in bytes.
const MAX_LOCATION: usize = 1024;

fuzz_target!(|table: &[u8]| {
    within(MEMORY, || {
        read(Table::Locations, table);
        read(Table::Removed, table);
    });
});

fn read(table: Table, input: &[u8]) {
    let mut packages: Vec<Located> = Vec::new();
    let result = table.read(input, input.len() as u64, |package| {
        assert!(package.location.len() <= MAX_LOCATION);
        packages.push(package);
    });
    match result {
        Ok(segments) => {
            let written = table.write(&segments, &packages).expect("what was read can be written");
            let mut again = Vec::new();
            let read =
                table.read(&written[..], written.len() as u64, |package| again.push(package));
            assert_eq!((read.expect("valid"), again), (segments, packages));
        }
        Err(error) => assert!(error.to_string().len() <= 8192, "{error}"),
    }
}
