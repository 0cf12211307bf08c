//! The command that starts skopeo for a source: its arguments, environment and files.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use containers_image_proxy::ImageProxyConfig;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use super::{Error, Settings};
use crate::confinement::Confinement;
use crate::containers_config::{self, auth, paths};
use crate::redact::Secrets;
use crate::reference::Reference;
use crate::source::{Access, Certificates, Environment, Login, Source, UNKNOWN};
use crate::temporary::TemporaryDir;

/// The variables that set a proxy for skopeo. `NO_PROXY` makes exceptions, as it does for libcurl.
const PROXY: [&str; 2] = ["HTTPS_PROXY", "HTTP_PROXY"];

/// Other names for them. Those above come first.
const OTHER_PROXY: [&str; 2] = ["https_proxy", "http_proxy"];

/// Where skopeo looks for credential helpers if the environment has no `PATH`: the bus daemon starts services
/// with an empty one. These are systemd's directories.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";

/// How skopeo reaches a source: options, and what they refer to.
pub(super) struct Reach {
    /// Must exist as long as the process.
    pub(super) certificates: Option<TemporaryDir>,
    /// The auth file, if it is not on disk. The process must inherit it under the same number.
    pub(super) auth_file: Option<File>,
    /// The path of the auth file to use.
    auth_path: Option<PathBuf>,
    tls_verify: Option<bool>,
}

impl Reach {
    pub(super) fn new(source: &Source) -> Result<Self, Error> {
        let access = &source.access;
        let certificates = directory(&access.certificates).map_err(not_prepared)?;
        let auth_file = match (&access.login, &source.reference) {
            (Some(login), Reference::Registry(registry)) => {
                Some(auth_file(registry.host(), login).map_err(not_prepared)?)
            }
            _ => None,
        };
        // Not `auth_data` of containers-image-proxy, which is copied into a file in /tmp.
        let auth_path = match &auth_file {
            Some(file) => Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into()),
            None => access.auth_file.clone(),
        };
        Ok(Self { certificates, auth_file, auth_path, tls_verify: access.tls_verify })
    }

    /// The options of a command: `prefix` is empty, `src-` or `dest-`.
    pub(super) fn options(&self, prefix: &str) -> Vec<OsString> {
        let mut options = Vec::new();
        let mut add = |name: &str, value: &OsStr| {
            let mut option = OsString::from(format!("--{prefix}{name}="));
            option.push(value);
            options.push(option);
        };
        if let Some(path) = &self.auth_path {
            add("authfile", path.as_os_str());
        }
        if let Some(directory) = &self.certificates {
            add("cert-dir", directory.path().as_os_str());
        }
        if let Some(verify) = self.tls_verify {
            add("tls-verify", OsStr::new(if verify { "true" } else { "false" }));
        }
        options
    }
}

/// The command of a worker, and what it refers to.
pub(super) struct Invocation {
    /// containers-image-proxy adds the arguments of `experimental-image-proxy`.
    pub(super) command: Command,
    /// The source of those arguments.
    pub(super) config: ImageProxyConfig,
    pub(super) reach: Reach,
    /// What the process may do.
    pub(super) rules: Confinement,
}

impl Invocation {
    /// Prepares the command, with another registries.conf than the default one if given.
    pub(super) fn new(
        settings: &Settings,
        source: &Source,
        registries_conf: Option<&Path>,
    ) -> Result<Self, Error> {
        let access = &source.access;
        let reach = Reach::new(source)?;
        let mut config = ImageProxyConfig::default();
        config.certificate_directory = reach.certificates.as_ref().map(|all| all.path().to_owned());
        config.insecure_skip_tls_verification = reach.tls_verify.map(|verify| !verify);
        config.authfile.clone_from(&reach.auth_path);
        let mut command = command(settings, access);
        if let Some(file) = registries_conf {
            command.arg("--registries-conf").arg(file);
        }
        command.args(platform(access));
        let rules = rules(settings, [access], &[])?;
        Ok(Self { command, config, reach, rules })
    }
}

/// The rules for a process that reaches sources so, and also writes below these directories.
pub(super) fn rules<'a>(
    settings: &Settings,
    accesses: impl IntoIterator<Item = &'a Access>,
    directories: &[PathBuf],
) -> Result<Confinement, Error> {
    let mut writable: Vec<_> = accesses.into_iter().flat_map(containers_config::writable).collect();
    writable.extend_from_slice(&settings.writable);
    writable.extend_from_slice(directories);
    Confinement::reader(&writable).map_err(not_prepared)
}

/// skopeo with the environment in which it reaches a source.
pub(super) fn command(settings: &Settings, access: &Access) -> Command {
    let mut command = Command::new(&settings.skopeo);
    if env::var_os("PATH").is_none() {
        command.env("PATH", PATH);
    }
    // skopeo finds it by itself, but credential helpers that it starts may not: systemd sets none.
    if env::var_os("HOME").is_none() {
        command.env("HOME", paths::home());
    }
    command.envs(&settings.environment);
    match &access.environment {
        Environment::With(variables) => {
            command.envs(variables.iter().map(|(name, value)| (name, value.reveal())));
        }
        Environment::WithoutProxies => {
            for name in PROXY.iter().chain(&OTHER_PROXY) {
                command.env_remove(name);
            }
        }
    }
    if let Some(proxy) = &access.proxy {
        command.envs(PROXY.map(|name| (name, proxy.reveal())));
    }
    command
}

