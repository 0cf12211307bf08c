//! Tar layers, compressed or not, by both rules.

#![no_main]

use std::io;
use std::ops::Range;

use dnf5_oci::artifact::archive::{Error, Limits, Member, Rules, read_archive};
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 8 << 20;

/// Where the magic and the checksum are in a header, which is one block.
const BLOCK: usize = 512;
const MAGIC: Range<usize> = 257..262;
const CHECKSUM: Range<usize> = 148..156;

const LIMITS: Limits = Limits { members: 64, member_size: 1 << 20, total_size: 4 << 20 };

fuzz_target!(|archive: &[u8]| {
    let archive = with_checksums(archive.to_vec());
    for rules in [Rules::Strict, Rules::Lenient] {
        if let Err(error) = within(MEMORY, || read(&archive, rules)) {
            assert!(error.to_string().len() <= 1024, "{error}");
        }
    }
});

/// Corrects the checksums of headers, which no mutation would.
fn with_checksums(mut archive: Vec<u8>) -> Vec<u8> {
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[MAGIC] == *b"ustar") {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

fn read(archive: &[u8], rules: Rules) -> Result<(), Error> {
    let (mut count, mut total) = (0, 0);
    let visit = |member: Member<'_>| {
        count += 1;
        match member {
            Member::File { name, size, content, .. } => {
                check_name(name);
                let read = io::copy(content, &mut io::sink()).unwrap_or_default();
                assert!(read <= size && size <= LIMITS.member_size, "{read} of {size}");
                total += read;
            }
            Member::Link { name, target } => {
                assert_eq!(rules, Rules::Lenient);
                check_name(name);
                check_name(target);
            }
        }
        Ok(())
    };
    let result = read_archive(archive, &LIMITS, rules, visit);
    assert!(count <= LIMITS.members && total <= LIMITS.total_size, "{count} with {total} bytes");
    result
}

fn check_name(name: &str) {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    assert!(name.split('/').all(is_plain) && !name.contains(char::is_control), "{name:?}");
}
