//! A local OCI image layout (image-spec, image-layout.md) for the real skopeo.

use std::fs;
use std::path::PathBuf;

use containers_image_proxy::oci_spec::image::{Descriptor, Digest, MediaType};
use dnf5_oci::checksum::{Algorithm, Hasher};
use dnf5_oci::source::{Access, Source};
use serde_json::json;
use tempfile::TempDir;

pub struct Layout {
    directory: TempDir,
}

impl Layout {
    /// A layout whose tag `stable` leads to an artifact with these layers.
    pub fn new(layers: &[&[u8]]) -> Self {
        let layout = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir_all(layout.blobs()).expect("created");
        fs::write(layout.path("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())
            .expect("written");
        layout.tag(layers);
        layout
    }

    /// Makes the tag `stable` lead to an artifact with these layers; returns the digest of the manifest.
    pub fn tag(&self, layers: &[&[u8]]) -> Digest {
        let config = self.add(b"{}");
        let layers: Vec<_> = layers.iter().map(|content| self.add(content)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.to_string(),
            "config": config,
            "layers": layers,
        });
        let manifest = self.add(manifest.to_string().as_bytes());
        let digest = manifest.digest().clone();
        let mut entry = serde_json::to_value(&manifest).expect("serializable");
        entry["mediaType"] = MediaType::ImageManifest.to_string().into();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "stable"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(self.path("index.json"), index.to_string()).expect("written");
        digest
    }

    pub fn source(&self, tag: &str) -> Source {
        let reference = format!("oci://{}:{tag}", self.directory.path().display());
        Source { reference: reference.parse().expect("valid"), access: Access::default() }
    }

    /// Replaces the content of a blob.
    pub fn change(&self, blob: &Descriptor, content: &[u8]) {
        fs::write(self.blobs().join(blob.digest().digest()), content).expect("written");
    }

    fn add(&self, content: &[u8]) -> Descriptor {
        let blob = descriptor(content);
        self.change(&blob, content);
        blob
    }

    fn blobs(&self) -> PathBuf {
        self.path("blobs/sha256")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The descriptor of `content`.
pub fn descriptor(content: &[u8]) -> Descriptor {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    let digest: Digest = hasher.finish().to_string().parse().expect("valid");
    Descriptor::new(
        MediaType::Other("application/octet-stream".into()),
        content.len() as u64,
        digest,
    )
}
