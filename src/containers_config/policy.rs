//! Which scope of policy.json applies to a reference: containers-policy.json(5).
//!
//! skopeo reads the same file and decides. The scope is found here to name it in messages, and the
//! keys that it names are watched for changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::{fmt, fs, iter};

use serde::Deserialize;
use serde_json::Value;

use super::paths;
use crate::config_file::Error;
use crate::reference::Reference;

const ACCEPT_ANYTHING: &str = "insecureAcceptAnything";

/// What applies to a reference, and where it is written.
#[derive(Debug)]
pub struct Rule {
    file: PathBuf,
    /// `None` is the file's default.
    scope: Option<String>,
    requirements: Vec<Requirement>,
    is_layout: bool,
}

/// A signature policy.
#[derive(Debug, Deserialize)]
pub struct Policy {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: HashMap<String, HashMap<String, Vec<Requirement>>>,
}

/// One of the requirements of a scope; an image must meet all of them.
#[derive(Debug, Deserialize)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    members: Value,
}

/// Finds the rule for a reference.
///
/// # Errors
/// If the file cannot be read.
pub fn rule(reference: &Reference) -> Result<Rule, Error> {
    rule_in(file(), reference)
}

fn rule_in(file: PathBuf, reference: &Reference) -> Result<Rule, Error> {
    let text = fs::read(&file).map_err(|error| Error::new(&file, error))?;
    let policy = Policy::parse(&text).map_err(|error| Error::new(&file, error))?;
    Ok(policy.into_rule(file, reference))
}

/// Returns the files with keys and certificates that the policy names. skopeo reads them whenever it
/// checks a signature.
pub fn key_files() -> Vec<PathBuf> {
    let policy = fs::read(file()).ok().and_then(|text| Policy::parse(&text).ok());
    policy.map(|policy| policy.key_files()).unwrap_or_default()
}

/// Whether any scope of the policy has signatures checked with GPG.
pub fn uses_gpg() -> bool {
    let policy = fs::read(file()).ok().and_then(|text| Policy::parse(&text).ok());
    policy.is_some_and(|policy| policy.requirements().any(|one| one.kind == "signedBy"))
}

/// Returns the file that skopeo reads: the user's replaces the system's.
fn file() -> PathBuf {
    const NAME: &str = "policy.json";
    let user = paths::user(NAME);
    if user.exists() { user } else { paths::system(NAME) }
}

impl Policy {
    /// Parses the text of a policy.json.
    ///
    /// # Errors
    /// If the text is not JSON, or does not have the form of a policy.
    pub fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// Returns the rule for a reference, from the policy of this file.
    pub fn into_rule(self, file: PathBuf, reference: &Reference) -> Rule {
        let is_layout = matches!(reference, Reference::Layout(_));
        let (scope, requirements) = self.into_scope(reference);
        Rule { file, scope, requirements, is_layout }
    }

    /// Returns the narrowest scope of a reference, `None` for the default, and its requirements.
    fn into_scope(mut self, reference: &Reference) -> (Option<String>, Vec<Requirement>) {
        let transport = match reference {
            Reference::Registry(_) => "docker",
            Reference::Layout(_) => "oci",
        };
        let mut scopes = self.transports.remove(transport).unwrap_or_default();
        scopes_of(reference)
            .into_iter()
            .find_map(|scope| scopes.remove(&scope).map(|requirements| (Some(scope), requirements)))
            .unwrap_or((None, self.default))
    }

    /// Returns the files with keys and certificates that it names.
    pub fn key_files(&self) -> Vec<PathBuf> {
        self.requirements().flat_map(|one| key_files_in(&one.members)).collect()
    }

    /// The requirements of all scopes.
    fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        let scopes = self.transports.values().flat_map(HashMap::values).flatten();
        self.default.iter().chain(scopes)
    }
}

/// Returns the scopes that a reference is in, the narrowest first; the last is its whole transport.
fn scopes_of(reference: &Reference) -> Vec<String> {
    let mut scopes = match reference {
        Reference::Registry(registry) => {
            let whole = reference.to_skopeo();
            let whole = whole.strip_prefix("docker://").unwrap_or(&whole).to_owned();
            let host = registry.host().split(':').next().unwrap_or_default();
            let domains = host.match_indices('.').map(|(dot, _)| format!("*{}", &host[dot..]));
            iter::once(whole).chain(parents(&registry.name())).chain(domains).collect()
        }
        // The scope of a layout has no tag, and links in its path are resolved.
        Reference::Layout(layout) => {
            let directory = layout.directory();
            let resolved = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
            parents(&resolved.display().to_string())
        }
    };
    scopes.push(String::new());
    scopes
}

