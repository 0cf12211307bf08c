//! Which scope of policy.json holds for a reference: containers-policy.json(5).
//!
//! skopeo reads the same file, and decides by itself. This module knows where it looks for two
//! reasons: to say in an error which scope has demanded what, and to notice that a key has changed.

use std::collections::HashMap;
use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::containers_config::paths::home;
use crate::reference::Reference;

/// The file of the whole system.
const SYSTEM: &str = "/etc/containers/policy.json";

/// The same below a user's home directory; it stands in for the system's. `$XDG_CONFIG_HOME` plays
/// no part in it.
const USERS: &str = ".config/containers/policy.json";

/// The requirement that is none.
const ACCEPT: &str = "insecureAcceptAnything";

/// What holds for a reference, and where it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    file: PathBuf,
    /// Nothing for the file's default.
    scope: Option<String>,
    requirements: Vec<Requirement>,
    of_layout: bool,
}

/// One of the requirements of a rule; all of them must be met.
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    kind: String,
    keys: Vec<PathBuf>,
}

/// A file that cannot be read; skopeo says so too.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .file.display())]
pub struct Unreadable {
    file: PathBuf,
    reason: String,
}

#[derive(Deserialize)]
struct Document {
    default: Vec<Value>,
    #[serde(default)]
    transports: HashMap<String, HashMap<String, Vec<Value>>>,
}

/// Finds the rule for a reference.
///
/// # Errors
/// If the file cannot be read.
pub fn rule(reference: &Reference) -> Result<Rule, Unreadable> {
    read(&file(), reference)
}

/// The files with keys and certificates that the policy names. skopeo reads them when it has a
/// signature to check.
pub fn key_files() -> Vec<PathBuf> {
    let document = std::fs::read(file()).ok().and_then(|text| serde_json::from_slice(&text).ok());
    document.as_ref().map(paths).unwrap_or_default()
}

/// The file that skopeo reads for the user this process runs as.
fn file() -> PathBuf {
    let users = home().join(USERS);
    if users.exists() { users } else { PathBuf::from(SYSTEM) }
}

fn read(file: &Path, reference: &Reference) -> Result<Rule, Unreadable> {
    let unreadable = |reason| Unreadable { file: file.to_owned(), reason };
    let text = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let mut document: Document =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let scopes = document.transports.get_mut(transport(reference));
    let of_scope = scopes.and_then(|all| {
        scopes_of(reference).into_iter().find_map(|scope| Some((all.remove(&scope)?, scope)))
    });
    let (requirements, scope) = match of_scope {
        Some((requirements, scope)) => (requirements, Some(scope)),
        None => (document.default, None),
    };
    let requirements = requirements.iter().map(Requirement::new).collect();
    let of_layout = matches!(reference, Reference::Layout(_));
    Ok(Rule { file: file.to_owned(), scope, requirements, of_layout })
}

fn transport(reference: &Reference) -> &'static str {
    match reference {
        Reference::Registry(_) => "docker",
        Reference::Layout(_) => "oci",
    }
}

/// The scopes that a reference is in, the narrowest first; the last is its transport's own.
fn scopes_of(reference: &Reference) -> Vec<String> {
    let mut scopes = match reference {
        Reference::Registry(registry) => {
            let whole = reference.to_skopeo();
            let whole = whole.strip_prefix("docker://").unwrap_or(&whole).to_owned();
            let host = registry.host().split(':').next().unwrap_or_default();
            let domains = host.match_indices('.').map(|(dot, _)| format!("*{}", &host[dot..]));
            iter::once(whole).chain(parents(&registry.name())).chain(domains).collect()
        }
        // A tag is no part of it, and links are followed.
        Reference::Layout(layout) => {
            let directory = layout.directory();
            let resolved = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
            parents(&resolved.display().to_string())
        }
    };
    scopes.push(String::new());
    scopes
}

/// A path and all above it.
fn parents(name: &str) -> Vec<String> {
    let above = name.rmatch_indices('/').map(|(slash, _)| &name[..slash]);
    iter::once(name).chain(above).filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

/// All that is called `…Path` or `…Paths`, which in a policy means a file with a key or certificate.
fn paths(value: &Value) -> Vec<PathBuf> {
    let named = |key: &str, value: &Value| match value {
        Value::String(path) if key.ends_with("Path") => vec![PathBuf::from(path)],
        Value::Array(all) if key.ends_with("Paths") => {
            all.iter().filter_map(Value::as_str).map(PathBuf::from).collect()
        }
        value => paths(value),
    };
    match value {
        Value::Object(members) => {
            members.iter().flat_map(|(key, value)| named(key, value)).collect()
        }
        Value::Array(all) => all.iter().flat_map(paths).collect(),
        _ => Vec::new(),
    }
}

impl Rule {
    /// What to do about an artifact that it does not let pass.
    pub fn remedy(&self) -> &'static str {
        let mut strict = self.requirements.iter().filter(|demand| demand.kind != ACCEPT);
        match (strict.next().map(|demand| demand.kind.as_str()), self.of_layout) {
            (Some("signedBy" | "sigstoreSigned"), true) => {
                "a local layout cannot carry signatures, so accept its directory there; skopeo copy \
                 checks them when it makes the layout"
            }
            (Some("signedBy"), false) => {
                "have it signed so, with the signature in the lookaside that registries.d names, or \
                 change the policy; see containers-policy.json(5), containers-registries.d(5)"
            }
            (Some("sigstoreSigned"), false) => {
                "have it signed so, with use-sigstore-attachments: true in registries.d, or change \
                 the policy; see containers-policy.json(5), containers-registries.d(5)"
            }
            _ => "change the policy for this scope, see containers-policy.json(5)",
        }
    }
}

