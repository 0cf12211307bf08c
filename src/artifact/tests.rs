use super::*;
use serde_json::json;

/// A manifest as oras makes it; each layer's digest is a number.
fn manifest(layers: &[(&str, bool, u8)]) -> ImageManifest {
    let layers: Vec<_> = layers
        .iter()
        .map(|(title, unpack, number)| {
            let mut annotations = json!({ TITLE: title });
            if *unpack {
                annotations[UNPACK] = json!("true");
                annotations["io.deis.oras.content.digest"] = json!(digest(0));
            }
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest(*number),
                "size": 1,
                "annotations": annotations,
            })
        })
        .collect();
    serde_json::from_value(json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.unknown.artifact.v1",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
            "data": "e30=",
        },
        "layers": layers,
    }))
    .expect("a manifest")
}

fn digest(number: u8) -> String {
    format!("sha256:{number:064}")
}

fn number(layer: &Descriptor) -> u8 {
    layer.digest().digest().parse().expect("a number")
}

fn file_names(artifact: &Artifact) -> Vec<&str> {
    match artifact.repodata() {
        Repodata::Archive(_) | Repodata::Inside(_) => vec![],
        Repodata::Files(files) => files.iter().map(|file| file.title.as_str()).collect(),
    }
}

fn place(artifact: &Artifact, location: &str) -> Vec<u8> {
    match artifact.package(location) {
        PackageLocation::Layer(layer) => vec![number(layer)],
        PackageLocation::OneOf(layers) => layers.into_iter().map(number).collect(),
        PackageLocation::InDirectory(layers) => {
            layers.into_iter().map(|titled| number(&titled.layer)).collect()
        }
        PackageLocation::ByDigest => vec![],
    }
}

#[test]
fn as_oras_pushes_a_flat_repository() {
    let artifact =
        Artifact::new(&manifest(&[("a.rpm", false, 1), ("repodata", true, 2)])).expect("read");
    assert_eq!(artifact.repodata().digests(), [digest(2)]);
    assert_eq!(artifact.repodata().layout(), "archive");
    assert_eq!(place(&artifact, "a.rpm"), [1]);
    assert_eq!(place(&artifact, "./a.rpm"), [1]);
    assert_eq!(place(&artifact, "Packages/a.rpm"), [1]);
    assert!(place(&artifact, "b.rpm").is_empty());
    let titles: Vec<_> = artifact.layers().iter().map(|titled| titled.title.as_str()).collect();
    assert_eq!(titles, ["a.rpm", "repodata"]);
}

#[test]
fn as_oras_pushes_subdirectories() {
    let artifact = Artifact::new(&manifest(&[
        ("repodata", true, 1),
        ("Packages", true, 2),
        ("Packages/c", true, 3),
        ("Pack", true, 4),
        (".", true, 5),
    ]))
    .expect("read");
    assert_eq!(place(&artifact, "Packages/c/x.rpm"), [3, 2, 5]);
    assert_eq!(place(&artifact, "Packages/d/x.rpm"), [2, 5]);
    assert_eq!(place(&artifact, "x.rpm"), [5]);
}

#[test]
fn every_file_a_layer() {
    let artifact = Artifact::new(&manifest(&[
        ("repodata/repomd.xml", false, 1),
        ("repodata/primary.xml.zst", false, 2),
        ("Packages/c/x.rpm", false, 3),
    ]))
    .expect("read");
    let names = file_names(&artifact);
    assert_eq!(names, ["primary.xml.zst", "repomd.xml"]);
    assert_eq!(place(&artifact, "Packages/c/x.rpm"), [3]);
}

#[test]
fn what_is_no_repository() {
    let titles: Vec<_> = (0..7).map(|n| format!("f{n}.txt")).collect();
    let layers: Vec<_> = titles.iter().map(|title| (title.as_str(), false, 1)).collect();
    let error = Artifact::new(&manifest(&layers)).expect_err("no repodata").to_string();
    assert!(error.contains("\"repodata\""), "{error}");
    assert!(
        error.ends_with("\"f0.txt\", \"f1.txt\", \"f2.txt\", \"f3.txt\", \"f4.txt\", and 2 more"),
        "{error}"
    );
    let error = Artifact::new(&manifest(&[])).expect_err("no layer").to_string();
    assert!(error.ends_with("without titles"), "{error}");
}