/// Returns a path and all its parents.
fn parents(name: &str) -> Vec<String> {
    let above = name.rmatch_indices('/').map(|(slash, _)| &name[..slash]);
    iter::once(name).chain(above).filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

/// Collects the members called `…Path` or `…Paths`: in a policy, files with a key or certificate.
fn key_files_in(value: &Value) -> Vec<PathBuf> {
    let named = |(key, value): (&String, &Value)| match value {
        Value::String(path) if key.ends_with("Path") => vec![PathBuf::from(path)],
        Value::Array(all) if key.ends_with("Paths") => {
            all.iter().filter_map(Value::as_str).map(PathBuf::from).collect()
        }
        value => key_files_in(value),
    };
    match value {
        Value::Object(members) => members.iter().flat_map(named).collect(),
        Value::Array(all) => all.iter().flat_map(key_files_in).collect(),
        _ => Vec::new(),
    }
}

impl Rule {
    /// What to do about an image that it rejects, and what else there is to know about that.
    pub fn remedy(&self) -> (&'static str, &'static str) {
        let mut kinds = self.requirements.iter().map(|one| one.kind.as_str());
        match (kinds.find(|kind| *kind != ACCEPT_ANYTHING), self.is_layout) {
            (Some("signedBy" | "sigstoreSigned"), true) => (
                "accept its directory in the policy",
                "a local layout cannot carry signatures; skopeo copy checks them when it writes the \
                     layout",
            ),
            (Some("signedBy"), false) => (
                "sign it, or change the policy",
                "put the signature into the lookaside that registries.d names; see \
                 containers-policy.json(5), containers-registries.d(5)",
            ),
            (Some("sigstoreSigned"), false) => (
                "sign it, or change the policy",
                "set use-sigstore-attachments: true in registries.d; see containers-policy.json(5), \
                 containers-registries.d(5)",
            ),
            _ => ("change the policy for this scope", "see containers-policy.json(5)"),
        }
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
        match self.kind.as_str() {
            ACCEPT_ANYTHING => write!(f, "accepts anything")?,
            "reject" => write!(f, "rejects everything")?,
            "signedBy" => write!(f, "requires a GPG signature")?,
            "sigstoreSigned" => write!(f, "requires a sigstore signature")?,
            other => write!(f, "requires {other:?}")?,
        }
        let keys: Vec<_> =
            key_files_in(&self.members).iter().map(|key| key.display().to_string()).collect();
        if keys.is_empty() { Ok(()) } else { write!(f, " by {}", keys.join(" or ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the rule for a reference, or the error, without the directory of the file.
    fn found(policy: &str, reference: &str) -> String {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("policy.json");
        fs::write(&file, policy).expect("written");
        let line = match rule_in(file, &reference.parse().expect("valid")) {
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
                r#"scope "quay.io:443/acme/rpms:stable": requires a GPG signature by /k"#,
            ),
            (
                "oci://quay.io:443/acme/rpms",
                r#"scope "quay.io:443/acme": requires a sigstore signature"#,
            ),
            ("oci://quay.io:443/acme-two/rpms", r#"scope "": accepts anything"#),
            ("oci://a.b.example.com:5000/x", r#"scope "*.example.com": rejects everything"#),
            (
                "oci:///srv/mirror:1",
                r#"scope "/srv": requires a GPG signature and requires a sigstore signature"#,
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
        for (policy, expected) in [
            ("{", "policy.json: EOF while parsing"),
            (r#"{"default": [{"keyPath": "/k"}]}"#, "policy.json: missing field `type`"),
        ] {
            let line = found(policy, "oci://quay.io/a");
            assert!(line.starts_with(expected), "{line}");
        }
        let missing =
            rule_in("/nonexistent/policy.json".into(), &"oci:///a".parse().expect("valid"));
        let line = missing.expect_err("no file").to_string();
        assert!(line.starts_with("/nonexistent/policy.json: No such file"), "{line}");
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
        let mut found = Policy::parse(policy.as_bytes()).expect("valid").key_files();
        found.sort();
        assert_eq!(found, ["/a", "/b", "/c", "/d", "/e"].map(PathBuf::from));
    }

    #[test]
    fn the_remedy_depends_on_the_requirement() {
        let remedy = |requirements: &str, is_layout: bool| {
            let requirements = serde_json::from_str(requirements).expect("valid");
            Rule { file: PathBuf::new(), scope: None, requirements, is_layout }.remedy()
        };
        assert!(remedy(r#"[{"type": "reject"}]"#, false).0.starts_with("change the policy"));
        assert!(remedy(r#"[{"type": "reject"}]"#, true).0.starts_with("change the policy"));
        assert!(remedy(r#"[{"type": "signedBy"}]"#, false).1.contains("lookaside"));
        assert!(remedy(r#"[{"type": "signedBy"}]"#, true).1.contains("cannot carry signatures"));
        let both = r#"[{"type": "insecureAcceptAnything"}, {"type": "sigstoreSigned"}]"#;
        assert!(remedy(both, false).1.contains("use-sigstore-attachments"));
    }
}
