//! `oci://` references: where a repository is.
//!
//! A reference is `oci://HOST[:PORT]/PATH[:TAG][@DIGEST][/]`, or `oci:///DIRECTORY[:TAG]` for a
//! local OCI image layout. The scheme may be in upper case (RFC 3986, 3.1). The part after the scheme has the grammar of the distribution project
//! (distribution/reference), which [`container_image_dist_ref`] parses. oci_spec's parser is a regular
//! expression that takes longer to compile than a whole dnf5 run with cached metadata.

use std::path::{Component, Path, PathBuf};
use std::{fmt, str::FromStr};

use container_image_dist_ref::ImgRef;
use container_image_dist_ref::tag::{self, Tag};

use crate::error_kind::{Failure, Kind, shortened};

/// The scheme of every reference.
pub const SCHEME: &str = "oci://";

/// The tag of a reference without tag and digest, as in podman.
const DEFAULT_TAG: &str = "latest";

/// skopeo's name for this registry, and the parent of paths with one component there.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_PARENT: &str = "library";

/// Stands for what is before an "@" in messages. It may be credentials.
const HIDDEN: &str = "***";

/// The longest part of a message, in characters.
const MAX_SHOWN: usize = 120;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// In a container registry.
    Registry(RegistryReference),
    /// In a local OCI image layout (image-spec, image-layout.md).
    Layout(LayoutReference),
}

/// A repository in a container registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// A repository in a local OCI image layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LayoutReference {
    directory: PathBuf,
    tag: String,
}

/// A file of a repository: `oci://REFERENCE/PATH`. Where the reference has neither tag nor digest, the path is
/// the last part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReference {
    /// The repository.
    pub reference: Reference,
    /// The path of the file, relative to the repository.
    pub path: String,
}

/// Why a text is not a reference; names the offending part.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid reference {}: {}", shortened(&format!("{reference:?}"), MAX_SHOWN), shortened(reason, MAX_SHOWN))]
pub struct InvalidReference {
    reference: String,
    reason: String,
}

impl InvalidReference {
    /// Returns the text without what may be credentials.
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

impl Failure for InvalidReference {
    fn kind(&self) -> Kind {
        Kind::InvalidReference
    }
}

impl Reference {
    /// Returns the reference in skopeo's syntax: containers-transports(5).
    ///
    /// skopeo rejects a reference with both tag and digest. The digest alone decides what is fetched,
    /// so the tag is left out.
    pub fn to_skopeo(&self) -> String {
        match self {
            Self::Registry(registry) => match (&registry.digest, &registry.tag) {
                (Some(digest), _) => format!("docker://{}@{digest}", registry.name()),
                (None, Some(tag)) => format!("docker://{}:{tag}", registry.name()),
                (None, None) => format!("docker://{}", registry.name()),
            },
            Self::Layout(layout) => {
                format!("oci:{}:{}", layout.directory.display(), layout.tag)
            }
        }
    }

    /// Returns the digest that the reference is pinned to, if any.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Self::Registry(registry) => registry.digest(),
            Self::Layout(_) => None,
        }
    }

    /// Returns a reference to the same repository pinned to a digest, in case its tag moves. A layout
    /// cannot be pinned and stays as it is.
    pub fn at_digest(&self, digest: &str) -> Self {
        match self {
            Self::Registry(registry) => Self::Registry(RegistryReference {
                digest: Some(digest.to_owned()),
                ..registry.clone()
            }),
            Self::Layout(_) => self.clone(),
        }
    }
}

impl RegistryReference {
    /// Returns host and port, under which credentials and certificates are filed.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the digest that it is pinned to, if any.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns host, port and path, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Returns the tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the same repository under another tag.
    ///
    /// # Errors
    /// If the tag is not valid.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, InvalidReference> {
        format!("{SCHEME}{}:{tag}", self.name()).parse()
    }
}

impl LayoutReference {
    /// Returns the directory of the layout.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the name of the manifest or index in it.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let parsed = match credentials_end(rest) {
            Some(end) => Err((
                format!("{HIDDEN}{}", &rest[end..]),
                "it must not contain credentials: use \"podman login\"; only a digest may follow \"@\""
                    .to_owned(),
            )),
            None => parse(scheme, rest).map_err(|reason| (rest.to_owned(), reason)),
        };
        parsed.map_err(|(rest, reason)| {
            let separator = if scheme.is_empty() { "" } else { "://" };
            InvalidReference { reference: format!("{scheme}{separator}{rest}"), reason }
        })
    }
}

