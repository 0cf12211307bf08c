//! References to repositories and to files, and URLs that name files.

#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use dnf5_oci::gateway::fuzzing::invalid_url;
use dnf5_oci::reference::{FileReference, Reference};
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 1 << 20;

/// The longest line that a user sees, in characters.
const MAX_LINE: usize = 300;

fuzz_target!(|text: &str| {
    within(MEMORY, || {
        if let Some(reference) = parse::<Reference>(text) {
            assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
            let skopeo = reference.to_skopeo();
            assert!(skopeo.split(['/', ':', '@']).all(|part| part != ".."), "{skopeo}");
        }
        if let Some(file) = parse::<FileReference>(text) {
            assert!(!file.path.is_empty());
        }
        if let Some(line) = invalid_url(text) {
            assert!(line.lines().count() == 1 && line.chars().count() <= MAX_LINE, "{line}");
        }
    });
});

fn parse<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    text.parse().map_err(|error: T::Err| error.to_string()).ok()
}
