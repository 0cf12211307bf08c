//! The URLs of references, and of the proxies to them.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::reference::SCHEME;
use crate::source::Source;

/// The host name of the gateway. RFC 9476 keeps names below alt out of the DNS, so it never resolves. A
/// name below localhost would not do: many users have localhost in `$no_proxy`.
pub(super) const HOST: &str = "dnf5-oci.alt";

/// Characters that stay unescaped in the path of a URL.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b':').remove(b'@').remove(b'.').remove(b'-').remove(b'_');

/// The baseurl that replaces a reference. DNF names the repository's cache directory after it.
pub fn baseurl(source: &Source) -> String {
    of_path(&path(&source.reference.to_string(), source.access.arch.as_deref()))
}

/// The URL of a path, without the slash at its end.
pub(super) fn of_path(path: &str) -> String {
    format!("http://{HOST}{}", path.trim_end_matches('/'))
}

/// The URL path of a repository, with a slash at both ends: the reference and the architecture, unless it is
/// the machine's. In an image index each architecture can have its own metadata, so each needs its own cache
/// directory. No slash follows the tag in a reference, so the architecture cannot be taken for a part of it.
pub(super) fn path(reference: &str, arch: Option<&str>) -> String {
    let name = reference.strip_prefix(SCHEME).unwrap_or(reference).trim_end_matches('/');
    let name = utf8_percent_encode(name, PATH);
    match arch {
        Some(arch) => format!("/{name}/{}/", utf8_percent_encode(arch, PATH)),
        None => format!("/{name}/"),
    }
}

/// The URL of a file of a repository.
pub(super) fn of_file(baseurl: &str, path: &str) -> String {
    format!("{baseurl}/{}", utf8_percent_encode(path, PATH))
}

/// The reference that a URL stands for, if it is one that dnf5 shows in place of a reference.
pub(super) fn as_reference(url: &str) -> Cow<'_, str> {
    let path =
        url.strip_prefix("http://").and_then(|rest| rest.strip_prefix(HOST)?.strip_prefix('/'));
    match path.map(|path| percent_decode_str(path).decode_utf8_lossy()) {
        Some(decoded) => Cow::Owned(format!("{SCHEME}{decoded}")),
        None => Cow::Borrowed(url),
    }
}

/// The proxy URL of a Unix socket: libcurl takes the path of a socks5h://localhost URL for the socket's.
pub(super) fn proxy(socket: &Path) -> String {
    format!("socks5h://localhost{}", utf8_percent_encode(&socket.to_string_lossy(), PATH))
}

/// The proxy URL of an address.
pub(super) fn proxy_at(address: SocketAddr) -> String {
    format!("socks5h://{address}")
}

/// The proxy URL of an address, with a user name. libcurl sends none without a password, which is ignored.
pub(super) fn proxy_with_user(address: SocketAddr, user: &str) -> String {
    format!("socks5h://{user}:-@{address}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn urls_are_stable_and_plain() {
        for (reference, expected) in [
            ("oci://quay.io/acme/rpms:stable", "/quay.io/acme/rpms:stable/"),
            ("oci://localhost:5000/a-b/c_d", "/localhost:5000/a-b/c_d:latest/"),
            ("oci://[::1]:5000/a:1", "/%5B::1%5D:5000/a:1/"),
            ("oci:///srv/my mirror:1", "//srv/my%20mirror:1/"),
        ] {
            let reference: Reference = reference.parse().expect(reference);
            let reference = reference.to_string();
            assert_eq!(path(&reference, None), expected);
            assert_eq!(path(&reference, Some("arm64")), format!("{expected}arm64/"));
        }
        assert_eq!(proxy(Path::new("/run/a b/x")), "socks5h://localhost/run/a%20b/x");
    }

    #[test]
    fn a_url_that_dnf5_shows_leads_back_to_the_file() {
        for reference in ["oci://[::1]:5000/a:1", "oci:///srv/my mirror:1"] {
            let shown = of_file(&of_path(&path(reference, None)), "p/ä+1.rpm");
            assert_eq!(as_reference(&shown), format!("{reference}/p/ä+1.rpm"), "{shown}");
        }
        for other in ["oci://quay.io/a:1/b", "http://dnf5-oci.alt.example/a:1/b"] {
            assert_eq!(as_reference(other), other);
        }
    }
}
