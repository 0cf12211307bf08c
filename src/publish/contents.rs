//! What a repository is to have: metadata, packages and other files, from a directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::document::{Descriptor, Digest};
use super::error::Error;
use super::state::{Held, REPODATA};
use crate::artifact::is_plain_path;
use crate::artifact::media_types::FILE;
use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::repomd::{MAX_REPOMD, Nevra, Package, Repomd, read_nevras, read_primary};

/// The index of the metadata, and its signature.
pub const REPOMD: &str = "repomd.xml";
pub const SIGNATURE: &str = "repomd.xml.asc";

/// The largest file whose descriptor carries its content, in bytes: dnf5-oci-layout(7), "The manifest with the
/// metadata".
const MAX_DATA: usize = 16 << 10;

/// How names of keys begin or end. Keys at the top of the directory are published, for `gpgkey=oci://…`.
const KEY: &str = "RPM-GPG-KEY";
const KEYS: [&str; 3] = [".asc", ".gpg", ".key"];

/// What to do about metadata that does not fit the files.
const CREATE: &str = "run createrepo_c, or use --createrepo";

/// A blob, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Blob {
    /// What refers to it.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub content: Content,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
    /// In the registry.
    Remote,
}

/// What a repository is to have.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Metadata and other files.
    pub files: Vec<Blob>,
    /// By location.
    pub packages: BTreeMap<String, Held>,
    /// Where packages are on disk.
    pub paths: HashMap<Digest, PathBuf>,
    /// When the metadata was made, in seconds since 1970.
    pub created: u64,
}

impl Contents {
    /// Reads the metadata in `metadata`, a directory with a `repodata` in it, and finds the packages that it
    /// lists in `directory`. A package need not be there: the registry may have it. `known` are those that
    /// it has, by location.
    ///
    /// # Errors
    /// If the metadata is not valid, or does not fit the packages.
    pub fn read(
        metadata: &Path,
        directory: &Path,
        known: &BTreeMap<String, Held>,
    ) -> Result<Self, Error> {
        let mut contents = Self::default();
        let repodata = metadata.join(REPODATA);
        let repomd = parse_repomd(&repodata.join(REPOMD))?;
        contents.read_metadata(&repodata, &repomd)?;
        contents.find_packages(&repodata, &repomd, directory, known)?;
        Ok(contents)
    }

    /// Adds the keys at the top of a directory.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn add_keys(&mut self, directory: &Path) -> Result<(), Error> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(directory).map_err(|error| Error::file(directory, error))? {
            let entry = entry.map_err(|error| Error::file(directory, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_key = name.starts_with(KEY) || KEYS.iter().any(|end| name.ends_with(end));
            if is_key && is_plain_path(&name) && entry.path().is_file() {
                keys.push((name, entry.path()));
            }
        }
        for (name, path) in keys {
            self.files.push(file(&name, &path)?);
        }
        Ok(())
    }

    fn read_metadata(&mut self, repodata: &Path, repomd: &Repomd) -> Result<(), Error> {
        self.files.push(file(&title(REPOMD), &repodata.join(REPOMD))?);
        let signature = repodata.join(SIGNATURE);
        if signature.is_file() {
            self.files.push(file(&title(SIGNATURE), &signature)?);
        }
        for record in &repomd.records {
            let path = repodata.join(&record.name);
            let blob = file(&title(&record.name), &path)?;
            check(&path, &record.checksum, &blob.descriptor.digest)?;
            if self.files.iter().all(|other| other.descriptor != blob.descriptor) {
                self.files.push(blob);
            }
        }
        self.created = repomd.created();
        Ok(())
    }

    fn find_packages(
        &mut self,
        repodata: &Path,
        repomd: &Repomd,
        directory: &Path,
        known: &BTreeMap<String, Held>,
    ) -> Result<(), Error> {
        let Some(primary) = repomd.primary() else {
            return Err(Error::file(&repodata.join(REPOMD), "it lists no primary metadata"));
        };
        for listed in packages(&repodata.join(&primary.name))? {
            if !is_plain_path(&listed.location) {
                let reason = format!("invalid location {:?}", listed.location);
                return Err(Error::file(&repodata.join(&primary.name), reason));
            }
            self.find_package(listed, directory, known)?;
        }
        Ok(())
    }

