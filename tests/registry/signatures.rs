//! Copies that are signed, and policies that require it: what a client opens, and when.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dnf5_oci::error_kind::{Failure, Kind};
use dnf5_oci::registry::{Copy, Error, Instances, Registry, Settings, Signing};
use dnf5_oci::source::Source;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::repository::Repository;
use super::server::Server;

/// Keys, and a home with the configuration that requires signatures by them: others are not disturbed.
struct Keys {
    directory: TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir_all(keys.path(".config/containers/registries.d")).expect("created");
        fs::write(keys.path("passphrase"), "secret").expect("written");
        run(Command::new("skopeo")
            .args(["generate-sigstore-key", "--output-prefix"])
            .arg(keys.path("key"))
            .arg("--passphrase-file")
            .arg(keys.path("passphrase")));
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn registry(&self) -> Registry {
        let home = |name| self.path(name).display().to_string();
        let variables = [("HOME", home("")), ("GNUPGHOME", home("gnupg"))];
        let environment = variables.map(|(name, value)| (name.to_owned(), value)).into();
        // skopeo's GPG has keyrings there; this process does not read the policy in that home.
        let writable = vec![std::env::temp_dir()];
        Registry::new(Settings { environment, writable, attempts: 1, ..Settings::default() })
    }

    /// Makes the policy require this of the server's repositories.
    fn require(&self, server: &Server, requirement: &Value, store: &str) {
        let scope = format!("localhost:{}", server.port);
        let policy = json!({
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {&scope: [requirement]}},
        });
        let containers = self.path(".config/containers");
        fs::write(containers.join("policy.json"), policy.to_string()).expect("written");
        let yaml = format!("docker:\n  {scope}:\n    {store}\n");
        fs::write(containers.join("registries.d/test.yaml"), yaml).expect("written");
    }

    fn signing(&self, identity: &str) -> Signing {
        Signing {
            sigstore_private_key: Some(self.path("key.private")),
            passphrase_file: Some(self.path("passphrase")),
            identity: Some(identity.to_owned()),
            ..Signing::default()
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn at(source: &Source, digest: &str) -> Source {
    Source { reference: source.reference.at_digest(digest), access: source.access.clone() }
}

/// Pushes all but the index.
async fn push_all(registry: &Registry, repository: &Repository, to: &Source) {
    let segments = repository.segments.iter().enumerate();
    let segments = segments.map(|(number, digest)| (format!("s{number}"), digest));
    for (name, digest) in segments.chain([("metadata".to_owned(), &repository.metadata)]) {
        copy(registry, &repository.source(&name), &at(to, digest), Instances::Manifest, None)
            .await
            .expect("pushed");
    }
}

async fn copy(
    registry: &Registry,
    from: &Source,
    to: &Source,
    instances: Instances,
    signing: Option<&Signing>,
) -> Result<(), Error> {
    let copy = Copy { from, to, instances, signing, trusted: true, rate: None };
    registry.copy(&copy, &|_| {}).await
}

/// Whether a client may read a reference: skopeo opens it and checks the policy.
async fn opens(registry: &Registry, source: &Source) -> bool {
    match registry.manifest(source).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), Kind::PolicyRejected, "{error}");
            false
        }
    }
}

fn requirement(key: &Path, identity: &str) -> Value {
    let mut requirement = match key.extension().is_some_and(|extension| extension == "pub") {
        true => json!({"type": "sigstoreSigned", "keyPath": key}),
        false => json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}),
    };
    if !identity.is_empty() {
        requirement["signedIdentity"] = json!({"type": identity});
    }
    requirement
}

