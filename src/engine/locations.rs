//! The table of locations of a repository of segments, by which packages are found without the primary metadata.

use std::io::{self, BufWriter, Read, Write};
use std::time::SystemTime;

use super::View;
use super::error::Cause;
use super::reading::run;
use super::unpack::Part;
use crate::artifact::locations::{Located, Search, Table};
use crate::checksum::Algorithm;
use crate::error_kind::{Failure, Kind};
use crate::layer_store::{Layer, StagedFile, StagedLayer};
use crate::repomd::Known;

/// The file with the lines of the packages.
const PACKAGES: &str = "packages";

/// The file with the variants of the segments, separated by spaces.
const SEGMENTS: &str = "segments";

/// A table of locations in the layer store.
pub(super) struct Locations {
    packages: Search,
    layer: Layer,
}

impl Locations {
    fn open(layer: Layer) -> io::Result<Self> {
        let (packages, _) = layer.file(PACKAGES).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { packages: Search::new(packages)?, layer })
    }

    /// The package at this location.
    pub(super) fn get(&self, location: &str) -> Result<Option<Located>, Cause> {
        self.packages.get(location).map_err(Cause::Index)
    }

    /// The smallest package. Reads the whole table.
    pub(super) fn smallest(&self) -> Result<Option<Located>, Cause> {
        self.packages.smallest().map_err(Cause::Index)
    }

    /// The variant of a segment.
    pub(super) fn variant(&self, segment: usize) -> Result<Option<String>, Cause> {
        let Some((file, _)) = self.layer.file(SEGMENTS) else {
            return Ok(None);
        };
        let variants = io::read_to_string(file).map_err(Cause::Index)?;
        Ok(variants.split(' ').nth(segment).map(str::to_owned))
    }
}

impl View {
    /// The table of locations, if the manifest has a valid one. It is fetched once and kept in the layer store.
    pub(super) async fn locations(&self) -> Result<Option<&Locations>, Cause> {
        let open = async || match self.open_locations().await {
            Err(cause) if !is_outage(&cause) => {
                tracing::warn!(
                    "repository {} {}: the locations of its packages cannot be used: {cause}; the primary \
                     metadata is read instead",
                    self.id,
                    self.source.reference
                );
                Ok(None)
            }
            opened => opened,
        };
        Ok(self.locations.get_or_try_init(open).await?.as_ref())
    }

    async fn open_locations(&self) -> Result<Option<Locations>, Cause> {
        let snapshot = self.snapshot().await?;
        let Some(layer) = snapshot.artifact.locations() else {
            return Ok(None);
        };
        let unpacked = self.unpacked(layer, Part::Locations(layer.size())).await?;
        run(move || Locations::open(unpacked).map(Some).map_err(Cause::UnpackedLayer)).await
    }

    /// The package that the manifest has at this location.
    pub(super) async fn located(&self, location: &str) -> Result<Option<Located>, Cause> {
        match self.locations().await? {
            Some(locations) => locations.get(location),
            None => Ok(None),
        }
    }
}

/// Whether the registry does not answer now. It would not send the primary metadata either.
fn is_outage(cause: &Cause) -> bool {
    matches!(cause.kind(), Kind::Unreachable | Kind::Stalled | Kind::Cancelled)
}

/// Checks a table and writes it into a layer.
pub(super) fn unpack(
    table: &mut dyn Read,
    size: u64,
    staged: &StagedLayer<'_>,
) -> Result<(), Cause> {
    let mut packages = BufWriter::new(staged.file(PACKAGES)?);
    let mut written = Ok(());
    let segments = Table::Locations.read(table, size, |package| {
        if written.is_ok() {
            written = writeln!(packages, "{}", Table::Locations.line(&package));
        }
    })?;
    written.map_err(Cause::writing)?;
    finish(packages)?;
    let mut file = BufWriter::new(staged.file(SEGMENTS)?);
    file.write_all(segments.join(" ").as_bytes()).map_err(Cause::writing)?;
    finish(file)
}

fn finish(file: BufWriter<StagedFile<'_, '_>>) -> Result<(), Cause> {
    let file = file.into_inner().map_err(|error| Cause::writing(error.into_error()))?;
    Ok(file.finish(SystemTime::now())?)
}

impl From<Located> for Known {
    fn from(package: Located) -> Self {
        Self { size: package.size, algorithm: Algorithm::Sha256, sha256: Some(package.sha256) }
    }
}
