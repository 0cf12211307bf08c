//! Reading the files, and which file each setting comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Settings;
use crate::config_file::{self, Error};

/// The effective settings.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that each dotted key was last set in; keys with their default value are not listed.
    origins: BTreeMap<String, PathBuf>,
}

impl Loaded {
    /// Reads the settings from `file` and its drop-ins; none of them has to exist.
    ///
    /// # Errors
    /// If a file cannot be read, is not TOML, or has an unknown key or an invalid value.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let mut merged = Table::new();
        let mut origins = BTreeMap::new();
        let drop_ins = config_file::drop_ins(&file.with_extension("toml.d"), ".toml")?;
        for file in std::iter::once(file.to_owned()).chain(drop_ins) {
            let text = config_file::read(&file)?;
            let table = parse(&text).map_err(|reason| Error::new(&file, reason))?;
            origins.extend(leaves(&table).into_iter().map(|(key, _)| (key, file.clone())));
            merge(&mut merged, table);
        }
        let settings = merged
            .try_into()
            .map_err(|error: toml::de::Error| Error::new(file, error.message()))?;
        Ok(Self { settings, origins })
    }

    /// Returns every dotted key with its value in TOML syntax and the file that sets it; `None` if the
    /// value is the default.
    pub fn list(&self) -> Vec<(String, String, Option<&Path>)> {
        let table = Table::try_from(&self.settings).unwrap_or_default();
        let described = |(key, value): (String, &Value)| {
            let origin = self.origins.get(&key).map(PathBuf::as_path);
            (key, value.to_string(), origin)
        };
        leaves(&table).into_iter().map(described).collect()
    }
}

/// Parses one file, so that an error has the line.
fn parse(text: &str) -> Result<Table, String> {
    let described = |error| config_file::describe(&error, text);
    toml::from_str::<Settings>(text).map_err(described)?;
    toml::from_str(text).map_err(described)
}

/// Merges one table into another; its values replace those with the same key.
fn merge(base: &mut Table, other: Table) {
    for (key, value) in other {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(other)) => merge(base, other),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Returns all values that are not tables, by their dotted keys.
fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            value => found.push((key.clone(), value)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Returns the effective settings with these files, or the error.
    fn read(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let top = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(top.path().join("config.toml.d")).expect("made");
        for (name, text) in files {
            fs::write(top.path().join(name), text).expect("written");
        }
        let directory = format!("{}/", top.path().display());
        let loaded = Loaded::read(&top.path().join("config.toml"))
            .map_err(|error| error.to_string().replace(&directory, ""))?;
        let line = |(key, value, origin): (String, String, Option<&Path>)| {
            let origin = origin.map(|origin| origin.display().to_string().replace(&directory, ""));
            format!("{key} = {value} {}", origin.unwrap_or_default())
        };
        Ok(loaded.list().into_iter().map(line).collect())
    }

    #[test]
    fn without_files_the_defaults_of_the_modules_apply() {
        let lines = read(&[]).expect("read");
        assert!(
            lines.contains(&"auth-file = \"/etc/dnf5-oci/auth.json\" ".to_owned()),
            "{lines:?}"
        );
        assert!(lines.contains(&"limits.store-size = 4096 ".to_owned()), "{lines:?}");
        let settings = Settings::default();
        assert_eq!(settings.registry().stall, crate::registry::Settings::default().stall);
        let limits = crate::engine::Settings::default().directory_limits;
        assert_eq!(settings.engine().directory_limits.total_size, limits.total_size);
    }

    #[test]
    fn later_files_override_earlier_ones() {
        let lines = read(&[
            ("config.toml", "processes = 2\n[environment]\nA = \"1\"\nB = \"1\"\n"),
            ("config.toml.d/20.toml", "environment.A = \"3\"\n"),
            ("config.toml.d/10.toml", "processes = 7\nenvironment.A = \"2\"\n"),
            ("config.toml.d/30.toml.off", "nonsense"),
        ])
        .expect("read");
        for line in [
            "processes = 7 config.toml.d/10.toml",
            "environment.A = \"3\" config.toml.d/20.toml",
            "environment.B = \"1\" config.toml",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line} is not in {lines:?}");
        }
    }

    #[test]
    fn an_error_names_file_and_line() {
        for (text, expected) in [
            (
                "processes = 2\nproceses = 3\n",
                "line 2: unknown key \"proceses\", expected one of \"auth-file\"",
            ),
            ("[seconds]\nstall = 3\nstal = 3\n", "line 3: unknown key \"stal\", expected one of"),
            ("\nprocesses = 0\n", "line 2: invalid value: integer `0`"),
            ("processes = \"x\"\n", "line 1: invalid type: string \"x\""),
            ("environment.\"A=B\" = \"\"\n", "line 1: \"A=B\" is not a valid environment variable"),
            ("processes = \n", "line 1: "),
        ] {
            let error = read(&[("config.toml.d/a.toml", text)]).expect_err(text);
            assert!(error.starts_with(&format!("config.toml.d/a.toml: {expected}")), "{error}");
        }
    }
}