#[test]
fn only_what_is_asked_for_can_be_ambiguous() {
    let artifact = Artifact::new(&manifest(&[
        ("repodata", true, 1),
        ("a.rpm", false, 2),
        ("a.rpm", false, 2),
        ("b.rpm", false, 3),
        ("./b.rpm", false, 4),
        ("README.md", false, 5),
        ("README.md", false, 6),
        ("x86_64", true, 7),
        ("x86_64/", true, 8),
    ]))
    .expect("read");
    assert_eq!(artifact.package("a.rpm"), PackageLocation::Layer(&layer(&artifact, 2)));
    let both = [3, 4].map(|number| layer(&artifact, number));
    assert_eq!(artifact.package("b.rpm"), PackageLocation::OneOf(both.iter().collect()));
    assert_eq!(place(&artifact, "x86_64/c.rpm"), [7, 8]);

    let archives = [("repodata", true, 1), ("repodata", true, 2)];
    let error = Artifact::new(&manifest(&archives)).expect_err("ambiguous").to_string();
    assert_eq!(error, "the artifact has two different layers titled \"repodata\"");
    let files = [("repomd.xml", false, 1), ("other.xml", false, 2), ("other.xml", false, 3)];
    let artifact = Artifact::new(&manifest(&files)).expect("read");
    assert!(artifact.repodata().file("repomd.xml").is_ok_and(|file| file.is_some()));
    assert!(artifact.repodata().file("other.xml").is_err());
}

fn layer(artifact: &Artifact, number: u8) -> Descriptor {
    artifact.with_digest(&digest(number)).expect("there").clone()
}

#[test]
fn metadata_as_podman_adds_it() {
    let layers = [
        ("repomd.xml", false, 1),
        ("abc-primary.xml.zst", false, 2),
        ("one-1-1.noarch.rpm", false, 3),
        ("docs", true, 4),
    ];
    let artifact = Artifact::new(&manifest(&layers)).expect("read");
    assert_eq!(file_names(&artifact), ["abc-primary.xml.zst", "repomd.xml"]);
    assert_eq!(place(&artifact, "one-1-1.noarch.rpm"), [3]);
    assert_eq!(place(&artifact, "Packages/one-1-1.noarch.rpm"), [3]);
}

#[test]
fn a_repository_in_a_directory() {
    for metadata in ["rr/repodata", "rr/repodata/repomd.xml", "rr/repomd.xml", "rr/repodata.tar"] {
        let layers = [(metadata, false, 1), ("rr/a.rpm", false, 2), ("rr/p", true, 3)];
        let artifact = Artifact::new(&manifest(&layers)).expect(metadata);
        assert_eq!(artifact.root(), "rr/", "{metadata}");
        assert_eq!(artifact.repodata().digests(), [digest(1)], "{metadata}");
        assert_eq!(place(&artifact, "a.rpm"), [2]);
        assert_eq!(place(&artifact, "p/b.rpm"), [3]);
    }
    let several = [("x86_64/repodata", true, 1), ("aarch64/repodata", true, 2)];
    let error = Artifact::new(&manifest(&several)).expect_err("which one?").to_string();
    assert!(error.ends_with("several repositories, in \"aarch64/\", \"x86_64/\""), "{error}");
}

#[test]
fn metadata_inside_other_layers() {
    let inside = |layers: &[(&str, bool, u8)]| match Artifact::new(&manifest(layers)) {
        Ok(Artifact { repodata: Repodata::Inside(layers), .. }) => {
            layers.iter().map(|titled| number(&titled.layer)).collect()
        }
        Ok(other) => unreachable!("{other:?}"),
        Err(_) => vec![],
    };
    assert_eq!(inside(&[(".", true, 1)]), [1]);
    assert_eq!(inside(&[("rr", true, 1), ("README.md", false, 2)]), [1]);
    assert_eq!(inside(&[("rr", false, 1)]), [1], "without the annotation");
    assert_eq!(inside(&[("LICENSE", false, 1), ("tool", false, 2)]), [0; 0]);
    assert_eq!(inside(&[("compose-metadata.tar.gz", false, 1), ("a.rpm", false, 2)]), [1]);
    let many: Vec<_> = (0..9).map(|n| (format!("{n}.tgz"), false, n)).collect();
    let many: Vec<_> =
        many.iter().map(|(title, unpack, n)| (title.as_str(), *unpack, *n)).collect();
    assert_eq!(inside(&many).len(), MAX_CANDIDATES);
}

