//! auth.json, docker's config.json and .dockercfg, and the secrets in them.

#![no_main]

use dnf5_oci::containers_config::auth::{AuthFile, add_secrets_in};
use dnf5_oci::redact::Secrets;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 8 << 20;

fuzz_target!(|text: &[u8]| {
    within(MEMORY, || {
        match AuthFile::parse(text) {
            Ok(file) => {
                file.covers("docker.io/acme/rpms");
            }
            Err(error) => assert!(error.line() <= text.len() + 1),
        }
        if let Ok(file) = AuthFile::parse_dockercfg(text) {
            // It has hosts alone.
            assert_eq!(file.covers("quay.io/acme/rpms"), file.covers("quay.io"));
        }
        let mut secrets = Secrets::default();
        add_secrets_in(text, &mut secrets);
        let hidden = format!("{secrets:?}").replace("***", "");
        assert!(hidden.chars().all(|c| "Secrets([, ])".contains(c)), "{hidden}");
    });
});
