//! The command that starts skopeo for a source: its arguments, environment and files.

use std::env;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use containers_image_proxy::ImageProxyConfig;
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

use super::{Error, Settings};
use crate::reference::Reference;
use crate::source::{Access, Certificates, Login, Source};

/// The variables that set a proxy for skopeo. `NO_PROXY` makes exceptions, as it does for libcurl.
const PROXY: [&str; 2] = ["HTTPS_PROXY", "HTTP_PROXY"];

/// Where skopeo looks for credential helpers if the environment has no `PATH`: the bus daemon starts services
/// with an empty one. These are systemd's directories.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";

/// A command, and what it refers to.
pub(super) struct Invocation {
    /// containers-image-proxy adds the arguments of `experimental-image-proxy`.
    pub(super) command: Command,
    /// The source of those arguments.
    pub(super) config: ImageProxyConfig,
    /// Must exist as long as the process.
    pub(super) certificates: Option<TempDir>,
}

impl Invocation {
    /// Prepares the command, with another registries.conf than the default one if given.
    pub(super) fn new(
        settings: &Settings,
        source: &Source,
        registries_conf: Option<&Path>,
    ) -> Result<Self, Error> {
        let access = &source.access;
        let certificates = directory(&access.certificates).map_err(not_prepared)?;
        let mut config = ImageProxyConfig::default();
        config.certificate_directory = certificates.as_ref().map(|all| all.path().to_owned());
        config.insecure_skip_tls_verification = access.tls_verify.map(|verify| !verify);
        match (&access.login, &source.reference) {
            (Some(login), Reference::Registry(registry)) => {
                let file = auth_file(registry.host(), login).map_err(not_prepared)?;
                config.auth_data = Some(file);
            }
            _ => config.authfile.clone_from(&access.auth_file),
        }
        let mut command = command(settings, access);
        if let Some(file) = registries_conf {
            command.arg("--registries-conf").arg(file);
        }
        Ok(Self { command, config, certificates })
    }
}

fn command(settings: &Settings, access: &Access) -> Command {
    let mut command = Command::new(&settings.skopeo);
    if env::var_os("PATH").is_none() {
        command.env("PATH", PATH);
    }
    command.envs(&settings.environment);
    if let Some(proxy) = &access.proxy {
        command.envs(PROXY.map(|name| (name, proxy.reveal())));
    }
    if let Some(arch) = &access.arch {
        command.arg("--override-arch").arg(arch);
    }
    command
}

/// Puts the certificates into a directory, under the names of containers-certs.d(5).
fn directory(certificates: &Certificates) -> io::Result<Option<TempDir>> {
    if certificates.named().next().is_none() {
        return Ok(None);
    }
    let directory = tempfile::tempdir()?;
    for (name, file) in certificates.named() {
        symlink(file, directory.path().join(name))?;
    }
    Ok(Some(directory))
}

/// An auth file with one entry: containers-auth.json(5). In memory, since others may read a command line or
/// a file.
fn auth_file(host: &str, login: &Login) -> io::Result<File> {
    let userpwd = format!("{}:{}", login.username, login.password.reveal());
    let auths = serde_json::json!({"auths": {host: {"auth": BASE64.encode(userpwd)}}});
    let mut file = File::from(memfd_create("auth.json", MemfdFlags::CLOEXEC)?);
    file.write_all(auths.to_string().as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn not_prepared(error: io::Error) -> Error {
    Error::Process(format!("preparing its files: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;

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
        let mut text = String::new();
        let mut file = invocation(access).config.auth_data.expect("given");
        file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, r#"{"auths":{"quay.io":{"auth":"bWU6YTpi"}}}"#);
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
}
