//! Checksums as RPM repositories and container registries write them.

use std::fmt;
use std::io;
use std::str::FromStr;

use sha2::digest::DynDigest;

/// An algorithm that createrepo_c or a registry uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// An expected checksum.
///
/// Its text form is that of a digest in the OCI image specification (descriptor.md, "Digests"):
/// `sha256:` and lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

/// The text is not a checksum, or its algorithm is unknown.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid checksum {0:?}")]
pub struct InvalidChecksum(String);

impl Algorithm {
    pub(crate) const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in repodata and digests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Old repodata calls SHA-1 `sha`.
    fn from_name(name: &str) -> Option<Self> {
        if name == "sha" {
            return Some(Self::Sha1);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn digest(self) -> Box<dyn DynDigest + Send> {
        match self {
            Self::Md5 => Box::<md5::Md5>::default(),
            Self::Sha1 => Box::<sha1::Sha1>::default(),
            Self::Sha224 => Box::<sha2::Sha224>::default(),
            Self::Sha256 => Box::<sha2::Sha256>::default(),
            Self::Sha384 => Box::<sha2::Sha384>::default(),
            Self::Sha512 => Box::<sha2::Sha512>::default(),
        }
    }
}

impl Checksum {
    /// A checksum from the two parts that repodata has; upper-case digits become lower-case.
    ///
    /// # Errors
    /// If the algorithm is unknown, or the digits are not hexadecimal or not as many as it makes.
    pub fn new(algorithm: &str, hex: &str) -> Result<Self, InvalidChecksum> {
        let invalid = || InvalidChecksum(format!("{algorithm}:{hex}"));
        let known = Algorithm::from_name(algorithm).ok_or_else(invalid)?;
        let digits = 2 * known.digest().output_size();
        if hex.len() != digits || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        Ok(Self { algorithm: known, hex: hex.to_ascii_lowercase() })
    }

    /// The checksum whose digits stand for these bytes.
    pub(crate) fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { algorithm, hex }
    }

    /// The bytes that its digits stand for.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
        self.hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// The algorithm that made it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its hexadecimal digits, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// A hasher whose result can be compared with this checksum.
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }
}

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| InvalidChecksum(text.into()))?;
        Self::new(algorithm, hex)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// Computes a checksum.
pub struct Hasher {
    algorithm: Algorithm,
    digest: Box<dyn DynDigest + Send>,
}

impl Hasher {
    /// A hasher that has got no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, digest: algorithm.digest() }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// The checksum of all bytes.
    pub fn finish(self) -> Checksum {
        Checksum::from_bytes(self.algorithm, &self.digest.finalize())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_makes_the_right_checksum() {
        // The empty input's checksums, as the algorithms' standards give them.
        for known in [
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "sha224:d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
            "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ] {
            let checksum: Checksum = known.parse().expect("valid");
            assert_eq!(checksum.hasher().finish(), checksum);
            assert_eq!(checksum.to_string(), known);
            let bytes = checksum.to_bytes();
            assert_eq!(Checksum::from_bytes(checksum.algorithm(), &bytes), checksum);
        }
    }

    #[test]
    fn the_old_name_and_upper_case_are_accepted() {
        let sha = Checksum::new("sha", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709").expect("valid");
        assert_eq!(sha.to_string(), "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:ab",
            "crc:00000000",
            "md5:zz1d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
