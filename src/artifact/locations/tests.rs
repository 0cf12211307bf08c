use super::*;
use proptest::prelude::*;

const VARIANTS: [&str; 2] = ["s3f2a9c0b1d2e4f5a", "s9b1c000000000000"];
const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const TABLE: &str = "locations 1
s3f2a9c0b1d2e4f5a s9b1c000000000000
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 12034 0 Packages/h/hello-1-1.noarch.rpm
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 1 Packages/h/two words~1^2+3:4%5.rpm
";

fn pack(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).expect("compressed")
}

fn read_packed(table: Table, packed: &[u8]) -> Result<(Vec<String>, Vec<Located>), Error> {
    let mut packages = Vec::new();
    let variants = table.read(packed, packed.len() as u64, |package| packages.push(package))?;
    Ok((variants, packages))
}

fn read(table: Table, text: &str) -> Result<(Vec<String>, Vec<Located>), Error> {
    read_packed(table, &pack(text))
}

fn located(location: &str, segment: usize, removed: Option<u64>) -> Located {
    let sha256 = Checksum::new("sha256", HEX).expect("valid");
    Located { location: location.to_owned(), sha256, size: 12034, segment, removed }
}

#[track_caller]
fn refused(table: Table, text: &str, line: usize, reason: &str) {
    let error = read(table, text).expect_err(text).to_string();
    let expected = format!("cannot parse the table of {}: line {line}: ", table.describe());
    assert!(error.starts_with(&expected) && error.contains(reason), "{error}");
    assert!(error.len() < 300 && !error.contains(char::is_control), "{error}");
}

#[test]
fn the_example_of_the_specification_is_read_and_written() {
    let (variants, packages) = read(Table::Locations, TABLE).expect("valid");
    assert_eq!(variants, VARIANTS);
    assert_eq!(packages[0], located("Packages/h/hello-1-1.noarch.rpm", 0, None));
    let found = (packages[1].location.as_str(), packages[1].size, packages[1].segment);
    assert_eq!(found, ("Packages/h/two words~1^2+3:4%5.rpm", 0, 1));
    let reversed: Vec<_> = packages.into_iter().rev().collect();
    let written = Table::Locations.write(&variants, &reversed).expect("valid");
    assert_eq!(zstd::decode_all(&written[..]).expect("packed"), TABLE.as_bytes());
}

#[test]
fn removed_packages_are_sorted_by_time() {
    let text = format!("removed 1\n\n10 {HEX} 12034 0 b\n11 {HEX} 12034 0 a\n11 {HEX} 12034 0 b\n");
    let (variants, packages) = read(Table::Removed, &text).expect("valid");
    let expected =
        [located("b", 0, Some(10)), located("a", 0, Some(11)), located("b", 0, Some(11))];
    assert_eq!((variants.len(), &packages[..]), (0, &expected[..]));
    let written = Table::Removed.write(&[], &[&expected[..], &expected[..1]].concat());
    let written = zstd::decode_all(&written.expect("valid")[..]).expect("packed");
    assert_eq!(written, text.as_bytes());
}

#[test]
fn a_table_without_packages() {
    for table in [Table::Locations, Table::Removed] {
        let written = table.write(&[], &[]).expect("valid");
        assert_eq!(read_packed(table, &written).expect("valid"), (vec![], vec![]));
    }
}

#[test]
fn a_malformed_line_is_named() {
    let changed = |from: &str, to: &str| TABLE.replacen(from, to, 1);
    let long = changed("Packages/h/hello", &"x".repeat(MAX_LOCATION));
    let longer = changed("Packages/h/hello", &"x".repeat(MAX_LINE));
    for (text, line, reason) in [
        ("", 1, "expected \"locations 1\""),
        ("locations 1", 1, "ends early"),
        ("removed 1\n\n", 1, "expected \"locations 1\""),
        ("locations 2\n\n", 1, "expected \"locations 1\""),
        ("locations 1\n", 2, "ends early"),
        (&changed("s9b1c", "S9b1c"), 2, "invalid variant"),
        (&changed("s9b1c", "--s9"), 2, "invalid variant"),
        (&changed(" s9b1c", "  s9b1c"), 2, "invalid variant \"\""),
        (&changed("e3b0", "E3b0"), 3, "invalid checksum"),
        (&changed("e3b0", "e3"), 3, "invalid checksum"),
        (&changed(" 12034 ", " +12034 "), 3, "invalid size \"+12034\""),
        (&changed(" 12034 ", " 012034 "), 3, "invalid size"),
        (&changed(" 12034 ", "  12034 "), 3, "invalid size \"\""),
        (&changed(" 12034 ", " 99999999999999999999 "), 3, "invalid size"),
        (&changed(" 12034 0 ", " 12034 2 "), 3, "there is no segment 2"),
        (&changed(" 12034 0 ", " 12034 -1 "), 3, "invalid number of a segment"),
        (&changed(" 12034 0 Packages", " Packages"), 3, "too few fields"),
        (&changed("Packages/h/hello", "../hello"), 3, "invalid location"),
        (&changed("Packages/h/hello", "/hello"), 3, "invalid location"),
        (&changed("Packages/h/hello", "./hello"), 3, "invalid location"),
        (&changed("Packages/h/hello", "a\u{1b}[31m"), 3, "invalid location"),
        (&changed("Packages/h/hello", "zz"), 4, "out of order"),
        (&long, 3, "invalid location"),
        (&longer, 3, "longer than 1152 bytes"),
        (TABLE.trim_end(), 4, "ends early"),
        (&format!("{TABLE}\n"), 5, "too few fields"),
    ] {
        refused(Table::Locations, text, line, reason);
    }
    let twice = format!("{TABLE}{}", TABLE.lines().last().expect("one").to_owned() + "\n");
    refused(Table::Locations, &twice, 5, "out of order");
    let removed = format!("removed 1\n\n{HEX} 12034 0 a\n");
    refused(Table::Removed, &removed, 3, "invalid time");
    refused(Table::Removed, &format!("removed 1\n\n1 {HEX} 1 1 a\n"), 3, "no segment 1");
}

