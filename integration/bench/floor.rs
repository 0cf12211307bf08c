//! The least that fetching can cost: pulls blobs straight through skopeo's proxy and hashes them.
//!
//! `floor PROXIES IMAGE DIGEST...` starts PROXIES skopeo processes, unless there are fewer blobs. Each has the
//! image open, and always has a request while there are blobs.

use std::collections::VecDeque;
use std::error::Error;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use containers_image_proxy::oci_spec::image::Digest;
use containers_image_proxy::{ImageProxy, OpenedImage};
use dnf5_oci::checksum::Checksum;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// Digests of the blobs that are still to be requested.
type Queue = Arc<Mutex<VecDeque<Digest>>>;

/// Requests per proxy: one body flows while the next is requested.
const BODIES: usize = 2;

/// The most that is read and hashed at a time, in bytes.
const CHUNK: usize = 256 * 1024;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("floor PROXIES IMAGE DIGEST...");
    let (proxies, image) = (next()?.parse::<usize>()?, next()?);
    let blobs = arguments.map(|digest| digest.parse()).collect::<Result<VecDeque<Digest>, _>>()?;
    let proxies = proxies.min(blobs.len());
    let blobs = Arc::new(Mutex::new(blobs));
    let mut all = JoinSet::new();
    for _ in 0..proxies {
        all.spawn(pull(image.clone(), Arc::clone(&blobs)));
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

/// Starts a proxy and pulls blobs through it until there are no more.
async fn pull(image: String, blobs: Queue) -> Result<(), Failure> {
    let proxy = Arc::new(ImageProxy::new().await?);
    let image = Arc::new(proxy.open_image(&image).await?);
    let mut bodies = JoinSet::new();
    for _ in 0..BODIES {
        bodies.spawn(pull_bodies(Arc::clone(&proxy), Arc::clone(&image), Arc::clone(&blobs)));
    }
    while let Some(ended) = bodies.join_next().await {
        ended??;
    }
    Ok(())
}

async fn pull_bodies(
    proxy: Arc<ImageProxy>,
    image: Arc<OpenedImage>,
    blobs: Queue,
) -> Result<(), Failure> {
    let next = || blobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(digest) = next() {
        let (_size, body, _end) = proxy.get_raw_blob(&image, &digest).await?;
        let body = body.into_std().await;
        tokio::task::spawn_blocking(move || hash(body, &digest)).await??;
    }
    Ok(())
}

fn hash(mut body: impl Read, digest: &Digest) -> Result<(), Failure> {
    let expected: Checksum = digest.to_string().parse()?;
    let mut hasher = expected.hasher();
    let mut buffer = vec![0; CHUNK];
    loop {
        match body.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    if hasher.finish() == expected { Ok(()) } else { Err(format!("{expected} differs").into()) }
}