/// The signature of `repo:tag` is pushed with the index by its digest, then the tag moves without a signature:
/// at no time does the tag lead to something unsigned.
async fn signed_before_the_tag_moves(
    keys: &Keys,
    key: &Path,
    store: &str,
    signing: impl Fn(&str) -> Signing,
) {
    let registry = keys.registry();
    for identity in ["", "matchRepoDigestOrExact", "matchRepository", "matchExact"] {
        let (server, repository) = (Server::start(), Repository::new(1, "a"));
        let store = store.replace("PORT", &server.port.to_string());
        keys.require(&server, &requirement(key, identity), &store);
        let stable = server.source("acme/rpms:stable");
        let pinned = at(&stable, &repository.index);
        push_all(&registry, &repository, &stable).await;
        let index = repository.source("index");
        let name = format!("localhost:{}/acme/rpms:stable", server.port);
        copy(&registry, &index, &pinned, Instances::IndexOnly, Some(&signing(&name)))
            .await
            .expect("signed");
        copy(&registry, &index, &stable, Instances::IndexOnly, None).await.expect("moved");
        assert!(opens(&registry, &stable).await, "{identity}");
        // Only by the identity of the tag can it be checked; matchExact never accepts a digest.
        assert_eq!(opens(&registry, &pinned).await, identity != "matchExact", "{identity}");
        // Another tag: promoted without a signature, then with one, which does not replace the first.
        let prod = server.source("acme/rpms:prod");
        copy(&registry, &pinned, &prod, Instances::IndexOnly, None).await.expect("promoted");
        assert_eq!(opens(&registry, &prod).await, identity == "matchRepository", "{identity}");
        let name = format!("localhost:{}/acme/rpms:prod", server.port);
        copy(&registry, &pinned, &pinned, Instances::IndexOnly, Some(&signing(&name)))
            .await
            .expect("signed again");
        assert!(opens(&registry, &prod).await, "{identity}");
        assert!(opens(&registry, &stable).await, "{identity}");
    }
}

#[tokio::test]
async fn a_sigstore_signature_comes_before_the_tag_moves() {
    let keys = Keys::new();
    let store = "use-sigstore-attachments: true";
    signed_before_the_tag_moves(&keys, &keys.path("key.pub"), store, |name| keys.signing(name))
        .await;
}

#[tokio::test]
async fn a_gpg_signature_comes_before_the_tag_moves() {
    let keys = Keys::new();
    fs::create_dir(keys.path("gnupg")).expect("created");
    let gpg = || {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(keys.path("gnupg")).args(["--batch", "--quiet"]);
        gpg
    };
    run(gpg().args(["--passphrase", "", "--quick-generate-key", "acme@example.com"]));
    let exported = run(gpg().args(["--armor", "--export"]));
    fs::write(keys.path("acme.gpg"), exported).expect("written");
    let listed = run(gpg().args(["--list-keys", "--with-colons"]));
    // The only field of 40 digits.
    let fingerprint = listed.split([':', '\n']).find(|field| field.len() == 40);
    let fingerprint = fingerprint.expect("a fingerprint").to_owned();
    let store = format!("lookaside: file://{}", keys.path("signatures-PORT").display());
    signed_before_the_tag_moves(&keys, &keys.path("acme.gpg"), &store, |name| Signing {
        gpg_fingerprint: Some(fingerprint.clone()),
        identity: Some(name.to_owned()),
        ..Signing::default()
    })
    .await;
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(keys.path("gnupg"))
        .args(["--kill", "all"])
        .status();
}

#[tokio::test]
async fn keys_that_cannot_be_used() {
    let (server, repository, keys) = (Server::start(), Repository::new(1, "a"), Keys::new());
    let (registry, to) = (keys.registry(), server.source("acme/rpms:stable"));
    push_all(&registry, &repository, &to).await;
    fs::write(keys.path("wrong"), "wrong").expect("written");
    let name = format!("localhost:{}/acme/rpms:stable", server.port);
    let right = keys.signing(&name);
    let pinned = at(&to, &repository.index);
    for (case, signing) in [
        ("passphrase", Signing { passphrase_file: Some(keys.path("wrong")), ..right.clone() }),
        ("no passphrase", Signing { passphrase_file: None, ..right.clone() }),
        ("no file", Signing { passphrase_file: Some(keys.path("none")), ..right.clone() }),
        ("no key", Signing { sigstore_private_key: Some(keys.path("none")), ..right.clone() }),
        ("identity", Signing { identity: Some("a b".to_owned()), ..right.clone() }),
        (
            "no GPG key",
            Signing { gpg_fingerprint: Some("0123456789".repeat(4)), ..Signing::default() },
        ),
    ] {
        let index = repository.source("index");
        let error = copy(&registry, &index, &pinned, Instances::IndexOnly, Some(&signing)).await;
        let error = error.expect_err(case);
        assert!(matches!(error, Error::Signing(_)), "{case}: {error}");
    }
}
