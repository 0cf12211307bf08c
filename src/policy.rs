//! Which scope of policy.json holds for a reference: containers-policy.json(5).
//!
//! This is information for people. skopeo reads the same file, and decides by itself.

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::reference::Reference;

/// The file of the whole system.
const SYSTEM: &str = "/etc/containers/policy.json";

/// What holds for a reference, and where it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    file: PathBuf,
    scope: String,
    demands: Vec<String>,
}

/// A file that cannot be read; skopeo says so too.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .file.display())]
pub(super) struct Unreadable {
    file: PathBuf,
    reason: String,
}

#[derive(Deserialize)]
struct Document {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: HashMap<String, HashMap<String, Vec<Requirement>>>,
}

#[derive(Deserialize)]
struct Requirement {
    r#type: String,
}

/// Finds the rule for a reference.
pub(super) fn rule(reference: &Reference) -> Result<Rule, Unreadable> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").or_else(env::home_dir).map(|home| home.join(".config")));
    let user = config.map(|config| config.join("containers/policy.json"));
    let file = user.filter(|file| file.exists()).unwrap_or_else(|| PathBuf::from(SYSTEM));
    read(&file, reference)
}

fn read(file: &Path, reference: &Reference) -> Result<Rule, Unreadable> {
    let unreadable = |reason| Unreadable { file: file.to_owned(), reason };
    let text = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let document: Document =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let scopes = document.transports.get(transport(reference));
    let of_scope = scopes.and_then(|all| {
        scopes_of(reference).into_iter().find_map(|scope| Some((all.get(&scope)?, scope)))
    });
    let (requirements, scope) = match of_scope {
        Some((requirements, scope)) => (requirements, format!("scope {scope:?}")),
        None => (&document.default, "default".to_owned()),
    };
    let demands = requirements.iter().map(|requirement| requirement.r#type.clone()).collect();
    Ok(Rule { file: file.to_owned(), scope, demands })
}

fn transport(reference: &Reference) -> &'static str {
    match reference {
        Reference::Registry(_) => "docker",
        Reference::Layout(_) => "oci",
    }
}

/// The scopes that a reference is in, the narrowest first; the last is its transport's own.
fn scopes_of(reference: &Reference) -> Vec<String> {
    let whole = super::without_transport(reference);
    let name = match reference {
        Reference::Registry(registry) => registry.name(),
        Reference::Layout(layout) => layout.directory().display().to_string(),
    };
    let parents = parents(&name);
    let host = match reference {
        Reference::Registry(registry) => registry.host().split(':').next().unwrap_or_default(),
        Reference::Layout(_) => "",
    };
    let domains = host.match_indices('.').map(|(dot, _)| format!("*{}", &host[dot..]));
    iter::once(whole).chain(parents).chain(domains).chain(iter::once(String::new())).collect()
}

/// A path and all above it.
fn parents(name: &str) -> Vec<String> {
    let above = name.rmatch_indices('/').map(|(slash, _)| &name[..slash]);
    iter::once(name).chain(above).filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let demands: Vec<_> = self.demands.iter().map(|demand| meaning(demand)).collect();
        write!(f, "{}, {}: {}", self.file.display(), self.scope, demands.join(" and "))
    }
}

fn meaning(requirement: &str) -> &str {
    match requirement {
        "insecureAcceptAnything" => "accepts anything",
        "reject" => "rejects everything",
        "signedBy" => "demands a GPG signature",
        "sigstoreSigned" => "demands a sigstore signature",
        other => other,
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
                "oci": {"/srv": [{"type": "signedBy"}, {"type": "sigstoreSigned"}]}
            }}"#;
        for (reference, expected) in [
            (
                "oci://quay.io:443/acme/rpms:stable",
                r#"scope "quay.io:443/acme/rpms:stable": demands a GPG signature"#,
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
    fn a_file_that_cannot_be_read_is_named() {
        let line = found("{", "oci://quay.io/a");
        assert!(line.starts_with("policy.json: EOF while parsing"), "{line}");
    }
}
