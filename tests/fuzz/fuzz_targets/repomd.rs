//! repomd.xml.

#![no_main]

use dnf5_oci::repomd::Repomd;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 8 << 20;

fuzz_target!(|xml: &[u8]| {
    match within(MEMORY, || Repomd::parse(xml)) {
        Ok(repomd) => {
            for record in repomd.records {
                let is_plain = !record.name.contains(['/', '\n', '\0']);
                assert!(is_plain && !matches!(&*record.name, "" | "." | ".."), "{record:?}");
            }
        }
        Err(error) => assert!(error.to_string().len() <= 8192, "{error}"),
    }
});
