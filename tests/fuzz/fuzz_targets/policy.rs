//! policy.json: the rule for a reference.

#![no_main]

use dnf5_oci::containers_config::policy::Policy;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 8 << 20;

fuzz_target!(|text: &[u8]| {
    for reference in ["oci://quay.io:443/acme/rpms:1", "oci:///srv/mirror:1"] {
        let reference = reference.parse().expect("valid");
        within(MEMORY, || match Policy::parse(text) {
            Ok(policy) => {
                let keys = policy.key_files();
                let rule = policy.into_rule("policy.json".into(), &reference);
                assert!(rule.to_string().starts_with("policy.json, "), "{rule} {keys:?}");
                assert!(!rule.remedy().0.is_empty());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        });
    }
});
