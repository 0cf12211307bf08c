use std::path::Path;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What the files of a system and of a user's home say.
fn registries(top: &Path, files: &[(&str, &str)]) -> Result<Registries, Unreadable> {
    for (file, text) in files {
        let path = top.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let (system, user) = (top.join("etc/registries.conf"), top.join("home/registries.conf"));
    Files::of(&system, &user).and_then(Registries::from)
}

/// The entry for a name, without the directory of its file.
fn found(name: &str, files: &[(&str, &str)]) -> String {
    let top = tempfile::tempdir().expect("a temporary directory");
    let text = match registries(top.path(), files) {
        Ok(registries) => {
            registries.entry(name).map_or_else(|| "none".to_owned(), Entry::to_string)
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

/// The places of a reference, and those after some have been passed over.
fn places(files: &[(&str, &str)], text: &str, count: usize) -> (Vec<String>, Option<Vec<String>>) {
    let top = tempfile::tempdir().expect("a temporary directory");
    let registries = registries(top.path(), files).expect("valid");
    let reference = reference(text);
    let left = registries.passing_over(&reference, count).map(|text| {
        let changed = Registries::with_main(registries.files.with_main(Path::new("ours")), text);
        let changed = changed.expect("valid");
        let places = changed.places(&reference).into_iter();
        places.filter(|place| !changed.is_blocked(place)).collect()
    });
    (registries.places(&reference), left)
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
        "etc/registries.conf: quay.io is blocked, after its mirrors one.example (for digests only, \
         insecure), two.example (for tags only), three.example"
    );
}

#[test]
fn drop_ins_come_later_and_a_users_file_stands_in_for_the_systems() {
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
fn a_link_is_no_directory_of_drop_ins() {
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
        ("[[registry]]\ninsecure = true\n", "neither prefix nor location"),
        ("[[registry]]\nprefix = \"a.example\"\n", "\"a.example\" has no location"),
        ("[[registry]]\nlocation = \"https://a.example\"\n", "without its scheme"),
        ("[[registry]]\nprefix = \"*.example/a\"\n", "more than a host"),
        ("[[registry]]\nlocation = \"a\"\npull-from-mirror = \"all\"\n", "belongs to a mirror"),
        ("[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\ninsecure = true\n", "no location"),
        (
            "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n\
             [[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"all\"\n",
            "and a mirror with pull-from-mirror",
        ),
        (
            "[[registry]]\nlocation = \"a\"\n\
             [[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"never\"\n",
            "line 5: ",
        ),
        (
            "[[registry]]\nlocation = \"a\"\n[[registry]]\nprefix = \"b\"\nlocation = \"a\"\n\
             blocked = true\n",
            "contradict each other",
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
fn places_are_the_mirrors_and_then_the_location() {
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
        assert_eq!(places(&system(file), text, 0).0, expected, "{text}");
    }
}

const MIRRORED: &str = "[[registry]]\nlocation = \"quay.io/acme/rpms\"\n\
                        [[registry.mirror]]\nlocation = \"one.example/r\"\ninsecure = true\n\
                        [[registry.mirror]]\nlocation = \"two.example/r\"\n";

const MIRRORED_REFERENCE: &str = "oci://quay.io/acme/rpms:1";

/// What is left after so many places, if that many can be passed over.
fn after(files: &[(&str, &str)], count: usize) -> Option<Vec<String>> {
    places(files, MIRRORED_REFERENCE, count).1
}

#[test]
fn places_are_passed_over_wherever_the_entry_is() {
    for file in ["etc/registries.conf", "etc/registries.conf.d/1.conf", "home/registries.conf"] {
        // Such an entry of the mirror itself is less exact than what blocks it.
        let other = "[[registry]]\nlocation = \"one.example\"\ninsecure = true\n";
        let files = [(file, MIRRORED), ("home/registries.conf.d/other.conf", other)];
        let after = |count| after(&files, count).map(|left| left.join(" "));
        assert_eq!(after(1).as_deref(), Some("two.example/r quay.io/acme/rpms"), "{file}");
        assert_eq!(after(2).as_deref(), Some("quay.io/acme/rpms"), "{file}");
        assert_eq!(after(3), None, "{file}");
    }
}

#[test]
fn a_place_that_comes_twice_is_passed_over_twice() {
    let again = "[[registry.mirror]]\nlocation = \"one.example/r\"\n";
    let left = after(&system(&format!("{MIRRORED}{again}")), 1).expect("others are left");
    assert_eq!(left, ["two.example/r", "quay.io/acme/rpms"]);
}

#[test]
fn what_would_not_have_the_effect_is_not_tried() {
    // A drop-in about the very repository of the mirror comes before what blocks it.
    let other = "[[registry]]\nlocation = \"one.example/r\"\ninsecure = true\n";
    let files = [("etc/registries.conf", MIRRORED), ("etc/registries.conf.d/1.conf", other)];
    assert_eq!(after(&files, 1), None);
    // The user's own file hides a drop-in of the system, which a main file of ours would not.
    let files = [("home/registries.conf", MIRRORED), ("etc/registries.conf.d/1.conf", other)];
    assert_eq!(after(&files, 1), None);
    // Nothing can be appended to an array in this form.
    let inline = "registry = [{location = \"quay.io\", mirror = [{location = \"one.example\"}]}]\n";
    assert_eq!(after(&system(inline), 1), None);
    assert_eq!(places(&system(inline), MIRRORED_REFERENCE, 1).0.len(), 2);
    // There is but one place.
    assert_eq!(after(&[], 1), None);
}
