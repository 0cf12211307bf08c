//! registries.conf: pull sources, and the files that make skopeo skip some of them.

#![no_main]

use dnf5_oci::containers_config::registries::Registries;
use dnf5_oci::reference::{Reference, RegistryReference};
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 16 << 20;

const REFERENCES: [&str; 3] = [
    "oci://quay.io/acme/rpms:1",
    "oci://a.example.com:5000/acme/rpms:1",
    "oci://quay.io/acme/rpms@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

fuzz_target!(|text: &str| {
    within(MEMORY, || match Registries::parse(text.to_owned()) {
        Ok(registries) => REFERENCES.iter().for_each(|reference| check(&registries, reference)),
        Err(error) => assert!(!error.to_string().is_empty()),
    });
});

fn check(registries: &Registries, reference: &str) {
    let Ok(Reference::Registry(reference)) = reference.parse() else {
        unreachable!("it is the reference of a registry");
    };
    let sources = registries.pull_sources(&reference);
    assert!(!sources.is_empty());
    if let Some(entry) = registries.entry(&reference.name()) {
        assert!(!entry.to_string().is_empty());
    }
    for count in [1, 2, sources.len()] {
        check_skipping(registries, &reference, &sources, count);
    }
}

fn check_skipping(
    registries: &Registries,
    reference: &RegistryReference,
    sources: &[String],
    count: usize,
) {
    if let Some(modified) = registries.skipping(reference, count) {
        assert!(count < sources.len());
        let modified = Registries::parse(modified).expect("skopeo can read it");
        assert_eq!(modified.pull_sources(reference), sources);
    }
}
