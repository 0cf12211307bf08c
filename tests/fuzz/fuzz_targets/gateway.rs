//! A client's bytes, from the SOCKS handshake on, over a socket pair.

#![no_main]

use std::sync::LazyLock;

use dnf5_oci::gateway::fuzzing::serve;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

const MEMORY: u64 = 8 << 20;

/// The longest reply to a byte: to a request of HTTP that is as short as can be.
const REPLY: usize = 64;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

fuzz_target!(|sent: &[u8]| {
    let received = within(MEMORY, || RUNTIME.block_on(exchange(sent)));
    assert!(received <= REPLY * (sent.len() + 1), "{received} bytes for {}", sent.len());
});

/// Sends these bytes, and returns how many the gateway has sent when it ends the connection.
async fn exchange(sent: &[u8]) -> usize {
    let (client, server) = UnixStream::pair().expect("a socket pair");
    let talk = async {
        let (mut reader, mut writer) = client.into_split();
        let write = async {
            // The gateway can end the connection before.
            let _ = writer.write_all(sent).await;
            let _ = writer.shutdown().await;
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut received));
        // It also resets it, if it has not read everything.
        read.map_or(0, |_| received.len())
    };
    tokio::join!(serve(server), talk).1
}
