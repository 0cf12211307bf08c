//! Content that a manifest has in the descriptor of a layer: image-spec, descriptor.md, "Embedded Content".

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use containers_image_proxy::oci_spec::image::Descriptor;

use crate::checksum::Checksum;

/// The content of a layer, if its descriptor has the right one and it has at most `limit` bytes.
pub fn embedded(layer: &Descriptor, limit: u64) -> Option<Vec<u8>> {
    let data = layer.data().as_ref()?;
    if layer.size() > limit {
        return None;
    }
    let content = BASE64.decode(data).ok()?;
    let expected: Checksum = layer.digest().as_ref().parse().ok()?;
    let mut hasher = expected.hasher();
    hasher.update(&content);
    (content.len() as u64 == layer.size() && hasher.finish() == expected).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn content(data: Option<&str>, digest: &str, size: u64) -> Option<String> {
        let mut layer = json!({ "mediaType": "text/plain", "digest": digest, "size": size });
        if let Some(data) = data {
            layer["data"] = json!(data);
        }
        let layer = serde_json::from_value(layer).expect("a descriptor");
        embedded(&layer, 100).map(|content| String::from_utf8(content).expect("text"))
    }

    #[test]
    fn only_the_right_content_counts() {
        assert_eq!(content(Some("aGVsbG8="), HELLO, 5).as_deref(), Some("hello"));
        for (data, digest, size) in [
            (None, HELLO, 5),
            (Some("aGVsbG8="), HELLO, 6),
            (Some("aGVsbG8="), &HELLO.replace('c', "d"), 5),
            (Some("SGVsbG8="), HELLO, 5),
            (Some("aGVsbG8"), HELLO, 5),
            (Some("not base64"), HELLO, 5),
            (Some(""), HELLO, 5),
            (Some("aGVsbG8="), HELLO, 101),
            (Some("aGVsbG8="), "crc:00", 5),
        ] {
            assert_eq!(content(data, digest, size), None, "{data:?} {digest} {size}");
        }
    }
}