#[test]
fn layers_are_found_by_digest_and_told_their_time() {
    let mut json = serde_json::to_value(manifest(&[("repodata", true, 1), ("a", false, 2)]));
    let json = json.as_mut().expect("a manifest");
    json["layers"][1]["annotations"] = json!({ CREATED: "2026-01-02T03:04:05Z" });
    json["annotations"] = json!({ CREATED: "2026-11-01T00:00:00Z" });
    let manifest = serde_json::from_value(json.clone()).expect("a manifest");
    let artifact = Artifact::new(&manifest).expect("read");
    let seconds = |number| {
        let created = artifact.created(&layer(&artifact, number)).expect("known");
        created.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs()
    };
    assert_eq!(seconds(2), 1_767_323_045, "an untitled layer's own");
    assert_eq!(seconds(1), 1_793_491_200, "the manifest's");
    assert!(artifact.with_digest(&digest(9)).is_none());
}

/// Manifests that `oras push` 1.3.3 made.
fn pushed(name: &str) -> Result<Artifact, Error> {
    let json = match name {
        "flat" => include_str!("../../tests/fixtures/oras/flat.json"),
        "subdirectories" => include_str!("../../tests/fixtures/oras/subdirectories.json"),
        "files" => include_str!("../../tests/fixtures/oras/files.json"),
        "dot" => include_str!("../../tests/fixtures/oras/dot.json"),
        "from-above" => include_str!("../../tests/fixtures/oras/from-above.json"),
        _ => unreachable!("{name}"),
    };
    Artifact::new(&serde_json::from_str(json).expect("a manifest"))
}

fn short(digest: impl ToString) -> String {
    digest.to_string()["sha256:".len()..][..8].to_owned()
}

fn found(artifact: &Artifact, location: &str) -> Vec<String> {
    match artifact.package(location) {
        PackageLocation::Layer(layer) => vec![short(layer.digest())],
        PackageLocation::InDirectory(layers) => {
            layers.iter().map(|titled| format!("in {}", short(titled.layer.digest()))).collect()
        }
        PackageLocation::OneOf(layers) => {
            layers.iter().map(|layer| short(layer.digest())).collect()
        }
        PackageLocation::ByDigest => vec![],
    }
}

#[test]
fn what_oras_pushes_is_understood() {
    let flat = pushed("flat").expect("read");
    assert_eq!(flat.repodata().layout(), "archive");
    assert_eq!(flat.repodata().digests().iter().map(short).collect::<Vec<_>>(), ["c47d0161"]);
    assert_eq!(found(&flat, "libx++-1.0-1.noarch.rpm"), ["d88bd670"]);

    let subdirectories = pushed("subdirectories").expect("read");
    assert_eq!(subdirectories.repodata().layout(), "archive");
    assert_eq!(found(&subdirectories, "x86_64/beta-1.0-1.noarch.rpm"), ["in 1198033b"]);
    assert_eq!(found(&subdirectories, "Packages/a/alpha-1.0-1.noarch.rpm"), ["in b0081ea4"]);
    assert!(found(&subdirectories, "alpha-1.0-1.noarch.rpm").is_empty());

    let files = pushed("files").expect("read");
    assert_eq!(files.repodata().layout(), "files");
    let names = file_names(&files);
    assert_eq!(names.len(), 4);
    assert!(names.contains(&"repomd.xml"), "{names:?}");
    assert_eq!(found(&files, "Packages/a/alpha-1.0-1.noarch.rpm"), ["78ba05ab"]);
}

#[test]
fn what_oras_pushes_from_elsewhere_is_understood() {
    let dot = pushed("dot").expect("read");
    assert!(matches!(dot.repodata(), Repodata::Inside(layers) if layers[0].title == "."));
    let above = pushed("from-above").expect("read");
    assert_eq!((above.root(), above.repodata().layout()), ("sub/", "archive"));
    assert_eq!(found(&above, "Packages/a.rpm").len(), 1);
}

