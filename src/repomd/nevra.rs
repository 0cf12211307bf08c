//! The names of packages in primary.xml.

use std::io::Read;

use super::Error;
use super::primary::{Package, read_packages};
use super::xml::{Item, Wanted};

/// The name of a package: name, epoch, version, release and architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Nevra {
    pub name: String,
    pub epoch: String,
    pub version: String,
    pub release: String,
    pub arch: String,
}

/// Reads primary.xml of this size, which may be compressed, and hands every package with its name to `visit`.
///
/// # Errors
/// As [`super::read_primary`].
pub fn read_nevras(
    stream: impl Read,
    size: u64,
    mut visit: impl FnMut(Package, Nevra),
) -> Result<(), Error> {
    read_packages(stream, size, Wanted::Names, |item: &Item| {
        let text = |text: &String| text.trim().to_owned();
        let names = &item.names;
        let nevra = Nevra {
            name: text(&names.name),
            epoch: text(&names.epoch),
            version: text(&names.version),
            release: text(&names.release),
            arch: text(&names.arch),
        };
        visit(Package::new(item)?, nevra);
        Ok(())
    })
}

impl Nevra {
    /// How people write it: with the epoch, and without it if there is none. dnf5 leaves an epoch of 0 out.
    pub fn spellings(&self) -> Vec<String> {
        let Self { name, epoch, version, release, arch } = self;
        let without = format!("{name}-{version}-{release}.{arch}");
        let epoch = if epoch.is_empty() { "0" } else { epoch };
        let with = format!("{name}-{epoch}:{version}-{release}.{arch}");
        if epoch == "0" { vec![without, with] } else { vec![with] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_part_of_the_name_unless_it_is_0() {
        let xml = r#"<metadata><package type="rpm"><name>a</name><arch>noarch</arch>
            <version epoch="0" ver="1" rel="2"/><checksum type="sha1">SHA1</checksum>
            <size package="5"/><location href="p/x.rpm"/></package>
            <package type="rpm"><name>b</name><arch>x86_64</arch>
            <version epoch="3" ver="1~rc1" rel="2"/><checksum type="sha1">SHA1</checksum>
            <size package="5"/><location href="y.rpm"/></package></metadata>"#;
        let xml = xml.replace("SHA1", &"0".repeat(40));
        let mut all = Vec::new();
        read_nevras(xml.as_bytes(), 1 << 10, |listed, nevra| {
            all.push((listed.location, nevra.spellings()));
        })
        .expect("well-formed");
        assert_eq!(all[0].0, "p/x.rpm");
        assert_eq!(all[0].1, ["a-1-2.noarch", "a-0:1-2.noarch"]);
        assert_eq!(all[1].1, ["b-3:1~rc1-2.x86_64"]);
    }
}
