//! The options of a call.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zbus::OwnedVariant;

use super::error::Error;
use crate::dnf_cache::MaxAge;
use crate::engine::PrefetchOptions;
use crate::gateway::Transport;
use crate::redact::Secret;
use crate::source::{Access, Certificates, Environment, Login, go_arch};

/// The variables that a caller can pass on, as curl(1) lists them.
pub const PROXY_VARIABLES: [&str; 8] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Go's variables, and those of curl that set them, by precedence. Go does not know those for all schemes.
const VARIABLES: [(&str, &[&str]); 3] = [
    ("HTTPS_PROXY", &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
    ("HTTP_PROXY", &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
    ("NO_PROXY", &["no_proxy", "NO_PROXY"]),
];

/// What stands for no proxy in dnf's configuration, besides an empty value.
const NO_PROXY: &str = "_none_";

/// The options of a call. A method takes those that it knows; any that are left are unknown.
pub(super) struct Options(HashMap<String, OwnedVariant>);

impl Options {
    pub(super) fn new(options: HashMap<String, OwnedVariant>) -> Self {
        Self(options)
    }

    fn take<T>(&mut self, name: &str, wanted: &str) -> Result<Option<T>, Error>
    where
        T: TryFrom<OwnedVariant>,
    {
        self.0
            .remove(name)
            .map(|value| {
                T::try_from(value).map_err(|_| {
                    Error::invalid_arguments(format!("option {name:?} is not {wanted}"))
                })
            })
            .transpose()
    }

    pub(super) fn path(&mut self, name: &str) -> Result<Option<PathBuf>, Error> {
        Ok(self.text(name)?.map(PathBuf::from))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.take(name, "a string")
    }

    /// How to reach the registry.
    pub(super) fn access(&mut self) -> Result<Access, Error> {
        let (proxy, environment) = self.proxies()?;
        Ok(Access {
            auth_file: self.path("auth-file")?,
            login: self.login("username", "password")?,
            tls_verify: self.take("tls-verify", "a boolean")?,
            certificates: Certificates {
                authority: self.path("ca-cert")?,
                client: self.path("client-cert")?,
                key: self.path("client-key")?,
            },
            proxy,
            environment,
            arch: self.text("arch")?.and_then(|arch| foreign(&arch)),
            min_rate: self.take("minrate", "an unsigned 64-bit number")?,
            timeout: self
                .take("timeout", "an unsigned 32-bit number")?
                .map(|seconds: u32| Duration::from_secs(seconds.into())),
            ..Access::default()
        })
    }

    /// A password without a user name has no effect, as in dnf's configuration.
    fn login(&mut self, username: &str, password: &str) -> Result<Option<Login>, Error> {
        let (username, password) = (self.text(username)?, self.text(password)?);
        Ok(username
            .map(|username| Login { username, password: password.unwrap_or_default().into() }))
    }

    /// The proxy's URL with its credentials, as Go expects it, and the caller's variables.
    fn proxies(&mut self) -> Result<(Option<Secret>, Environment), Error> {
        let login = self.login("proxy-username", "proxy-password")?;
        let environment = Environment::With(self.environment()?);
        let Some(url) = self.text("proxy")? else {
            return Ok((None, environment));
        };
        if url.is_empty() || url.eq_ignore_ascii_case(NO_PROXY) {
            return Ok((None, Environment::WithoutProxies));
        }
        // libcurl's default scheme, which dnf's documentation refers to.
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
        let login = login.map_or(String::new(), |Login { username, password }| {
            format!("{}:{}@", encoded(&username), encoded(password.reveal()))
        });
        Ok((Some(format!("{scheme}://{login}{rest}").into()), environment))
    }

    /// The caller's variables under Go's names. As for libcurl, an empty one is not set.
    fn environment(&mut self) -> Result<BTreeMap<&'static str, Secret>, Error> {
        let given: HashMap<String, String> =
            self.take("environment", "a dictionary of strings")?.unwrap_or_default();
        let is_unknown = |name: &&String| !PROXY_VARIABLES.contains(&name.as_str());
        if let Some(unknown) = given.keys().find(is_unknown) {
            return Err(Error::invalid_arguments(format!(
                "unknown variable {unknown:?} in option \"environment\""
            )));
        }
        let find = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| given.get(*name));
            values.find(|value| !value.is_empty()).cloned()
        };
        let set = VARIABLES.iter().filter_map(|(name, names)| Some((*name, find(names)?.into())));
        Ok(set.collect())
    }

    /// When something cached is used without a request.
    pub(super) fn when(&mut self) -> Result<PrefetchOptions, Error> {
        let seconds = self.take::<i64>("max-age", "a 64-bit number")?.unwrap_or_default();
        let max_age = u64::try_from(seconds).map_or(MaxAge::Forever, MaxAge::Seconds);
        Ok(PrefetchOptions { max_age, repo_file: self.path("repo-file")? })
    }

    /// How the caller connects to the gateway.
    pub(super) fn transport(&mut self) -> Result<Transport, Error> {
        Ok(match self.take("tcp", "a boolean")? {
            Some(true) => Transport::TcpPort,
            _ => Transport::UnixSocket,
        })
    }

    /// Options in the repository's configuration that have no effect.
    pub(super) fn ignored(&mut self) -> Result<Vec<String>, Error> {
        Ok(self.take("ignored", "an array of strings")?.unwrap_or_default())
    }

    /// The number of the call in its Progress signals.
    pub(super) fn job(&mut self) -> Result<Option<u64>, Error> {
        self.take("job", "an unsigned 64-bit number")
    }

    /// Fails if an option is left.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.0.into_keys().next() {
            Some(name) => Err(Error::invalid_arguments(format!("unknown option {name:?}"))),
            None => Ok(()),
        }
    }
}

fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// An architecture by its Go name, unless it is the machine's: skopeo detects that itself, down to the
/// variant.
fn foreign(arch: &str) -> Option<String> {
    let arch = go_arch(arch);
    (arch != go_arch(std::env::consts::ARCH)).then(|| arch.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn access(given: &[(&str, &str)]) -> Result<Access, Error> {
        let owned = |value: &str| Variant::from(value.to_owned()).try_into().expect("owned");
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), owned(value)));
        Options::new(given.collect()).access()
    }

    #[test]
    fn a_proxy_is_a_url_with_its_credentials() {
        for (given, expected) in [
            (vec![], None),
            (vec![("proxy", "http://proxy:3128")], Some("http://proxy:3128")),
            (vec![("proxy", "proxy:3128")], Some("http://proxy:3128")),
            (
                vec![
                    ("proxy", "socks5h://proxy"),
                    ("proxy-username", "a@b"),
                    ("proxy-password", "/:"),
                ],
                Some("socks5h://a%40b:%2F%3A@proxy"),
            ),
        ] {
            let access = access(&given).expect("understood");
            assert_eq!(access.proxy.as_ref().map(Secret::reveal), expected);
        }
    }

    #[test]
    fn no_proxy_is_none_of_the_environment_either() {
        for none in ["", "_none_", "_NONE_"] {
            let access = access(&[("proxy", none)]).expect("understood");
            assert_eq!((access.proxy, access.environment), (None, Environment::WithoutProxies));
        }
    }

    #[test]
    fn variables_mean_what_they_mean_to_libcurl() {
        let environment = |given: &[(&str, &str)]| {
            let given: HashMap<_, _> = given
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let value = Variant::from(given).try_into().expect("owned");
            Options::new([("environment".to_owned(), value)].into()).access()
        };
        for (given, expected) in [
            (
                vec![("https_proxy", "http://a"), ("HTTPS_PROXY", "http://b")],
                vec![("HTTPS_PROXY", "http://a")],
            ),
            (
                vec![("https_proxy", ""), ("HTTPS_PROXY", "http://b")],
                vec![("HTTPS_PROXY", "http://b")],
            ),
            (
                vec![("ALL_PROXY", "socks5://a"), ("http_proxy", "http://b"), ("no_proxy", "c,.d")],
                vec![
                    ("HTTPS_PROXY", "socks5://a"),
                    ("HTTP_PROXY", "http://b"),
                    ("NO_PROXY", "c,.d"),
                ],
            ),
        ] {
            let Environment::With(found) = environment(&given).expect("understood").environment
            else {
                panic!("no variables");
            };
            let mut found: Vec<_> =
                found.iter().map(|(name, value)| (*name, value.reveal())).collect();
            found.sort_by_key(|(name, _)| expected.iter().position(|(other, _)| other == name));
            assert_eq!(found, expected);
        }
        let error = environment(&[("LD_PRELOAD", "/x.so")]).expect_err("not a proxy");
        assert!(format!("{error:?}").contains("LD_PRELOAD"));
    }

    #[test]
    fn how_slow_a_registry_may_be_is_a_number() {
        let owned = |value: Variant<'_>| value.try_into().expect("owned");
        let given = [("minrate", owned(5_u64.into())), ("timeout", owned(7_u32.into()))];
        let given = given.map(|(name, value)| (name.to_owned(), value));
        let access = Options::new(given.into()).access().expect("understood");
        assert_eq!((access.min_rate, access.timeout), (Some(5), Some(Duration::from_secs(7))));
        assert_eq!(self::access(&[]).expect("understood").timeout, None);
        assert!(self::access(&[("timeout", "7")]).is_err());
    }

    #[test]
    fn a_password_needs_a_name() {
        assert!(access(&[("password", "secret")]).expect("understood").login.is_none());
        let login = access(&[("username", "me")]).expect("understood").login.expect("given");
        assert_eq!((login.username.as_str(), login.password.reveal()), ("me", ""));
    }

    #[test]
    fn the_machines_own_architecture_is_not_passed_on() {
        assert_eq!(foreign(std::env::consts::ARCH), None);
        assert_eq!(foreign("s390x").as_deref(), Some("s390x"));
        for (rpm, go) in [("aarch64", "arm64"), ("i686", "386"), ("ppc64le", "ppc64le")] {
            assert_eq!(go_arch(rpm), go);
        }
    }
}