/// The options that select an entry of an image index.
pub(super) fn platform(access: &Access) -> Vec<&str> {
    match (&access.segment, &access.arch) {
        (Some(variant), _) => vec![
            "--override-os",
            UNKNOWN,
            "--override-arch",
            UNKNOWN,
            "--override-variant",
            variant,
        ],
        (None, Some(arch)) => vec!["--override-arch", arch],
        (None, None) => vec![],
    }
}

/// Everything secret that skopeo may have used, to remove it from its messages. Reads auth files.
pub(super) fn secrets<'a>(
    settings: &Settings,
    accesses: impl IntoIterator<Item = &'a Access>,
) -> Secrets {
    let mut secrets = Secrets::default();
    for access in accesses {
        secrets.extend(auth::secrets(access));
    }
    for name in PROXY.iter().chain(&OTHER_PROXY) {
        let set = settings.environment.get(*name).cloned();
        if let Some(url) = set.or_else(|| env::var(name).ok()) {
            secrets.add_url(&url);
        }
    }
    secrets
}

/// Puts the certificates into a directory, under the names of containers-certs.d(5).
fn directory(certificates: &Certificates) -> io::Result<Option<TemporaryDir>> {
    if certificates.named().next().is_none() {
        return Ok(None);
    }
    let directory = TemporaryDir::new()?;
    for (name, file) in certificates.named() {
        symlink(file, directory.path().join(name))?;
    }
    Ok(Some(directory))
}

/// An auth file with one entry: containers-auth.json(5). In memory, since others may read a command line or
/// a file, and sealed.
fn auth_file(host: &str, login: &Login) -> io::Result<File> {
    let userpwd = format!("{}:{}", login.username, login.password.reveal());
    let auths = serde_json::json!({"auths": {host: {"auth": BASE64.encode(userpwd)}}});
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create("auth.json", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3.
        Err(Errno::INVAL) => memfd_create("auth.json", flags),
        file => file,
    };
    let mut file = File::from(file?);
    file.set_permissions(Permissions::from_mode(0o400))?;
    file.write_all(auths.to_string().as_bytes())?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(file)
}

pub(super) fn not_prepared(error: io::Error) -> Error {
    Error::Process(format!("preparing its files: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;
    use std::fs;

    fn invocation(access: Access) -> Invocation {
        let reference = "oci://quay.io/acme/rpms".parse().expect("valid");
        let settings = Settings {
            environment: [("HTTPS_PROXY".into(), "http://default".into())].into(),
            ..Settings::default()
        };
        Invocation::new(&settings, &Source { reference, access }, None).expect("prepared")
    }

    fn variable(invocation: &Invocation, name: &str) -> Option<String> {
        let (_, value) = invocation.command.get_envs().find(|(key, _)| *key == name)?;
        value.map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn a_login_is_for_its_registry_only() {
        let login = Login { username: "me".into(), password: "a:b".to_owned().into() };
        let access = Access { login: Some(login), ..Access::default() };
        let invocation = invocation(access);
        let path = invocation.config.authfile.expect("given");
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(text, r#"{"auths":{"quay.io":{"auth":"bWU6YTpi"}}}"#);
        let mut file = invocation.reach.auth_file.expect("kept");
        file.write_all(b"x").expect_err("sealed");
    }

    #[test]
    fn certificates_have_the_names_that_skopeo_knows() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let file = top.path().join("own.pem");
        fs::write(&file, "PEM").expect("written");
        let certificates = Certificates { authority: Some(file), ..Certificates::default() };
        let invocation = invocation(Access { certificates, ..Access::default() });
        let directory = invocation.config.certificate_directory.clone().expect("given");
        assert_eq!(fs::read_to_string(directory.join("ca.crt")).expect("readable"), "PEM");
        drop(invocation);
        assert!(!directory.exists());
    }

    #[test]
    fn the_proxy_of_the_source_overrides_that_of_the_environment() {
        let default = invocation(Access::default());
        assert_eq!(variable(&default, "HTTPS_PROXY").as_deref(), Some("http://default"));
        let proxy = Some("http://u:p@proxy:3128".to_owned().into());
        let own = invocation(Access { proxy, ..Access::default() });
        assert_eq!(variable(&own, "HTTPS_PROXY").as_deref(), Some("http://u:p@proxy:3128"));
        assert_eq!(variable(&own, "HTTP_PROXY").as_deref(), Some("http://u:p@proxy:3128"));
    }

    #[test]
    fn the_callers_variables_override_those_of_the_service() {
        let callers = [("HTTPS_PROXY", Secret::from("http://callers".to_owned()))].into();
        let own =
            invocation(Access { environment: Environment::With(callers), ..Access::default() });
        assert_eq!(variable(&own, "HTTPS_PROXY").as_deref(), Some("http://callers"));
        let environment = Environment::WithoutProxies;
        let none = invocation(Access { environment, ..Access::default() });
        for name in PROXY.iter().chain(&OTHER_PROXY) {
            assert!(none.command.get_envs().any(|(key, value)| key == *name && value.is_none()));
        }
    }
}
