use std::path::Path;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Reads files of a system and of a user's home.
fn registries(top: &Path, files: &[(&str, &str)]) -> Result<Registries, Error> {
    for (file, text) in files {
        let path = top.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let (system, user) = (top.join("etc/registries.conf"), top.join("home/registries.conf"));
    Files::of(&system, &user).and_then(Registries::of)
}

/// The entry for a name, without the directory of its file.
fn found(name: &str, files: &[(&str, &str)]) -> String {
    let top = tempfile::tempdir().expect("a temporary directory");
    let text = match registries(top.path(), files) {
        Ok(registries) => {
            registries.entry(name).map_or_else(|| "none".to_owned(), RegistryEntry::to_string)
        }
        Err(error) => error.to_string(),
    };
    text.replace(&format!("{}/", top.path().display()), "")
}

fn system(text: &str) -> [(&'static str, &str); 1] {
    [("etc/registries.conf", text)]
}

fn reference(text: &str) -> RegistryReference {
    match text.parse().expect(text) {
        crate::reference::Reference::Registry(registry) => registry,
        crate::reference::Reference::Layout(_) => panic!("{text} is a layout"),
    }
}

/// The pull sources of a reference, and those left after some have been skipped.
fn pull_sources(
    files: &[(&str, &str)],
    text: &str,
    count: usize,
) -> (Vec<String>, Option<Vec<String>>) {
    let top = tempfile::tempdir().expect("a temporary directory");
    let registries = registries(top.path(), files).expect("valid");
    let reference = reference(text);
    let left = registries.skipping(&reference, count).map(|text| {
        let files = registries.files.with_main(Path::new("modified"));
        let modified = Registries::with_main(files, text).expect("valid");
        let sources = modified.pull_sources(&reference).into_iter();
        sources.filter(|source| !modified.is_blocked(source)).collect()
    });
    (registries.pull_sources(&reference), left)
}

#[test]
fn the_longest_prefix_holds() {
    let file = "[[registry]]\nlocation = \"quay.io\"\ninsecure = true\n\
                [[registry]]\nprefix = \"quay.io/acme/\"\nlocation = \"mirror.example/quay\"\n\
                [[registry]]\nprefix = \"quay.io/acme/rpms:1\"\nlocation = \"a.tag/is/no/prefix\"\n\
                [[registry]]\nprefix = \"*.example.com\"\nblocked = true\n\
                [[registry]]\nlocation = \"a.long.example.com\"\n\
                [[registry]]\nprefix = \"*.example.org\"\n\
                [[registry]]\nlocation = \"abc.example.org\"\n\
                [[registry]]\nlocation = \"a.example.org\"\n";
    for (name, expected) in [
        ("quay.io/acme/rpms", "etc/registries.conf: quay.io/acme is at mirror.example/quay"),
        ("quay.io/acme-two/rpms", "etc/registries.conf: quay.io (insecure)"),
        ("a.b.example.com:5000/x", "etc/registries.conf: *.example.com is blocked"),
        ("a.long.example.com/x", "etc/registries.conf: a.long.example.com"),
        // As long as the wildcard, which comes first.
        ("a.example.org/x", "etc/registries.conf: *.example.org"),
        ("abc.example.org/x", "etc/registries.conf: abc.example.org"),
        ("example.com/x", "none"),
        ("host/a.example.com/x", "none"),
        ("quay.iota/x", "none"),
    ] {
        assert_eq!(found(name, &system(file)), expected, "{name}");
    }
}

#[test]
fn the_first_of_one_prefix_in_a_file_holds() {
    let file = "[[registry]]\nprefix = \"quay.io\"\nlocation = \"one.example\"\n\
                [[registry]]\nprefix = \"quay.io/\"\nlocation = \"two.example\"\n";
    assert_eq!(found("quay.io/a", &system(file)), "etc/registries.conf: quay.io is at one.example");
}

#[test]
fn mirrors_are_named_in_order_with_what_limits_them() {
    let file = "[[registry]]\nlocation = \"quay.io\"\nblocked = true\n\
                [[registry.mirror]]\nlocation = \"one.example\"\ninsecure = true\n\
                pull-from-mirror = \"digest-only\"\n\
                [[registry.mirror]]\nlocation = \"two.example\"\npull-from-mirror = \"tag-only\"\n\
                [[registry.mirror]]\nlocation = \"three.example\"\n";
    assert_eq!(
        found("quay.io/a", &system(file)),
        "etc/registries.conf: quay.io is blocked; mirrors tried first: one.example (digests only, \
         insecure), two.example (tags only), three.example"
    );
}

#[test]
fn drop_ins_come_later_and_a_users_file_replaces_the_systems() {
    let entry = |host: &str| format!("[[registry]]\nprefix = \"quay.io\"\nlocation = \"{host}\"\n");
    let (main, first, second, own) = (entry("main"), entry("first"), entry("second"), entry("own"));
    let mut all = vec![
        ("etc/registries.conf", main.as_str()),
        ("etc/registries.conf.d/20.conf", &second),
        ("etc/registries.conf.d/10.conf", &first),
        ("etc/registries.conf.d/30.conf.off", "not TOML"),
        ("etc/registries.conf.d/40.conf/below.conf", "not TOML"),
    ];
    assert_eq!(found("quay.io/a", &all), "etc/registries.conf.d/20.conf: quay.io is at second");
    all.push(("home/registries.conf", &own));
    assert_eq!(found("quay.io/a", &all), "home/registries.conf: quay.io is at own");
    all.push(("home/registries.conf.d/1.conf", &main));
    assert_eq!(found("quay.io/a", &all), "home/registries.conf.d/1.conf: quay.io is at main");
}

#[test]
fn the_last_list_of_credential_helpers_counts() {
    let top = tempfile::tempdir().expect("a temporary directory");
    let files = [
        ("etc/registries.conf", "credential-helpers = [\"first\"]\n"),
        (
            "etc/registries.conf.d/1.conf",
            "credential-helpers = [\"containers-auth.json\", \"b\"]\n",
        ),
        ("etc/registries.conf.d/2.conf", "credential-helpers = []\n"),
    ];
    let registries = registries(top.path(), &files).expect("valid");
    assert_eq!(registries.credential_helpers, ["containers-auth.json", "b"]);
}

#[test]
fn a_link_to_a_directory_of_drop_ins_is_not_followed() {
    let top = tempfile::tempdir().expect("a temporary directory");
    let drop_in = [("elsewhere/1.conf", "[[registry]]\nlocation = \"quay.io\"\n")];
    registries(top.path(), &drop_in).expect("valid");
    std::fs::create_dir(top.path().join("etc")).expect("made");
    std::os::unix::fs::symlink("../elsewhere", top.path().join("etc/registries.conf.d"))
        .expect("linked");
    assert!(registries(top.path(), &[]).expect("valid").entry("quay.io/a").is_none());
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    for (file, expected) in [
        ("[[registry]]\nprefix = 1\n", "line 2: "),
        ("[[registry]]\ninsecure = true\n", "neither \"prefix\" nor \"location\""),
        ("[[registry]]\nprefix = \"a.example\"\n", "\"a.example\" has no \"location\""),
        (
            "[[registry]]\nlocation = \"https://a.example\"\n",
            "\"https://a.example\" must not have a scheme",
        ),
        ("[[registry]]\nprefix = \"*.example/a\"\n", "more than a host"),
        ("[[registry]]\nlocation = \"a\"\npull-from-mirror = \"all\"\n", "for the mirrors of"),
        (
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\ninsecure = true\n",
            "no \"location\"",
        ),
        (
            "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n\
             [[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"all\"\n",
            "has both \"mirror-by-digest-only\" and",
        ),
        (
            "[[registry]]\nlocation = \"a\"\n\
             [[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"never\"\n",
            "line 5: ",
        ),
        (
            "[[registry]]\nlocation = \"a\"\n[[registry]]\nprefix = \"b\"\nlocation = \"a\"\n\
             blocked = true\n",
            "differ in \"insecure\" or \"blocked\"",
        ),
    ] {
        let line = found("quay.io/a", &system(file));
        assert!(line.starts_with("etc/registries.conf: "), "{line}");
        assert!(line.contains(expected), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
    assert_eq!(found("quay.io/a", &[]), "none");
}

#[test]
fn pull_sources_are_the_mirrors_and_then_the_location() {
    let file = "[[registry]]\nprefix = \"quay.io/acme\"\nlocation = \"moved.example/a\"\n\
                [[registry.mirror]]\nlocation = \"one.example\"\npull-from-mirror = \"digest-only\"\n\
                [[registry.mirror]]\nlocation = \"two.example/x\"\npull-from-mirror = \"tag-only\"\n\
                [[registry.mirror]]\nlocation = \"three.example\"\n\
                [[registry]]\nprefix = \"*.example.com\"\n\
                [[registry.mirror]]\nlocation = \"one.example\"\n";
    let digest = format!("oci://quay.io/acme/rpms@{DIGEST}");
    for (text, expected) in [
        (
            "oci://quay.io/acme/rpms:1",
            ["two.example/x/rpms", "three.example/rpms", "moved.example/a/rpms"].as_slice(),
        ),
        (&digest, &["one.example/rpms", "three.example/rpms", "moved.example/a/rpms"]),
        ("oci://a.b.example.com:80/x:1", &["one.example:80/x", "a.b.example.com:80/x"]),
        ("oci://quay.io/other/rpms:1", &["quay.io/other/rpms"]),
    ] {
        assert_eq!(pull_sources(&system(file), text, 0).0, expected, "{text}");
    }
}

const MIRRORED: &str = "[[registry]]\nlocation = \"quay.io/acme/rpms\"\n\
                        [[registry.mirror]]\nlocation = \"one.example/r\"\ninsecure = true\n\
                        [[registry.mirror]]\nlocation = \"two.example/r\"\n";

const MIRRORED_REFERENCE: &str = "oci://quay.io/acme/rpms:1";

/// The pull sources that are left if so many can be skipped.
fn after(files: &[(&str, &str)], count: usize) -> Option<Vec<String>> {
    pull_sources(files, MIRRORED_REFERENCE, count).1
}

#[test]
fn pull_sources_are_skipped_wherever_the_entry_is() {
    for file in ["etc/registries.conf", "etc/registries.conf.d/1.conf", "home/registries.conf"] {
        // This entry for the mirror has a shorter prefix than the one that blocks it.
        let other = "[[registry]]\nlocation = \"one.example\"\ninsecure = true\n";
        let files = [(file, MIRRORED), ("home/registries.conf.d/other.conf", other)];
        let after = |count| after(&files, count).map(|left| left.join(" "));
        assert_eq!(after(1).as_deref(), Some("two.example/r quay.io/acme/rpms"), "{file}");
        assert_eq!(after(2).as_deref(), Some("quay.io/acme/rpms"), "{file}");
        assert_eq!(after(3), None, "{file}");
    }
}

#[test]
fn a_pull_source_that_comes_twice_is_skipped_twice() {
    let again = "[[registry.mirror]]\nlocation = \"one.example/r\"\n";
    let left = after(&system(&format!("{MIRRORED}{again}")), 1).expect("others are left");
    assert_eq!(left, ["two.example/r", "quay.io/acme/rpms"]);
}

#[test]
fn a_file_without_the_wanted_effect_is_not_used() {
    // A drop-in for the mirror's own repository overrides the entry that blocks it.
    let other = "[[registry]]\nlocation = \"one.example/r\"\ninsecure = true\n";
    let files = [("etc/registries.conf", MIRRORED), ("etc/registries.conf.d/1.conf", other)];
    assert_eq!(after(&files, 1), None);
    // The user's file hides a drop-in of the system; a modified main file would not.
    let files = [("home/registries.conf", MIRRORED), ("etc/registries.conf.d/1.conf", other)];
    assert_eq!(after(&files, 1), None);
    // Nothing can be appended to an array in this form.
    let inline = "registry = [{location = \"quay.io\", mirror = [{location = \"one.example\"}]}]\n";
    assert_eq!(after(&system(inline), 1), None);
    assert_eq!(pull_sources(&system(inline), MIRRORED_REFERENCE, 1).0.len(), 2);
    // There is only one pull source.
    assert_eq!(after(&[], 1), None);
}
