//! A layout with an index, a manifest with metadata, and segments, whose blobs are links to files: what a
//! publisher pushes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnf5_oci::checksum::{Algorithm, Hasher};
use dnf5_oci::source::{Access, Source};
use serde_json::{Value, json};
use tempfile::TempDir;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OWN: &str = "application/vnd.io.github.dnf5-oci";
const TITLE: &str = "org.opencontainers.image.title";

/// The number of packages of a segment.
pub const PACKAGES: usize = 3;

pub struct Repository {
    directory: TempDir,
    pub segments: Vec<String>,
    pub variants: Vec<String>,
    pub metadata: String,
    pub index: String,
}

impl Repository {
    /// A repository with that many segments, of packages with `seed` in them.
    pub fn new(segments: usize, seed: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (mut segments_, mut variants) = (Vec::new(), Vec::new());
        let mut repository = Self {
            directory,
            segments: Vec::new(),
            variants: Vec::new(),
            metadata: String::new(),
            index: String::new(),
        };
        fs::create_dir_all(repository.path("layout/blobs/sha256")).expect("created");
        fs::create_dir_all(repository.path("files")).expect("created");
        fs::write(repository.path("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("written");
        repository.write(b"{}");
        let mut entries = Vec::new();
        for segment in 0..segments {
            let layers: Vec<_> = (0..PACKAGES)
                .map(|number| {
                    let title = format!("Packages/{segment}-{number}.rpm");
                    let content = format!("{seed} {title} ").repeat(1000);
                    repository.layer(content.as_bytes(), "application/x-rpm", &title)
                })
                .collect();
            let mut entry = repository.manifest("segment", &layers);
            let digest = entry["digest"].as_str().expect("a digest").to_owned();
            let variant = format!("s{}", &digest["sha256:".len()..][..16]);
            entry["platform"] =
                json!({"os": "unknown", "architecture": "unknown", "variant": variant});
            segments_.push(digest);
            variants.push(variant);
            entries.push(entry);
        }
        let mut repomd = repository.layer(
            format!("<repomd>{seed}</repomd>").as_bytes(),
            &format!("{OWN}.file.v1"),
            "repodata/repomd.xml",
        );
        repomd["data"] = BASE64.encode(format!("<repomd>{seed}</repomd>")).into();
        let mut layers = vec![repomd];
        for kind in ["locations", "removed"] {
            let content = format!("{kind} {seed}");
            let mut layer = repository.layer(content.as_bytes(), &format!("{OWN}.{kind}.v1"), "");
            layer["annotations"] = json!({"io.github.dnf5-oci.packages": "1"});
            layers.push(layer);
        }
        let metadata = repository.manifest("repository", &layers);
        let manifests = [std::slice::from_ref(&metadata), &entries].concat();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "artifactType": format!("{OWN}.repository.v1"),
            "manifests": manifests,
            "annotations": {"org.opencontainers.image.created": "2026-11-27T00:00:00Z"},
        });
        let mut index = repository.write(index.to_string().as_bytes());
        index["mediaType"] = INDEX.into();
        let text = |entry: &Value| entry["digest"].as_str().expect("a digest").to_owned();
        repository.metadata = text(&metadata);
        repository.index = text(&index);
        let names = (0..segments).map(|number| format!("s{number}"));
        let names = names.chain(["metadata".to_owned(), "index".to_owned()]);
        let all = entries.into_iter().chain([metadata, index]).zip(names);
        let named: Vec<_> = all
            .map(|(mut entry, name)| {
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
                entry
            })
            .collect();
        let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": named});
        fs::write(repository.path("layout/index.json"), top.to_string()).expect("written");
        (repository.segments, repository.variants) = (segments_, variants);
        repository
    }

    /// One of its manifests: `s0`, `metadata`, `index`.
    pub fn source(&self, name: &str) -> Source {
        let layout = self.path("layout");
        let reference = format!("oci://{}:{name}", layout.display());
        Source { reference: reference.parse().expect("valid"), access: Access::default() }
    }

    /// The file that the first package of a segment is.
    pub fn package(&self, segment: usize) -> PathBuf {
        self.path(&format!("files/Packages-{segment}-0.rpm"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn layer(&self, content: &[u8], media_type: &str, title: &str) -> Value {
        let mut layer = descriptor(content);
        let name = if title.is_empty() { media_type } else { title };
        let file = self.path("files").join(name.replace('/', "-"));
        fs::write(&file, content).expect("written");
        let digest = layer["digest"].as_str().expect("a digest");
        let blob = self.path("layout/blobs/sha256").join(&digest["sha256:".len()..]);
        symlink(file, blob).expect("linked");
        layer["mediaType"] = media_type.into();
        layer["annotations"] = json!({TITLE: title});
        layer
    }

    fn manifest(&self, kind: &str, layers: &[Value]) -> Value {
        let artifact_type = format!("{OWN}.{kind}.v1");
        let mut config = descriptor(b"{}");
        config["mediaType"] = "application/vnd.oci.empty.v1+json".into();
        config["data"] = "e30=".into();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": config,
            "layers": layers,
        });
        let mut entry = self.write(manifest.to_string().as_bytes());
        entry["mediaType"] = MANIFEST.into();
        entry["artifactType"] = artifact_type.into();
        entry
    }

    fn write(&self, content: &[u8]) -> Value {
        let descriptor = descriptor(content);
        let digest = descriptor["digest"].as_str().expect("a digest");
        let blob = self.path("layout/blobs/sha256").join(&digest["sha256:".len()..]);
        fs::write(blob, content).expect("written");
        descriptor
    }
}

fn descriptor(content: &[u8]) -> Value {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    json!({"digest": hasher.finish().to_string(), "size": content.len()})
}
