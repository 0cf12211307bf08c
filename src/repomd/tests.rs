use super::*;
use proptest::prelude::*;

/// In the form of createrepo_c, with what it writes seldom or no longer.
const REPOMD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1764000000</revision>
  <data type="primary">
    <checksum type="sha256">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
    <open-checksum type="sha256">0000000000000000000000000000000000000000000000000000000000000000</open-checksum>
    <location href="repodata/e3b0c4-primary.xml.zst"/>
    <timestamp>1764000000</timestamp>
    <size>1034</size>
    <open-size>4711</open-size>
  </data>
  <data type="modules">
    <checksum type="sha">da39a3ee5e6b4b0d3255bfef95601890afd80709</checksum>
    <location href="repodata/a&amp;b.yaml"/>
  </data>
</repomd>"#;

#[test]
fn records_come_out() {
    let records = Repomd::parse(REPOMD.as_bytes()).expect("parsed").records;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].kind, "primary");
    assert_eq!(records[0].name, "e3b0c4-primary.xml.zst");
    assert_eq!(records[0].size, Some(1034));
    assert!(records[0].checksum.to_string().starts_with("sha256:e3b0c442"));
    assert_eq!(records[1].name, "a&b.yaml");
    assert_eq!(records[1].size, None);
    assert!(records[1].checksum.to_string().starts_with("sha1:da39"));
}

#[track_caller]
fn refused(xml: &str) -> String {
    Repomd::parse(xml.as_bytes()).expect_err("refused").to_string()
}

#[test]
fn locations_stay_in_the_directory() {
    for location in [
        "/etc/passwd",
        "../repodata/x",
        "repodata/../x",
        "repodata/..",
        "repodata/",
        "repodata/a/b",
        "primary.xml",
        "http://elsewhere/repodata/x",
        "repodata/a&#10;b",
    ] {
        let xml = REPOMD.replace("repodata/e3b0c4-primary.xml.zst", location);
        let error = refused(&xml);
        assert!(error.contains("\"primary\" has the location"), "{location}: {error}");
    }
}

#[test]
fn broken_records_are_named() {
    for (from, to, problem) in [
        ("type=\"sha256\">e3b0", "type=\"crc\">e3b0", "invalid checksum \"crc:e3b0"),
        ("<size>1034", "<size>-1", "has the size \"-1\""),
        ("<location href=\"repodata/e3b0c4-primary.xml.zst\"/>", "", "has no location"),
        ("<checksum type=\"sha256\">", "<checksum>", "has no checksum"),
    ] {
        let error = refused(&REPOMD.replacen(from, to, 1));
        assert!(error.contains("\"primary\"") && error.contains(problem), "{error}");
    }
}

#[test]
fn what_is_not_repomd_is_refused() {
    for xml in ["", "<html></html>", "<repomd>", "not xml", &REPOMD[..REPOMD.len() / 2]] {
        assert!(refused(xml).starts_with("cannot parse repomd.xml: "), "{xml}");
    }
}

#[test]
fn records_must_not_contradict_each_other() {
    let xml = REPOMD.replace("repodata/a&amp;b.yaml", "repodata/e3b0c4-primary.xml.zst");
    assert!(refused(&xml).contains("contradicts"));
}

#[test]
fn what_createrepo_c_writes_is_understood() {
    // createrepo_c 1.2.1, with `--checksum sha256` and `--checksum sha512`.
    for (xml, algorithm, sizes) in [
        (include_str!("../../tests/fixtures/repomd/sha256.xml"), "sha256", [728, 331, 330]),
        (include_str!("../../tests/fixtures/repomd/sha512.xml"), "sha512", [738, 361, 359]),
    ] {
        let records = Repomd::parse(xml.as_bytes()).expect("parsed").records;
        let kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
        assert_eq!(kinds, ["primary", "filelists", "other"]);
        assert_eq!(records.iter().filter_map(|record| record.size).collect::<Vec<_>>(), sizes);
        for record in records {
            // By default it puts the checksum into the name.
            assert_eq!(record.checksum.algorithm().name(), algorithm);
            let name = format!("{}-{}.xml.zst", record.checksum.hex(), record.kind);
            assert_eq!(record.name, name);
        }
    }
}

