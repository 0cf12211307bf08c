//! With the real skopeo, from a local layout.

use dnf5_oci::error_kind::{Failure, Kind};
use dnf5_oci::registry::{Check, Error, Registry, Settings};
use dnf5_oci::source::Access;
use tokio::io::AsyncReadExt;

use super::layout::{Layout, descriptor};
use super::read_all;

#[tokio::test]
async fn a_manifest_and_its_blobs() {
    // More than a pipe holds.
    let large = vec![7; 300_000];
    let layout = Layout::new(&[b"first", &large, b""]);
    let (registry, source) = (Registry::new(Settings::default()), layout.source("stable"));
    let manifest = registry.manifest(&source).await.expect("found");
    let layers = manifest.image.layers();
    assert_eq!(layers.len(), 3);
    for (layer, content) in layers.iter().zip([b"first".as_slice(), &large, b""]) {
        let mut blob = registry.blob(&source, layer, Check::Here).await.expect("found");
        assert_eq!(blob.size(), content.len() as u64);
        assert!(read_all(&mut blob).await.expect("right") == content);
        assert_eq!(blob.read(&mut [0; 8]).await.expect("end of file"), 0);
    }
}

#[tokio::test]
async fn a_moved_tag_is_seen() {
    let layout = Layout::new(&[b"old"]);
    let (registry, source) = (Registry::new(Settings::default()), layout.source("stable"));
    let old = registry.manifest(&source).await.expect("found");
    let moved = layout.tag(&[b"new"]);
    assert_ne!(old.digest, moved);
    assert_eq!(registry.manifest(&source).await.expect("found").digest, moved);
    // The worker has opened the new image.
    let mut blob = registry.blob(&source, &descriptor(b"new"), Check::Here).await.expect("found");
    assert_eq!(read_all(&mut blob).await.expect("right"), b"new");
}

#[tokio::test]
async fn what_is_not_there() {
    let layout = Layout::new(&[b"content"]);
    let registry = Registry::new(Settings::default());
    let error = registry.manifest(&layout.source("other")).await.expect_err("no such tag");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let error = registry
        .blob(&layout.source("stable"), &descriptor(b"elsewhere"), Check::Here)
        .await
        .map(|_| ())
        .expect_err("no such blob");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    // The failures did no harm.
    registry.manifest(&layout.source("stable")).await.expect("found");
}

#[tokio::test]
async fn changed_blobs() {
    let layout = Layout::new(&[b"content"]);
    let (registry, source) = (Registry::new(Settings::default()), layout.source("stable"));
    let layer = descriptor(b"content");
    for (changed, expected) in [
        (b"CONTENT".as_slice(), Kind::DigestMismatch),
        (b"content and more", Kind::DigestMismatch),
        (b"con", Kind::Unreachable),
    ] {
        layout.change(&layer, changed);
        let mut blob = registry.blob(&source, &layer, Check::Here).await.expect("begun");
        let error = read_all(&mut blob).await.expect_err("changed");
        assert_eq!(error.kind(), expected, "{error}");
    }
}

#[tokio::test]
async fn another_architecture_than_the_index_has() {
    let layout = Layout::new(&[b"content"]);
    let mut source = layout.source("stable");
    source.access = Access { arch: Some("s390x".to_owned()), ..Access::default() };
    // There is no index: the manifest is for all architectures.
    Registry::new(Settings::default()).manifest(&source).await.expect("found");
}

#[tokio::test]
async fn its_version() {
    let version = Registry::new(Settings::default()).skopeo_version().await.expect("there is one");
    assert!(version.starts_with("1."), "{version}");
}

#[tokio::test]
async fn no_skopeo() {
    let layout = Layout::new(&[]);
    let settings = Settings { skopeo: "/nonexistent/skopeo".into(), ..Settings::default() };
    let registry = Registry::new(settings);
    let error = registry.manifest(&layout.source("stable")).await.expect_err("nothing to run");
    assert!(matches!(error, Error::SkopeoMissing { .. }), "{error}");
    let error = registry.skopeo_version().await.expect_err("nothing to run");
    assert!(matches!(error, Error::SkopeoMissing { .. }), "{error}");
}