    fn find_package(
        &mut self,
        listed: Package,
        directory: &Path,
        known: &BTreeMap<String, Held>,
    ) -> Result<(), Error> {
        let Package { location, checksum, size } = listed;
        let path = directory.join(&location);
        let found = match fs::metadata(&path) {
            Ok(found) if found.is_file() => Some(found),
            Ok(_) => return Err(Error::file(&path, "not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::file(&path, error)),
        };
        if let Some(found) = &found
            && found.len() != size
        {
            let reason = format!(
                "size mismatch: expected {size} bytes as in the metadata, got {}; {CREATE}",
                found.len()
            );
            return Err(Error::file(&path, reason));
        }
        let digest = match (Digest::try_from(&checksum), &found) {
            (Ok(digest), _) => digest,
            (Err(_), Some(_)) => hash(&path, Some(&checksum))?,
            (Err(_), None) => match known.get(&location) {
                Some(held) if held.size == size => held.digest.clone(),
                _ => {
                    return Err(Error::file(&path, format!("no such file or directory; {CREATE}")));
                }
            },
        };
        if found.is_some() {
            self.paths.insert(digest.clone(), path);
        }
        self.packages.insert(location, Held { digest, size });
        Ok(())
    }
}

/// The packages that a primary.xml lists.
///
/// # Errors
/// If it cannot be read.
pub fn packages(primary: &Path) -> Result<Vec<Package>, Error> {
    let (file, size) = open(primary)?;
    let mut all = Vec::new();
    read_primary(file, size, |listed| all.push(listed))
        .map_err(|error| Error::file(primary, error))?;
    Ok(all)
}

/// The same, with their names.
///
/// # Errors
/// If it cannot be read.
pub fn named_packages(primary: &Path) -> Result<Vec<(Package, Nevra)>, Error> {
    let (file, size) = open(primary)?;
    let mut all = Vec::new();
    read_nevras(file, size, |listed, nevra| all.push((listed, nevra)))
        .map_err(|error| Error::file(primary, error))?;
    Ok(all)
}

/// A file and its size in bytes.
fn open(path: &Path) -> Result<(File, u64), Error> {
    let open = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    open().map_err(|error: io::Error| Error::file(path, error))
}

/// Reads a repomd.xml.
///
/// # Errors
/// If it is malformed or cannot be read.
pub fn parse_repomd(path: &Path) -> Result<Repomd, Error> {
    let found = fs::metadata(path).map_err(|error| Error::file(path, error))?;
    if found.len() > MAX_REPOMD {
        return Err(Error::file(path, format!("larger than {MAX_REPOMD} bytes")));
    }
    let xml = fs::read(path).map_err(|error| Error::file(path, error))?;
    Repomd::parse(&xml).map_err(|error| Error::file(path, error))
}

/// The title of a metadata file.
pub fn title(name: &str) -> String {
    format!("{REPODATA}{name}")
}

/// A file as a layer.
///
/// # Errors
/// If it cannot be read.
pub fn file(title: &str, path: &Path) -> Result<Blob, Error> {
    let digest = hash(path, None)?;
    let size = fs::metadata(path).map_err(|error| Error::file(path, error))?.len();
    let mut descriptor = Descriptor::new(FILE, digest, size).titled(title);
    let is_small = usize::try_from(size).is_ok_and(|size| size <= MAX_DATA);
    if is_small && [REPOMD, SIGNATURE].iter().any(|name| title == self::title(name)) {
        let bytes = fs::read(path).map_err(|error| Error::file(path, error))?;
        descriptor.data = Some(BASE64.encode(bytes));
    }
    Ok(Blob { descriptor, content: Content::File(path.to_owned()) })
}

fn check(path: &Path, expected: &Checksum, digest: &Digest) -> Result<(), Error> {
    match Digest::try_from(expected) {
        Ok(expected) if expected == *digest => Ok(()),
        Ok(expected) => {
            let reason = format!("checksum mismatch: expected {expected}, got {digest}; {CREATE}");
            Err(Error::file(path, reason))
        }
        Err(_) => hash(path, Some(expected)).map(drop),
    }
}

/// The digest of a file, which must have the `expected` checksum of any algorithm.
///
/// # Errors
/// If it cannot be read, or has not.
pub fn hash(path: &Path, expected: Option<&Checksum>) -> Result<Digest, Error> {
    let failed = |error: io::Error| Error::file(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Both(Hasher::new(Algorithm::Sha256), expected.map(Checksum::hasher));
    io::copy(&mut file, &mut hasher).map_err(failed)?;
    let Both(sha256, other) = hasher;
    if let (Some(expected), Some(other)) = (expected, other) {
        let got = other.finish();
        if got != *expected {
            let reason = format!("checksum mismatch: expected {expected}, got {got}; {CREATE}");
            return Err(Error::file(path, reason));
        }
    }
    Digest::try_from(&sha256.finish()).map_err(|error| Error::file(path, error))
}

/// Two hashers of the same bytes.
struct Both(Hasher, Option<Hasher>);

impl io::Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        if let Some(other) = &mut self.1 {
            other.update(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
