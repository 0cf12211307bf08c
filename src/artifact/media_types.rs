//! The names in the layout that `publish` writes: dnf5-oci-layout(7), "Media types".

/// The artifact type of an index, and of a manifest with metadata.
pub const REPOSITORY: &str = "application/vnd.io.github.dnf5-oci.repository.v1";

/// The artifact type of a segment.
pub const SEGMENT: &str = "application/vnd.io.github.dnf5-oci.segment.v1";

/// A layer that is a package.
pub const PACKAGE: &str = "application/x-rpm";

/// A layer that is a file of the metadata, or any other file.
pub const FILE: &str = "application/vnd.io.github.dnf5-oci.file.v1";

/// The layer with the locations of the packages.
pub const LOCATIONS: &str = "application/vnd.io.github.dnf5-oci.locations.v1";

/// The layer with the packages that have left the metadata.
pub const REMOVED: &str = "application/vnd.io.github.dnf5-oci.removed.v1";

/// The config of every manifest: image-spec, manifest.md, "Guidance for an Empty Descriptor".
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The annotation with the file name of a layer: image-spec, annotations.md.
pub const TITLE: &str = "org.opencontainers.image.title";

/// The annotation with the time at which a layer, manifest or index was made: image-spec, annotations.md.
pub const CREATED: &str = "org.opencontainers.image.created";

/// The annotation of the layer with the locations that says how many packages there are.
pub const PACKAGES: &str = "io.github.dnf5-oci.packages";

/// The annotation of the layer with the locations that says how many segments there are.
pub const SEGMENTS: &str = "io.github.dnf5-oci.segments";

pub use crate::source::UNKNOWN;

/// The annotation with the digest of what the tag led to before.
pub const PREVIOUS: &str = "io.github.dnf5-oci.previous";

/// The annotation that skopeo adds to an entry of an index whose manifest has layers compressed with zstd, when
/// it copies the index. With it from the beginning, a copy has the same digest.
pub const ZSTD: &str = "io.github.containers.compression.zstd";
