//! The methods and properties of `io.github.dnf5_oci.Backend1`. dbus/ documents them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedVariant, Variant, interface};

use super::Instance;
use super::caller::{Admission, Caller};
use super::error::Error;
use super::options::Options;
use super::progress::Reporter;
use super::sessions::Sessions;
use crate::artifact::Counts;
use crate::dnf_cache;
use crate::doctor::{self, Question};
use crate::engine::{Package, Progress, Status, View};
use crate::error_kind::{Kind, one_line, printable};
use crate::gateway::{self, Address, Session, Transport};
use crate::reference::FileReference;
use crate::source::{Access, Source};

/// The options of a call, as received.
type RawOptions = HashMap<String, OwnedVariant>;

/// The results of a call.
type Results = HashMap<&'static str, Variant<'static>>;

/// Why a call fails while the service stops.
const STOPPING: &str = "the dnf5-oci service is stopping; run the command again";

pub(super) struct Backend1 {
    instance: Instance,
    admission: Admission,
    sessions: Sessions,
    skopeo_version: OnceCell<String>,
}

impl Backend1 {
    pub(super) fn new(instance: Instance, admission: Admission) -> Self {
        let (sessions, skopeo_version) = Default::default();
        Self { instance, admission, sessions, skopeo_version }
    }

    /// Checks that a caller may call, and that the settings are valid.
    async fn admit(&self, caller: &Caller) -> Result<(), Error> {
        caller.admit(self.admission).await?;
        match &self.instance.refusal {
            Some(line) => Err(Error::new(Kind::InvalidSettings, line)),
            None => Ok(()),
        }
    }

    /// A view of a repository, and DNF's cache directory for it: the given one, or the default.
    fn view(
        &self,
        id: &str,
        reference: &str,
        cache_dir: &str,
        access: Access,
    ) -> Result<(View, PathBuf), Error> {
        let source = source(reference, access).map_err(|error| error.of_repository(id))?;
        let cache_dir = match cache_dir {
            "" => {
                let name = dnf_cache::directory_name(id, &gateway::baseurl(&source));
                dnf_cache::default_cachedir().join(name)
            }
            given => PathBuf::from(given),
        };
        Ok((self.instance.engine.view(id, &source), cache_dir))
    }

    /// The session of a caller who may have one.
    async fn session(
        &self,
        repo_id: &str,
        transport: Transport,
        caller: Caller,
    ) -> Result<Arc<Session>, Error> {
        self.admit(&caller).await?;
        if self.instance.jobs.sessions_ended.is_cancelled() {
            return Err(Error::new(Kind::Cancelled, STOPPING));
        }
        let open = || self.instance.gateway.open_session(transport);
        let session = self.sessions.get_or_open(caller, open, &self.instance.jobs);
        session.map_err(|error| Error::from(error).of_repository(repo_id))
    }

    /// Runs one call: admits the caller, counts the job, sends progress if the caller has numbered the call,
    /// and cancels the work when the caller disconnects or the service stops.
    async fn run<T, F, W, E>(&self, caller: Caller, job: Option<u64>, work: W) -> Result<T, Error>
    where
        W: FnOnce(Arc<dyn Progress>) -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<Error>,
    {
        let _job = self.instance.jobs.start();
        self.admit(&caller).await?;
        let work = async {
            let emitter = caller.emitter();
            let (Some(job), Ok(emitter)) = (job, emitter) else {
                return work(Arc::new(())).await.map_err(E::into);
            };
            let (reporter, sending) = Reporter::new(emitter, job);
            // The reply follows the last signals.
            let (result, ()) = tokio::join!(work(Arc::new(reporter)), sending);
            result.map_err(E::into)
        };
        tokio::select! {
            result = work => result,
            () = caller.disconnected() => Err(Error::new(Kind::Cancelled, "the caller has disconnected")),
            () = self.instance.jobs.cancelled.cancelled() => Err(Error::new(Kind::Cancelled, STOPPING)),
        }
    }
}

