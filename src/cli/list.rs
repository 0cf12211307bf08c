//! `dnf5-oci list` and `diff`: what references lead to, and what two have of each other.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use super::publishing::{Common, Output, run_async, size};
use crate::error_kind::{counted, printable};
use crate::publish::{Architecture, Difference, ListedPackage, Listing, PackageChange};
use crate::settings::Settings;
use crate::source::go_arch;

/// Stands for what is not known, or does not apply.
const NONE: &str = "-";

/// List the packages and segments of a repository, with their sizes
///
/// Each package is a line: its name, its size in bytes, its segment and its location, and before them the
/// architecture of the metadata if there is one for each. A line for each segment and a summary follow. --json
/// has the checksums as well, and the packages that have left the metadata.
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// The repository, as in quay.io/acme/rpms:stable
    #[arg(value_name = "REF")]
    reference: String,

    #[command(flatten)]
    common: Common,

    /// List the metadata for this architecture alone
    #[arg(long)]
    arch: Option<String>,
}

/// Compare the packages of two repositories
///
/// A package that only the first one has is a line with "-", one that only the second has a line with "+", and one
/// with the same name and location but other bytes a line with "!". The exit status is 0 whether or not they
/// differ.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DIFF_EXAMPLES)]
pub struct DiffArguments {
    /// The first repository, such as quay.io/acme/rpms@sha256:…
    #[arg(value_name = "REF")]
    old: String,

    /// The second one
    #[arg(value_name = "REF")]
    new: String,

    #[command(flatten)]
    common: Common,

    /// Compare the metadata for this architecture alone
    #[arg(long)]
    arch: Option<String>,
}

const DIFF_EXAMPLES: &str = "\
Examples:
  dnf5-oci diff quay.io/acme/rpms@sha256:0c92... quay.io/acme/rpms:stable";

pub(super) fn list(
    arguments: &ListArguments,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let source = arguments.common.source(&arguments.reference)?;
    let arch = arguments.arch.as_deref().map(go_arch);
    let publisher = super::publisher(settings);
    let listing = run_async(async { publisher.list(&source, arch).await })?;
    Output::new(&arguments.common).result(&listing, |out| describe(out, &listing))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn diff(
    arguments: &DiffArguments,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    let old = arguments.common.source(&arguments.old)?;
    let new = arguments.common.source(&arguments.new)?;
    let arch = arguments.arch.as_deref().map(go_arch);
    let publisher = super::publisher(settings);
    let difference = run_async(async { publisher.diff(&old, &new, arch).await })?;
    Output::new(&arguments.common).result(&difference, |out| describe_diff(out, &difference))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes rows whose columns are aligned: numbers, in the columns that `right` has, to the right. The last one
/// has no end.
fn write_rows(out: &mut dyn Write, rows: &[Vec<String>], right: &[usize]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        for (column, text) in row.iter().enumerate() {
            let width = widths[column];
            match column {
                last if last + 1 == columns => writeln!(out, "{text}")?,
                number if right.contains(&number) => write!(out, "{text:>width$}  ")?,
                _ => write!(out, "{text:<width$}  ")?,
            }
        }
    }
    Ok(())
}

fn describe(out: &mut dyn Write, listing: &Listing) -> io::Result<()> {
    let has_arches = listing.architectures.iter().any(|of_arch| of_arch.arch.is_some());
    let row = |arch: &Option<String>, package: &ListedPackage| {
        let segment = package.segment.clone().unwrap_or_else(|| NONE.to_owned());
        let location = printable(&package.location);
        let columns = [printable(&package.nevra), package.size.to_string(), segment, location];
        arch.iter().cloned().chain(columns).collect::<Vec<_>>()
    };
    let all = listing.architectures.iter();
    let rows: Vec<_> = all
        .flat_map(|Architecture { arch, packages, .. }| {
            packages.iter().map(move |package| row(arch, package))
        })
        .collect();
    write_rows(out, &rows, &[usize::from(has_arches) + 1])?;
    let segments = listing.segments.iter().map(|segment| {
        let (count, bytes) = (counted(segment.packages, "package"), size(segment.bytes));
        let listed = format!("{} in the metadata", segment.listed);
        vec!["segment".to_owned(), printable(&segment.name), count, bytes, listed]
    });
    write_rows(out, &segments.collect::<Vec<_>>(), &[2, 3])?;
    writeln!(out, "Reference: {}", listing.reference)?;
    writeln!(out, "Digest: {}", listing.digest)?;
    if let Some(previous) = &listing.previous {
        writeln!(out, "Previous: {}", printable(previous))?;
    }
    listing.architectures.iter().try_for_each(|of_arch| summarize(out, of_arch))?;
    let segments = &listing.segments;
    if !segments.is_empty() {
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        writeln!(out, "{}, {}", counted(segments.len(), "segment"), size(bytes))?;
    }
    Ok(())
}

fn summarize(out: &mut dyn Write, of_arch: &Architecture) -> io::Result<()> {
    let Architecture { arch, created, packages, removed } = of_arch;
    let arch = arch.as_ref().map(|arch| format!("{}: ", printable(arch))).unwrap_or_default();
    let bytes = packages.iter().map(|package| package.size).sum();
    write!(
        out,
        "{arch}{}, {}, metadata of {created}",
        counted(packages.len(), "package"),
        size(bytes)
    )?;
    match removed.len() {
        0 => writeln!(out),
        count => writeln!(out, "; {} removed from it", counted(count, "package")),
    }
}

fn describe_diff(out: &mut dyn Write, difference: &Difference) -> io::Result<()> {
    let Difference { old, new, changes } = difference;
    let has_arches = changes.iter().any(|change| change.arch.is_some());
    let row = |PackageChange { arch, old, new }: &PackageChange| {
        let (sign, package) = match (old, new) {
            (Some(package), None) => ("-", package),
            (None, Some(package)) => ("+", package),
            (_, Some(package)) => ("!", package),
            (None, None) => return None,
        };
        let arch = has_arches.then(|| arch.clone().unwrap_or_else(|| NONE.to_owned()));
        let size = package.size.to_string();
        let columns = [printable(&package.nevra), size, printable(&package.location)];
        Some([sign.to_owned()].into_iter().chain(arch).chain(columns).collect::<Vec<_>>())
    };
    let rows: Vec<_> = changes.iter().filter_map(row).collect();
    write_rows(out, &rows, &[usize::from(has_arches) + 2])?;
    let count = |sign: &str| rows.iter().filter(|row| row[0] == sign).count();
    let total = |packages, bytes| format!("{}, {}", counted(packages, "package"), size(bytes));
    writeln!(
        out,
        "{} added, {} removed, {} changed; before: {}; after: {}",
        count("+"),
        count("-"),
        count("!"),
        total(old.packages, old.bytes),
        total(new.packages, new.bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a-1", "5", "-", "b/a 1.rpm"], ["längs-2", "1234", "s1", "x.rpm"]];
        let rows: Vec<_> = rows.map(|row| row.map(str::to_owned).to_vec()).into();
        let mut out = Vec::new();
        write_rows(&mut out, &rows, &[1]).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text, "a-1         5  -   b/a 1.rpm\nlängs-2  1234  s1  x.rpm\n");
        write_rows(&mut Vec::new(), &[], &[1]).expect("nothing to write");
    }
}
