//! Checksums as RPM repositories and container registries write them.

use std::fmt;
use std::io;
use std::str::FromStr;

use sha2::Digest as _;

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

/// What a run of bytes must hash to.
///
/// Its text form is that of a digest in the OCI image specification (descriptor.md, "Digests"):
/// `sha256:` and lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

/// The text is no checksum, or one of an algorithm that is not known here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid checksum {0:?}")]
pub struct InvalidChecksum(String);

impl Algorithm {
    const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name as repodata and digests write it.
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

    /// By its name; `sha` is what old repodata calls SHA-1.
    fn from_name(name: &str) -> Option<Self> {
        if name == "sha" {
            return Some(Self::Sha1);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The length of a checksum in hexadecimal digits.
    fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha224 => 56,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

impl Checksum {
    /// A checksum from the two parts that repodata keep apart; upper case becomes lower.
    ///
    /// # Errors
    /// If the algorithm is unknown, or the digits are not as many hexadecimal ones as it makes.
    pub fn new(algorithm: &str, hex: &str) -> Result<Self, InvalidChecksum> {
        let invalid = || InvalidChecksum(format!("{algorithm}:{hex}"));
        let known = Algorithm::from_name(algorithm).ok_or_else(invalid)?;
        if hex.len() != known.digits() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        Ok(Self { algorithm: known, hex: hex.to_ascii_lowercase() })
    }

    /// The algorithm it was made with.
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

/// Hashes bytes as they pass.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha224 => State::Sha224(sha2::Sha224::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Md5(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha224(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The checksum of all that was taken.
    pub fn finish(self) -> Checksum {
        let (algorithm, hex) = match self.0 {
            State::Md5(state) => (Algorithm::Md5, to_hex(&state.finalize())),
            State::Sha1(state) => (Algorithm::Sha1, to_hex(&state.finalize())),
            State::Sha224(state) => (Algorithm::Sha224, to_hex(&state.finalize())),
            State::Sha256(state) => (Algorithm::Sha256, to_hex(&state.finalize())),
            State::Sha384(state) => (Algorithm::Sha384, to_hex(&state.finalize())),
            State::Sha512(state) => (Algorithm::Sha512, to_hex(&state.finalize())),
        };
        Checksum { algorithm, hex }
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

fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_hashes_to_what_it_should() {
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
        }
    }

    #[test]
    fn old_name_and_upper_case_are_understood() {
        let sha = Checksum::new("sha", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709").expect("valid");
        assert_eq!(sha.to_string(), "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    #[test]
    fn what_is_no_checksum() {
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