#[interface(name = "io.github.dnf5_oci.Backend1", introspection_docs = false)]
impl Backend1 {
    #[zbus(out_args("result"))]
    async fn prefetch_repodata(
        &self,
        repo_id: String,
        reference: String,
        cache_dir: String,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Results, Error> {
        let mut options = Options::new(options);
        let (view, cache_dir) = self.view(&repo_id, &reference, &cache_dir, options.access()?)?;
        let when = options.when()?;
        let job = options.job()?;
        options.finish()?;
        let work = |progress| view.prefetch(cache_dir, when, progress);
        let done = self.run(Caller::new(connection, &header), job, work).await?;
        Ok(HashMap::from([
            ("status", Variant::from(status(done.status))),
            ("manifest-digest", Variant::from(done.manifest_digest)),
            ("bytes", Variant::from(done.bytes)),
        ]))
    }

    #[zbus(out_args("path"))]
    #[expect(clippy::too_many_arguments, reason = "the interface has them")]
    async fn fetch_package(
        &self,
        repo_id: String,
        reference: String,
        cache_dir: String,
        location: String,
        checksum: String,
        size: u64,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let packages = vec![(location, checksum, size)];
        let paths = self
            .fetch_packages(repo_id, reference, cache_dir, packages, options, connection, header)
            .await?;
        Ok(paths.into_iter().next().unwrap_or_default())
    }

    #[zbus(out_args("paths"))]
    #[expect(clippy::too_many_arguments, reason = "the interface has them")]
    async fn fetch_packages(
        &self,
        repo_id: String,
        reference: String,
        cache_dir: String,
        packages: Vec<(String, String, u64)>,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        let mut options = Options::new(options);
        let (view, cache_dir) = self.view(&repo_id, &reference, &cache_dir, options.access()?)?;
        let job = options.job()?;
        options.finish()?;
        let packages = packages.into_iter().map(package).collect::<Result<Vec<_>, _>>()?;
        let work = |progress| view.fetch_packages(cache_dir, packages, progress);
        let paths = self.run(Caller::new(connection, &header), job, work).await?;
        Ok(paths.into_iter().map(text).collect())
    }

    #[zbus(out_args("path"))]
    async fn fetch_file(
        &self,
        repo_id: String,
        url: String,
        cache_dir: String,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        let file = url.parse::<FileReference>();
        let file = file.map_err(|error| Error::from(error).of_repository(&repo_id))?;
        let mut options = Options::new(options);
        let reference = file.reference.to_string();
        let (view, cache_dir) = self.view(&repo_id, &reference, &cache_dir, options.access()?)?;
        let when = options.when()?;
        options.finish()?;
        let work = |_| view.fetch_file(cache_dir, &file.path, when);
        self.run(Caller::new(connection, &header), None, work).await.map(text)
    }

    #[zbus(out_args("result"))]
    async fn inspect(
        &self,
        reference: String,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Results, Error> {
        let mut options = Options::new(options);
        let source = source(&reference, options.access()?)?;
        options.finish()?;
        let view = self.instance.engine.view("", &source);
        let work = |_| view.inspect();
        let found = self.run(Caller::new(connection, &header), None, work).await?;
        let size = found.size();
        let counts = found.counts.into_iter().flat_map(|Counts { packages, segments }| {
            [
                ("packages", Variant::from(packages as u64)),
                ("segments", Variant::from(segments as u64)),
            ]
        });
        let reply = [
            ("reference", Variant::from(found.reference)),
            ("manifest-digest", Variant::from(found.manifest_digest)),
            ("layout", Variant::from(found.layout)),
            ("files", Variant::new(found.files)),
            ("size", Variant::from(size)),
            ("skopeo", Variant::from(found.skopeo)),
            ("auth-file", Variant::from(found.auth_file.map(text).unwrap_or_default())),
        ];
        Ok(reply.into_iter().chain(counts).collect())
    }

    #[zbus(out_args("baseurl", "proxy", "proxy_username"))]
    async fn open_repository(
        &self,
        repo_id: String,
        reference: String,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(String, String, String), Error> {
        let mut options = Options::new(options);
        let (access, ignored) = (options.access()?, options.ignored()?);
        let (cachedir, transport) = (options.path("cachedir")?, options.transport()?);
        options.finish()?;
        let session = self.session(&repo_id, transport, Caller::new(connection, &header)).await?;
        Ok(reply(session.open(&repo_id, &reference, access, &ignored, cachedir)))
    }

    async fn announce_packages(
        &self,
        repo_id: String,
        packages: Vec<(String, String, u64)>,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        Options::new(options).finish()?;
        let packages = packages.into_iter().map(package).collect::<Result<Vec<_>, _>>()?;
        let caller = Caller::new(connection, &header);
        self.admit(&caller).await?;
        let session = self.sessions.get(&caller);
        if session.is_some_and(|session| session.announce(&repo_id, packages)) {
            return Ok(());
        }
        Err(Error::invalid_arguments(format!("repository {} is not open", printable(&repo_id))))
    }

    #[zbus(out_args("address", "proxy", "proxy_username"))]
    async fn open_file(
        &self,
        repo_id: String,
        url: String,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(String, String, String), Error> {
        let mut options = Options::new(options);
        let (access, transport) = (options.access()?, options.transport()?);
        options.finish()?;
        let session = self.session(&repo_id, transport, Caller::new(connection, &header)).await?;
        let opened = session.open_file(&repo_id, &url, access);
        opened.map(reply).map_err(|error| Error::from(error).of_repository(&repo_id))
    }

    #[zbus(out_args("lines"))]
    async fn take_failures(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<String>, Error> {
        let caller = Caller::new(connection, &header);
        self.admit(&caller).await?;
        // Without a session, the process that had it has ended, and the bus has started this one.
        let session = self.sessions.get(&caller).ok_or_else(|| {
            Error::new(
                Kind::Cancelled,
                "the dnf5-oci service that served this command has ended; run it again",
            )
        })?;
        Ok(session.take_failures())
    }

    #[zbus(out_args("steps"))]
    async fn diagnose(
        &self,
        reference: String,
        options: RawOptions,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(String, String, String)>, Error> {
        let mut options = Options::new(options);
        let source = source(&reference, options.access()?)?;
        let question = Question { source, baseurl: reference, cachedir: options.path("cachedir")? };
        options.finish()?;
        let work =
            |_| async { Ok::<_, Error>(doctor::examine(&self.instance.engine, &question).await) };
        let steps = self.run(Caller::new(connection, &header), None, work).await?;
        Ok(steps
            .into_iter()
            .map(|step| (step.check.name().into(), step.verdict.name().into(), step.text))
            .collect())
    }

    #[zbus(signal)]
    pub(super) async fn progress(
        emitter: &SignalEmitter<'_>,
        job: u64,
        item: &str,
        received: u64,
        total: u64,
        finished: bool,
    ) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// Everyone may read it, so it starts a process only for a caller that may call methods as well, and only
    /// once.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn skopeo_version(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> String {
        let ask = async || {
            let caller = header.map(|header| Caller::new(connection, &header));
            caller.ok_or(())?.admit(self.admission).await.map_err(drop)?;
            self.instance.engine.skopeo_version().await.map_err(drop)
        };
        self.skopeo_version.get_or_try_init(ask).await.cloned().unwrap_or_default()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn active_jobs(&self) -> u32 {
        self.instance.jobs.count()
    }
}

/// How dnf5 reaches what was opened, in the order of the out arguments.
fn reply(Address { url, proxy, proxy_username }: Address) -> (String, String, String) {
    (url, proxy, proxy_username)
}

fn source(reference: &str, access: Access) -> Result<Source, Error> {
    Ok(Source { reference: reference.parse::<crate::reference::Reference>()?, access })
}

fn package((location, checksum, size): (String, String, u64)) -> Result<Package, Error> {
    let checksum = checksum
        .parse::<crate::checksum::Checksum>()
        .map_err(|error| Error::invalid_arguments(one_line(&error)))?;
    Ok(Package { location, checksum, size })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Fetched => "fetched",
        Status::Unchanged => "unchanged",
        Status::Fresh => "fresh",
    }
}

/// A path as a D-Bus string, which must be UTF-8. Paths come from callers in such strings.
fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}
