//! Who is asked for credentials, in registries.conf: `credential-helpers`.

use serde::Deserialize;

use super::Unreadable;
use super::files::{self, Files};

/// What stands for the auth files among the helpers.
const AUTH_FILES: &str = "containers-auth.json";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Document {
    credential_helpers: Vec<String>,
}

/// The programs that are asked for credentials beside the auth files, as `docker-credential-NAME`.
///
/// # Errors
/// If a file cannot be read, or says what skopeo refuses.
pub fn credential_helpers() -> Result<Vec<String>, Unreadable> {
    let files = Files::in_force()?;
    let mut helpers = Vec::new();
    for file in std::iter::once(files.main()).chain(files.drop_ins().iter().map(|file| &**file)) {
        let document: Document = toml::from_str(&files::text(file)?)
            .map_err(|error| Unreadable::new(file, error.message()))?;
        if !document.credential_helpers.is_empty() {
            helpers = document.credential_helpers;
        }
    }
    helpers.retain(|helper| helper != AUTH_FILES);
    Ok(helpers)
}
