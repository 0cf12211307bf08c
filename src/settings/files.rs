//! Reading the files, and which of them has set what.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Settings;
use crate::containers_config::toml_line;

/// Why the settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{path}: {reason}", path = .file.display())]
    Unreadable {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// It is no TOML, or has a key or value that means nothing.
    #[error("{path}: line {line}: {reason}", path = .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The settings in force.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The files that have set what differs from the defaults, by dotted key.
    origins: BTreeMap<String, PathBuf>,
}

impl Loaded {
    /// Reads the settings from `file` and its drop-ins. None of them need be there.
    ///
    /// # Errors
    /// If one of them cannot be read, or has anything in it that means nothing.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let mut merged = Table::new();
        let mut origins = BTreeMap::new();
        for file in std::iter::once(file.to_owned()).chain(drop_ins(file)?) {
            let Some(table) = table(&file)? else {
                continue;
            };
            for (key, _) in leaves(&table) {
                origins.insert(key, file.clone());
            }
            merge(&mut merged, table);
        }
        // All of it was valid where it came from.
        let settings = merged.try_into().map_err(|error| invalid(file, "", &error))?;
        Ok(Self { settings, origins })
    }

    /// Every dotted key with its value in TOML's terms, and the file that has set it; none where it
    /// is the default.
    pub fn list(&self) -> Vec<(String, String, Option<&Path>)> {
        let table = Table::try_from(&self.settings).unwrap_or_default();
        let described = |(key, value): (String, &Value)| {
            let origin = self.origins.get(&key).map(PathBuf::as_path);
            (key, value.to_string(), origin)
        };
        leaves(&table).into_iter().map(described).collect()
    }
}

/// `config.toml.d/*.toml` beside `config.toml`, by name.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, Error> {
    let directory = file.with_extension("toml.d");
    let unreadable = |reason| Error::Unreadable { file: directory.clone(), reason };
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = paths.map_err(unreadable)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

/// What a file sets, if it is there.
fn table(file: &Path) -> Result<Option<Table>, Error> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(Error::Unreadable { file: file.to_owned(), reason }),
        Ok(text) => text,
    };
    toml::from_str::<Settings>(&text).map_err(|error| invalid(file, &text, &error))?;
    toml::from_str(&text).map_err(|error| invalid(file, &text, &error)).map(Some)
}

fn invalid(file: &Path, text: &str, error: &toml::de::Error) -> Error {
    Error::Invalid {
        file: file.to_owned(),
        line: toml_line::of(error, text),
        reason: error.message().to_owned(),
    }
}

/// Puts one table over another, key by key.
fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// All values that are no tables, by their dotted keys.
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

    /// What is in force with these files, or what is wrong with them.
    fn read(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let top = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(top.path().join("config.toml.d")).expect("made");
        for (name, text) in files {
            fs::write(top.path().join(name), text).expect("written");
        }
        let place = format!("{}/", top.path().display());
        let loaded = Loaded::read(&top.path().join("config.toml"))
            .map_err(|error| error.to_string().replace(&place, ""))?;
        let line = |(key, value, origin): (String, String, Option<&Path>)| {
            let origin = origin.map(|origin| origin.display().to_string().replace(&place, ""));
            format!("{key} = {value} {}", origin.unwrap_or_default())
        };
        Ok(loaded.list().into_iter().map(line).collect())
    }

    #[test]
    fn without_files_all_is_as_the_layers_have_it() {
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
    fn what_is_read_later_counts() {
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
    fn what_means_nothing_is_named_with_file_and_line() {
        for (text, expected) in [
            ("processes = 2\nproceses = 3\n", "line 2: unknown field `proceses`"),
            ("[seconds]\nstall = 3\nstal = 3\n", "line 3: unknown field `stal`"),
            ("\nprocesses = 0\n", "line 2: invalid value: integer `0`"),
            ("processes = \"x\"\n", "line 1: invalid type: string \"x\""),
            ("environment.\"A=B\" = \"\"\n", "line 1: \"A=B\" can be no variable"),
            ("processes = \n", "line 1: "),
        ] {
            let error = read(&[("config.toml.d/a.toml", text)]).expect_err(text);
            assert!(error.starts_with(&format!("config.toml.d/a.toml: {expected}")), "{error}");
        }
    }
}
