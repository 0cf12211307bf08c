//! `dnf5-oci config`: prints the effective settings in the syntax of the file, and where each comes from.

use std::error::Error;
use std::io::Write;

use crate::redact::without_secrets;
use crate::settings::Loaded;

pub(super) fn run(loaded: &Loaded) -> Result<(), Box<dyn Error>> {
    let lines: Vec<_> = loaded
        .list()
        .into_iter()
        .map(|(key, value, origin)| {
            let origin = origin.map_or("default".to_owned(), |file| file.display().to_string());
            (format!("{key} = {}", without_secrets(&value)), origin)
        })
        .collect();
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    for (line, origin) in lines {
        writeln!(out, "{line:width$}  # {origin}")?;
    }
    Ok(())
}