#[test]
fn what_is_not_text_is_refused() {
    let mut bytes = TABLE.as_bytes().to_vec();
    bytes.extend(format!("{HEX} 1 1 Packages/z").bytes().chain([0xff, b'\n']));
    let error = read_packed(Table::Locations, &bytes).expect_err("refused").to_string();
    assert!(error.contains("line 5: invalid utf-8"), "{error}");
    let packed = pack(TABLE);
    let error = read_packed(Table::Locations, &packed[..packed.len() - 5]);
    let error = error.expect_err("refused").to_string();
    assert!(error.ends_with("incomplete frame"), "{error}");
}

#[test]
fn there_are_limits() {
    let variants = vec![VARIANTS[0].to_owned(); MAX_SEGMENTS + 1];
    assert!(Table::Locations.write(&variants[1..], &[]).is_ok());
    let error = Table::Locations.write(&variants, &[]).expect_err("refused").to_string();
    assert_eq!(error, "more than 10000 segments");
    let text = format!("locations 1\n{}\n", variants.join(" "));
    refused(Table::Locations, &text, 2, "longer than 180000 bytes");
    let bomb = pack(&format!("{TABLE}{}", "x".repeat(80 << 20)));
    let error = read_packed(Table::Locations, &bomb).expect_err("refused").to_string();
    assert!(error.contains("longer than 1152 bytes"), "{error}");
    let mut rules = Rules::new(Table::Locations, 1);
    rules.packages = MAX_PACKAGES;
    let error = rules.check(&located("a", 0, None)).expect_err("refused");
    assert_eq!(error, "more than 2000000 packages");
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let sha512 = Checksum::new("sha512", &HEX.repeat(2)).expect("valid");
    let other = Located { size: 1, ..located("a", 0, None) };
    for (packages, reason) in [
        (vec![located("a\nb", 0, None)], "package \"a\\nb\": invalid location"),
        (vec![located("../a", 0, None)], "invalid location"),
        (vec![located("a", 1, None)], "there is no segment 1"),
        (vec![located("a", 0, Some(1))], "only a removed package has a time"),
        (vec![Located { sha256: sha512, ..located("a", 0, None) }], "expected a sha256"),
        (vec![located("a", 0, None), other], "out of order"),
    ] {
        let error = Table::Locations.write(&[], &packages).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(Table::Removed.write(&[], &[located("a", 0, None)]).is_err());
    assert!(Table::Removed.write(&["-s".to_owned()], &[]).is_err());
}

#[test]
fn a_failure_of_the_stream_is_not_the_table_s() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the registry's own words"))
        }
    }
    let packed = pack(TABLE);
    for stream in [&packed[..], &packed[..9], b"<html>", b""] {
        let error = Table::Locations.read(stream.chain(Broken), 1000, |_| {});
        let error = error.expect_err("failed");
        assert!(matches!(error, Error::Read(_)), "{error}");
        assert_eq!(error.to_string(), "the registry's own words");
    }
}

fn any_located() -> impl Strategy<Value = Located> {
    let location = "[a-zA-Z0-9+~^:% é][a-zA-Z0-9.+~^:% é]{0,30}(/[a-z ]{1,9}){0,3}";
    (location, any::<[u8; 32]>(), any::<u64>(), 0_usize..2).prop_map(
        |(location, sha256, size, segment)| {
            let sha256 = Checksum::from_bytes(Algorithm::Sha256, &sha256);
            Located { location, sha256, size, segment, removed: None }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        is_removed in any::<bool>(),
        packages in proptest::collection::vec(any_located(), 0..40),
        time in 0_u64..3,
    ) {
        let table = if is_removed { Table::Removed } else { Table::Locations };
        let mut packages = packages;
        packages.sort_by(|one, other| one.location.cmp(&other.location));
        packages.dedup_by(|one, other| one.location == other.location);
        for (number, package) in packages.iter_mut().enumerate() {
            package.removed = is_removed.then_some(time * number as u64);
        }
        let variants = VARIANTS.map(str::to_owned);
        let written = table.write(&variants, &packages).expect("valid");
        let backwards: Vec<_> = packages.iter().rev().cloned().collect();
        prop_assert_eq!(&table.write(&variants, &backwards).expect("valid"), &written);
        let (found, mut read) = read_packed(table, &written).expect("valid");
        read.sort_by(|one, other| one.location.cmp(&other.location));
        prop_assert_eq!((found, read), (variants.to_vec(), packages));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,300}", cut in 0..TABLE.len()) {
        for text in [text.clone(), format!("locations 1\n\n{text}"), TABLE[..cut].to_owned()] {
            if let Err(error) = read(Table::Locations, &text) {
                prop_assert!(error.to_string().len() < 1200);
            }
        }
    }
}
