//! The registry layer with the real skopeo, and with a stand-in that fails on demand.
//!
//! These tests need skopeo 1.18 or newer, docker-registry and python3.

mod registry {
    mod copies;
    mod faults;
    mod get_blob;
    mod layout;
    mod ready;
    mod repository;
    mod server;
    mod signatures;
    mod skopeo;
    mod stand_in;

    use dnf5_oci::registry::{Blob, Error};
    use tokio::io::AsyncReadExt;

    /// Reads a blob to its end.
    async fn read_all(blob: &mut Blob) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        // Smaller than any body, so that each is read in several steps.
        let mut buffer = [0; 4];
        loop {
            match blob.read(&mut buffer).await? {
                0 => return Ok(content),
                read => content.extend_from_slice(&buffer[..read]),
            }
        }
    }
}