impl FromStr for FileReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((reference, path)) = split_file(text) else {
            // It may be no reference at all, and then have credentials, which must not be shown.
            return Err(InvalidReference {
                reference: text.parse::<Reference>()?.to_string(),
                reason: "no path of a file follows, as in oci://quay.io/acme/rpms:stable/KEY.asc"
                    .to_owned(),
            });
        };
        Ok(Self { reference: reference.parse()?, path: path.to_owned() })
    }
}

fn split_file(text: &str) -> Option<(&str, &str)> {
    let host = text.find("://")? + 3;
    let name = host + text[host..].find('/')?;
    let slash = match text[name..].find([':', '@']) {
        Some(tag) => name + tag + text[name + tag..].find('/')?,
        None => text.rfind('/')?,
    };
    let (reference, path) = (&text[..slash], &text[slash + 1..]);
    (!path.is_empty()).then_some((reference, path))
}

/// Returns where the "@" is that ends what may be credentials, which may contain any character. A digest
/// follows no other "@", except in the path of a layout, which has no colon.
fn credentials_end(rest: &str) -> Option<usize> {
    let is_layout = rest.starts_with('/');
    let ends = rest.match_indices('@').chain(rest.match_indices("%40"));
    ends.filter(|(at, text)| {
        let (before, after) = (&rest[..*at], &rest[at + text.len()..]);
        let is_digest = after.starts_with("sha") && after.contains(':') && !after.contains('/');
        !after.is_empty() && !is_digest && (!is_layout || before.contains(':'))
    })
    .map(|(at, _)| at)
    .max()
}

fn parse(scheme: &str, rest: &str) -> Result<Reference, String> {
    if !format!("{scheme}://").eq_ignore_ascii_case(SCHEME) {
        return Err(match scheme {
            "" => format!("it does not start with {SCHEME:?}"),
            _ => format!("the scheme {scheme:?} is not \"oci\""),
        });
    }
    let rest = rest.trim_end_matches('/');
    if rest.starts_with('/') {
        parse_layout(rest).map(Reference::Layout)
    } else {
        parse_registry(rest).map(Reference::Registry)
    }
}

fn parse_layout(rest: &str) -> Result<LayoutReference, String> {
    let (directory, tag) = match rest.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') => (directory, tag),
        _ => (rest, DEFAULT_TAG),
    };
    if directory.contains(':') {
        // skopeo's syntax, oci:DIRECTORY:TAG, has no way to escape it.
        return Err(format!("the directory {directory:?} contains a colon"));
    }
    check_tag(tag)?;
    let path = Path::new(directory);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("the directory {directory:?} contains \"..\""));
    }
    Ok(LayoutReference { directory: path.to_owned(), tag: tag.to_owned() })
}

/// Checks a tag. A layout's tag has the same grammar as a registry's.
fn check_tag(tag: &str) -> Result<(), String> {
    match Tag::new(tag) {
        // The parser stops where a digest could follow, and does not check the length.
        Ok(parsed) if parsed.to_str() == tag && tag.len() <= tag::MAX_LEN.get().into() => Ok(()),
        _ => Err(format!("the tag {tag:?} is not valid")),
    }
}

fn parse_registry(rest: &str) -> Result<RegistryReference, String> {
    let (host, path) = rest
        .split_once('/')
        .filter(|(host, path)| !host.is_empty() && !path.is_empty())
        .ok_or("a registry host and a path are required, as in oci://quay.io/acme/rpms:stable")?;
    if path.split(['/', ':', '@']).any(|part| part == "..") {
        return Err(format!("the path {path:?} contains \"..\""));
    }
    if !host.contains(['.', ':']) && host != "localhost" {
        return Err(format!(
            "{host:?} is not a registry host, and short names are not resolved; write the host, as in \
             oci://quay.io/{rest}"
        ));
    }
    let parsed = with_host(rest).ok_or_else(|| reason(host, path))?;
    let tag = parsed.tag();
    tag.map_or(Ok(()), check_tag)?;
    let digest = parsed.digest().map(|digest| digest.to_str().to_owned());
    let (host, path) = normalized(host, parsed.path().to_str());
    Ok(RegistryReference {
        host,
        path,
        tag: tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned),
        digest,
    })
}

/// Returns host and path as skopeo normalizes them.
fn normalized(host: &str, path: &str) -> (String, String) {
    let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
    let path = match path.contains('/') {
        false if host == DOCKER_HUB => format!("{DOCKER_HUB_PARENT}/{path}"),
        _ => path.to_owned(),
    };
    (host.to_owned(), path)
}

/// Parses a reference with a host. The parser would take an invalid host for a part of the path.
fn with_host(text: &str) -> Option<ImgRef<'_>> {
    ImgRef::new(text).ok().filter(|parsed| parsed.domain().is_some())
}

