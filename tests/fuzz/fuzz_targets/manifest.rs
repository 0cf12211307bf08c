//! A manifest, and what its layers are for. Its annotations are the only text in it that we interpret.

#![no_main]

use containers_image_proxy::oci_spec::image::ImageManifest;
use dnf5_oci::artifact::Artifact;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 16 << 20;

fuzz_target!(|json: &[u8]| {
    within(MEMORY, || {
        let Ok(manifest) = ImageManifest::from_reader(json) else {
            return;
        };
        match Artifact::new(&manifest) {
            Ok(artifact) => check(&artifact),
            Err(error) => assert!(error.to_string().len() <= 8192, "{error}"),
        }
    });
});

fn check(artifact: &Artifact) {
    assert!(artifact.root().is_empty() || artifact.root().ends_with('/'));
    assert!(!artifact.repodata().digests().is_empty());
    for name in ["repomd.xml", "a-primary.xml.zst"] {
        // Several layers can have this title.
        let _ = artifact.repodata().file(name);
    }
    for location in ["a.rpm", "Packages/a/a.rpm", "../a.rpm", ""] {
        artifact.package(location);
    }
    for titled in artifact.layers() {
        let digest = titled.layer.digest().to_string();
        assert_eq!(
            artifact.with_digest(&digest).map(|layer| layer.digest().to_string()),
            Some(digest)
        );
        artifact.created(&titled.layer);
        artifact.package(&titled.title);
    }
}