#[test]
fn titles_that_lead_elsewhere_are_passed_over() {
    let hostile = ["../x.rpm", "/x.rpm", "a/../x.rpm", "repodata/../x.rpm", "x\u{1b}.rpm", ""];
    let mut layers = vec![("repodata/repomd.xml", false, 1), ("repodata/a/b", false, 3)];
    layers.extend(hostile.map(|title| (title, false, 2)));
    layers.push(("../Packages", true, 2));
    let artifact = Artifact::new(&manifest(&layers)).expect("read");
    let names = file_names(&artifact);
    assert_eq!(names, ["repomd.xml"]);
    let titles: Vec<_> = artifact.layers().iter().map(|titled| titled.title.as_str()).collect();
    assert_eq!(titles, ["repodata/a/b", "repodata/repomd.xml"]);
    for location in hostile.into_iter().chain(["../Packages/x.rpm", "x.rpm"]) {
        assert_eq!(artifact.package(location), PackageLocation::ByDigest, "{location:?}");
    }
}

#[test]
fn archives_packed_by_hand_need_no_annotation() {
    for title in ["repodata", "./repodata/", "repodata.tar", "repodata.tar.gz", "repodata.tar.xz"] {
        let artifact = Artifact::new(&manifest(&[(title, false, 1)])).expect(title);
        assert_eq!(artifact.repodata().layout(), "archive", "{title}");
    }
    let both = [("repodata.tar.zst", false, 1), ("repodata", true, 2)];
    let artifact = Artifact::new(&manifest(&both)).expect("read");
    assert_eq!(artifact.repodata().digests(), [digest(2)], "oras's own comes first");
    assert!(Artifact::new(&manifest(&[("repodata/primary.xml", false, 1)])).is_err());
}

#[test]
fn a_directory_is_no_package() {
    let layers = [("repodata", true, 1), ("x.rpm", true, 2), ("Packages/x.rpm", true, 3)];
    let artifact = Artifact::new(&manifest(&layers)).expect("read");
    assert!(place(&artifact, "x.rpm").is_empty());
    assert!(place(&artifact, "Packages/x.rpm").is_empty());
    assert_eq!(place(&artifact, "x.rpm/y.rpm"), [2]);
}

#[test]
fn a_long_title_does_not_fill_the_error() {
    let title = format!("{}.txt", "x".repeat(1 << 20));
    let error = Artifact::new(&manifest(&[(&title, false, 1)])).expect_err("no repodata");
    assert!(error.to_string().len() < 400);
}

/// The counts of a manifest whose layer with the locations has these annotations.
fn counts(annotations: serde_json::Value) -> Option<(usize, usize)> {
    let mut manifest = serde_json::to_value(manifest(&[("repodata", true, 1)])).expect("JSON");
    manifest["layers"].as_array_mut().expect("layers").push(json!({
        "mediaType": LOCATIONS,
        "digest": digest(2),
        "size": 1,
        "annotations": annotations,
    }));
    let artifact = Artifact::new(&serde_json::from_value(manifest).expect("a manifest"));
    let artifact = artifact.expect("read");
    assert_eq!(artifact.locations().map(number), Some(2));
    artifact.counts().map(|counts| (counts.packages, counts.segments))
}

#[test]
fn the_layer_with_the_locations_says_how_many_packages_there_are() {
    let annotated =
        |packages: &str, segments: &str| counts(json!({ PACKAGES: packages, SEGMENTS: segments }));
    assert_eq!(annotated("70000", "175"), Some((70_000, 175)));
    assert_eq!(annotated("0", "0"), Some((0, 0)));
    for (packages, segments) in
        [("2000001", "1"), ("1", "10001"), ("-1", "1"), ("1", ""), ("1\n", "1"), ("9e9", "1")]
    {
        assert_eq!(annotated(packages, segments), None, "{packages:?} {segments:?}");
    }
    assert_eq!(counts(json!({ PACKAGES: "1" })), None);
    let other = Artifact::new(&manifest(&[("repodata", true, 1)])).expect("read");
    assert!(other.locations().is_none() && other.counts().is_none());
}