impl Requirement {
    fn new(requirement: &Value) -> Self {
        let kind = requirement.get("type").and_then(Value::as_str).unwrap_or("nothing known");
        Self { kind: kind.to_owned(), keys: paths(requirement) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirements: Vec<_> = self.requirements.iter().map(Requirement::to_string).collect();
        write!(f, "{}, ", self.file.display())?;
        match &self.scope {
            Some(scope) => write!(f, "scope {scope:?}: ")?,
            None => write!(f, "default: ")?,
        }
        write!(f, "{}", requirements.join(" and "))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind.as_str() {
            ACCEPT => "accepts anything",
            "reject" => "rejects everything",
            "signedBy" => "demands a GPG signature",
            "sigstoreSigned" => "demands a sigstore signature",
            other => other,
        })?;
        let keys: Vec<_> = self.keys.iter().map(|key| key.display().to_string()).collect();
        if keys.is_empty() { Ok(()) } else { write!(f, " by {}", keys.join(" or ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(policy: &str, reference: &str) -> String {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("policy.json");
        std::fs::write(&file, policy).expect("written");
        let line = match read(&file, &reference.parse().expect("valid")) {
            Ok(rule) => rule.to_string(),
            Err(error) => error.to_string(),
        };
        line.replace(&format!("{}/", directory.path().display()), "")
    }

    #[test]
    fn the_narrowest_scope_holds() {
        let policy = r#"{
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {
                    "": [{"type": "insecureAcceptAnything"}],
                    "quay.io:443/acme/rpms:stable": [{"type": "signedBy", "keyPath": "/k"}],
                    "quay.io:443/acme": [{"type": "sigstoreSigned"}],
                    "*.example.com": [{"type": "reject"}]
                },
                "oci": {
                    "/srv": [{"type": "signedBy"}, {"type": "sigstoreSigned"}],
                    "/srv/mirror:1": [{"type": "reject"}]
                }
            }}"#;
        for (reference, expected) in [
            (
                "oci://quay.io:443/acme/rpms:stable",
                r#"scope "quay.io:443/acme/rpms:stable": demands a GPG signature by /k"#,
            ),
            (
                "oci://quay.io:443/acme/rpms",
                r#"scope "quay.io:443/acme": demands a sigstore signature"#,
            ),
            ("oci://quay.io:443/acme-two/rpms", r#"scope "": accepts anything"#),
            ("oci://a.b.example.com:5000/x", r#"scope "*.example.com": rejects everything"#),
            (
                "oci:///srv/mirror:1",
                r#"scope "/srv": demands a GPG signature and demands a sigstore signature"#,
            ),
            ("oci:///mnt/mirror", "default: rejects everything"),
        ] {
            assert_eq!(found(policy, reference), format!("policy.json, {expected}"), "{reference}");
        }
    }

    #[test]
    fn a_layout_is_in_the_scope_of_the_directory_that_links_lead_to() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let (real, link) = (top.path().join("real"), top.path().join("link"));
        std::fs::create_dir(&real).expect("made");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        let real = real.canonicalize().expect("there").display().to_string();
        let reference = format!("oci://{}:1", link.display()).parse().expect("valid");
        assert_eq!(scopes_of(&reference)[0], real);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let line = found("{", "oci://quay.io/a");
        assert!(line.starts_with("policy.json: EOF while parsing"), "{line}");
    }

    #[test]
    fn all_files_with_keys_are_known() {
        let policy = r#"{
            "default": [{"type": "signedBy", "keyPaths": ["/a", "/b"], "keyData": "x"}],
            "transports": {"docker": {"/nopath": [{
                "type": "sigstoreSigned", "keyPath": "/c", "rekorPublicKeyPath": "/d",
                "fulcio": {"caPath": "/e"},
                "signedIdentity": {"type": "remapIdentity", "prefix": "p", "signedPrefix": "s"}
            }]}}}"#;
        let mut found = paths(&serde_json::from_str(policy).expect("valid"));
        found.sort();
        assert_eq!(found, ["/a", "/b", "/c", "/d", "/e"].map(PathBuf::from));
    }

    #[test]
    fn what_to_do_depends_on_what_is_demanded() {
        let remedy = |requirements: &str, of_layout: bool| {
            let requirements: Vec<Value> = serde_json::from_str(requirements).expect("valid");
            let requirements = requirements.iter().map(Requirement::new).collect();
            Rule { file: PathBuf::new(), scope: None, requirements, of_layout }.remedy()
        };
        assert!(remedy(r#"[{"type": "reject"}]"#, false).starts_with("change the policy"));
        assert!(remedy(r#"[{"type": "reject"}]"#, true).starts_with("change the policy"));
        assert!(remedy(r#"[{"type": "signedBy"}]"#, false).contains("lookaside"));
        assert!(remedy(r#"[{"type": "signedBy"}]"#, true).contains("cannot carry signatures"));
        let both = r#"[{"type": "insecureAcceptAnything"}, {"type": "sigstoreSigned"}]"#;
        assert!(remedy(both, false).contains("use-sigstore-attachments"));
    }
}