/// The kind, name and size of each record.
fn parsed(xml: &str) -> Vec<(String, String, Option<u64>)> {
    let records = Repomd::parse(xml.as_bytes()).expect(xml).records;
    records.into_iter().map(|record| (record.kind, record.name, record.size)).collect()
}

#[test]
fn other_ways_of_writing_the_same_change_nothing() {
    let expected = parsed(REPOMD);
    for (from, to) in [
        ("<?xml", "\u{feff}<?xml"),
        ("<size>1034", "<size>\n <![CDATA[10]]><!-- -->34 "),
        (
            "  <revision>",
            "  <tags><data type=\"x\"/></tags><unknown a=\"b\">&amp;&x;</unknown><revision>",
        ),
        ("<timestamp>1764000000</timestamp>", "<timestamp/><deep><size>9</size><location/></deep>"),
        ("href=\"repodata/e3b0c4", "href=\"./repodata/&#101;3b0c4"),
        (
            "<location href=\"repodata/e3b0c4-primary.xml.zst\"/>",
            "<location href=\"repodata/e3b0c4-primary.xml.zst\"></location>",
        ),
    ] {
        let xml = REPOMD.replacen(from, to, 1);
        assert_ne!(xml, REPOMD, "{from}");
        assert_eq!(parsed(&xml), expected, "{to}");
    }
    let prefixed = REPOMD.replace("xmlns=", "xmlns:r=").replace("<data", "<r:data");
    assert_eq!(parsed(&prefixed.replace("</data", "</r:data")), expected);
}

#[test]
fn what_parsers_could_differ_on_is_refused() {
    let long = format!("<location href=\"repodata/{}", "x".repeat(2000));
    for (from, to, reason) in [
        ("<repomd", "<!DOCTYPE repomd [<!ENTITY e \"x\">]><repomd", "a document type"),
        ("e3b0c44298fc", "&e;e3b0c44298fc", "the reference \"e\""),
        ("href=\"repodata/e3b0c4", "href=\"repodata/&e;e3b0c4", "unrecognized entity"),
        (
            "<data type=\"primary\">",
            "<data type=\"empty\"/><data type=\"primary\">",
            "\"empty\" has no location",
        ),
        (
            "<location ",
            "<location xml:base=\"http://elsewhere/\" ",
            "\"primary\" has another base, \"http://elsewhere/\"",
        ),
        ("1034", "10 <!-- --> 34", "\"primary\" has the size"),
        ("</repomd>", "</repomd><repomd></repomd>", "another document"),
        ("</repomd>", "", "ends early"),
        ("<location href=\"repodata/e3b0c4", &long, "longer than 1024 bytes"),
        ("1034", &"1".repeat(2000), "longer than 1024 bytes"),
    ] {
        let xml = REPOMD.replacen(from, to, 1);
        assert_ne!(xml, REPOMD, "{from}");
        let error = refused(&xml);
        assert!(error.contains(reason), "{error}");
        assert!(error.len() < 400, "{} bytes", error.len());
    }
}

#[test]
fn size_is_bounded() {
    let comment = format!("<!--{}-->", " ".repeat(1 << 16));
    let large = REPOMD.replace("</repomd>", &comment.repeat(256)) + "</repomd>";
    assert!(refused(&large).ends_with("more than 1048576 bytes"));
    let long = REPOMD.replace("</repomd>", &" ".repeat(2 << 20)) + "</repomd>";
    assert!(refused(&long).ends_with("more than 1048576 bytes"));
}

proptest! {
    #[test]
    fn changed_bytes_never_make_it_panic(
        changes in prop::collection::vec((0..REPOMD.len(), any::<u8>()), 0..8), cut in 0..=REPOMD.len()
    ) {
        let mut xml = REPOMD.as_bytes().to_vec();
        for (place, byte) in changes {
            xml[place] = byte;
        }
        xml.truncate(cut);
        // Errors are fine; what comes out is safe.
        for record in Repomd::parse(&xml).map_or(vec![], |repomd| repomd.records) {
            prop_assert!(!record.name.contains('/') && !record.name.is_empty());
        }
    }
}