/// Explains which part is not valid, and why if it is a common mistake.
fn reason(host: &str, path: &str) -> String {
    let (named, digest) = path.split_once('@').unwrap_or((path, ""));
    let (name, tag) = named.split_once(':').unwrap_or((named, DEFAULT_TAG));
    if with_host(&format!("{host}/name")).is_none() {
        return match host.starts_with('[') {
            true => format!("the host {host:?} is not an IPv6 address"),
            false => format!("the host {host:?} is not valid"),
        };
    }
    if name.chars().any(char::is_uppercase) {
        return format!("the path {name:?} must be lower case");
    }
    if with_host(&format!("{host}/{name}")).is_none() {
        return format!("the path {name:?} is not valid");
    }
    match tag {
        "" => "the tag is empty".to_owned(),
        tag if check_tag(tag).is_err() => format!("the tag {tag:?} is not valid"),
        _ => format!("the digest {digest:?} is not valid"),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(registry) => {
                write!(f, "{SCHEME}{}", registry.name())?;
                if let Some(tag) = &registry.tag {
                    write!(f, ":{tag}")?;
                }
                if let Some(digest) = &registry.digest {
                    write!(f, "@{digest}")?;
                }
                Ok(())
            }
            Self::Layout(layout) => {
                write!(f, "{SCHEME}{}:{}", layout.directory.display(), layout.tag)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn skopeo(text: &str) -> String {
        text.parse::<Reference>().expect(text).to_skopeo()
    }

    #[test]
    fn what_a_reference_means_to_skopeo() {
        for (text, expected) in [
            ("oci://quay.io/acme/rpms:stable", "docker://quay.io/acme/rpms:stable"),
            ("oci://quay.io/acme/rpms", "docker://quay.io/acme/rpms:latest"),
            ("oci://quay.io/acme/rpms/", "docker://quay.io/acme/rpms:latest"),
            ("OCI://quay.io/acme/rpms", "docker://quay.io/acme/rpms:latest"),
            ("Oci:///srv/Mirror", "oci:/srv/Mirror:latest"),
            ("oci://localhost/rpms:1", "docker://localhost/rpms:1"),
            ("oci://docker.io/rpms", "docker://docker.io/library/rpms:latest"),
            ("oci://index.docker.io/acme/rpms", "docker://docker.io/acme/rpms:latest"),
            ("oci://localhost:5000/a/b/c_d-e:v1.0/", "docker://localhost:5000/a/b/c_d-e:v1.0"),
            ("oci://127.0.0.1:5000/rpms", "docker://127.0.0.1:5000/rpms:latest"),
            ("oci://[::1]:5000/rpms:x", "docker://[::1]:5000/rpms:x"),
            ("oci://[fe80::1]/rpms", "docker://[fe80::1]/rpms:latest"),
            ("oci:///srv/mirror", "oci:/srv/mirror:latest"),
            ("oci:///srv/mirror/:42/", "oci:/srv/mirror/:42"),
            ("oci:///srv/mirror:42", "oci:/srv/mirror:42"),
        ] {
            assert_eq!(skopeo(text), expected, "{text}");
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let both = format!("oci://quay.io/acme/rpms:stable@{DIGEST}");
        assert_eq!(skopeo(&both), format!("docker://quay.io/acme/rpms@{DIGEST}"));
        let reference: Reference = both.parse().expect("valid");
        assert_eq!(reference.digest(), Some(DIGEST));
        assert_eq!(reference.to_string(), both);
        let only = format!("oci://quay.io/acme/rpms@{DIGEST}");
        assert_eq!(skopeo(&only), format!("docker://quay.io/acme/rpms@{DIGEST}"));
    }

    #[test]
    fn what_is_rejected_and_why() {
        for (text, reason) in [
            ("https://quay.io/acme/rpms", "the scheme \"https\" is not \"oci\""),
            ("quay.io/acme/rpms", "does not start with"),
            ("oci://", "a registry host and a path are required"),
            ("oci://quay.io", "a registry host and a path are required"),
            ("oci://acme/rpms", "\"acme\" is not a registry host"),
            ("oci://quay.io/Acme/rpms", "must be lower case"),
            ("oci://quay.io/acme/rpms:", "the tag is empty"),
            ("oci://quay.io/acme/rpms:-x", "the tag \"-x\" is not valid"),
            ("oci://quay.io/acme/../rpms", "contains \"..\""),
            ("oci://quay.io/acme/rpms:..", "contains \"..\""),
            ("oci://quay.io/acme/rpms@sha256:abc", "the digest \"sha256:abc\" is not valid"),
            ("oci://quay.io/acme/rpms@", "the digest \"\" is not valid"),
            ("oci://quay_io.x/acme/rpms", "the host \"quay_io.x\" is not valid"),
            ("oci://quay.io:x/acme/rpms", "the host \"quay.io:x\" is not valid"),
            ("oci://quay.io/acme//rpms", "the path \"acme//rpms\" is not valid"),
            ("oci://quay.io/ä/rpms:ä", "the path \"ä/rpms\" is not valid"),
            ("oci://[::zz]:5000/rpms", "not an IPv6 address"),
            ("oci://[::1]x/rpms", "not an IPv6 address"),
            ("oci:///srv/../etc", "contains \"..\""),
            ("oci:///srv/mirror:", "the tag \"\" is not valid"),
            ("oci:///srv/a:b/c:1", "contains a colon"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn lengths_are_limited_as_in_the_grammar() {
        let of = |name: usize, tag: usize| {
            format!("oci://a.b/{}:{}", "n".repeat(name), "t".repeat(tag)).parse::<Reference>()
        };
        assert!(of(251, 128).is_ok());
        assert!(of(252, 1).is_err());
        assert!(of(1, 129).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(rest in "[ -~ä]{0,60}") {
            let _ = format!("oci://{rest}").parse::<Reference>();
        }

        #[test]
        fn a_valid_reference_is_shown_as_it_was_written(
            rest in "(a\\.b|\\[::1\\]|localhost)(:[0-9]{1,3})?(/[a-z0-9._-]{1,4}){1,3}(:[A-Za-z0-9._-]{1,4})?(@sha256:[0-9a-f]{30,34})?"
        ) {
            if let Ok(reference) = format!("oci://{rest}").parse::<Reference>() {
                let shown = reference.to_string();
                let default = format!("oci://{rest}:{DEFAULT_TAG}");
                prop_assert!(shown == format!("oci://{rest}") || shown == default, "{}", shown);
            }
        }
    }

    #[test]
    fn credentials_in_a_reference_are_rejected_and_not_shown() {
        for text in [
            "oci://user:secret@quay.io/acme/rpms",
            "oci://secret@quay.io/acme/rpms",
            "oci://user:secret/secret@quay.io:5000/acme/rpms:1",
            "oci://user:secret@quay.io/acme/rpms@sha256:abc",
            "oci://user:a@sha256:secret@quay.io/acme/rpms",
            "oci://user%3Asecret%40quay.io/acme/rpms",
            "OCI://user:secret?#@[::1]/acme/rpms",
            "oci:///user:secret@quay.io/acme/rpms",
            "oci://quay.io/acme/secret@latest",
            "user:secret@quay.io/acme/rpms",
        ] {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(error.to_string().contains("podman login"), "{error}");
            assert!(
                !format!("{error:?} {error} {}", error.reference()).contains("secret"),
                "{error}"
            );
        }
        let layout = "oci:///srv/a@b/c:1".parse::<Reference>().expect("a path");
        assert_eq!(layout.to_string(), "oci:///srv/a@b/c:1");
    }

    #[test]
    fn a_message_about_a_long_reference_is_short() {
        for text in
            [format!("oci://{}", "x".repeat(5000)), format!("oci://a.b/{}", "\u{1}".repeat(900))]
        {
            let error = text.parse::<Reference>().expect_err("invalid").to_string();
            assert!(error.chars().count() < 2 * MAX_SHOWN + 30, "{error}");
        }
    }

    #[test]
    fn the_path_of_a_file_follows_tag_and_digest() {
        let pinned = format!("oci://quay.io/acme/rpms@{DIGEST}");
        for (reference, path) in [
            ("oci://quay.io/acme/rpms:stable", "KEY.asc"),
            ("oci://localhost:5000/acme/rpms:1", "p/a:b.rpm"),
            ("oci:///srv/my mirror:1", "p/ä.rpm"),
            (&pinned, "p/a.rpm"),
            ("oci://localhost:5000/rpms", "KEY.asc"),
        ] {
            let file: FileReference = format!("{reference}/{path}").parse().expect(reference);
            assert_eq!(file.reference, reference.parse().expect(reference));
            assert_eq!(file.path, path);
        }
        for text in ["oci://quay.io/acme/rpms:1", "oci://quay.io/acme/rpms:1/"] {
            let error = text.parse::<FileReference>().expect_err(text).to_string();
            assert!(error.contains("no path of a file follows"), "{error}");
        }
        for text in ["KEY.asc", "oci://quay.io", "oci://user:secret@quay.io/acme/rpms:1/KEY.asc"] {
            let error = text.parse::<FileReference>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
