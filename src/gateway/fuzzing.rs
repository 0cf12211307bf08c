//! What `tests/fuzz` needs.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::route::{Route, RouteTable};
use super::socks::Clients;
use super::{by_url, http, listener};

/// The user name of the only repository. Its reference is invalid, and it has a proxy, so that no connection
/// leaves the process.
pub const USERNAME: &str = "1.0";

/// Serves one connection.
pub fn serve(stream: UnixStream) -> Pin<Box<dyn Future<Output = ()>>> {
    let table = RouteTable::default();
    let route = Route::for_all(Err("invalid".to_owned()));
    table.add(USERNAME, Route { has_proxy: true, ..route });
    Box::pin(async move {
        // Clients see failures as connections that end.
        let _ = listener::serve_one(stream, &Clients::Sessions(Arc::new(table))).await;
    })
}

/// The line for the user about the path of a URL, unless it names a file.
pub fn invalid_url(path: &str) -> Option<String> {
    by_url::parse(path).err()
}

/// The range of a file of this size that a Range header requests: none, all of it, or a part.
pub fn byte_range(header: &str, size: u64) -> Option<Option<RangeInclusive<u64>>> {
    http::byte_range(header, size).ok()
}
