//! docker-registry, with a server in front of it that fails on demand: front.py.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dnf5_oci::source::{Access, Source};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Server {
    directory: TempDir,
    processes: Vec<Child>,
    pub port: u16,
}

impl Server {
    /// A registry without users.
    pub fn start() -> Self {
        Self::with(&json!({}))
    }

    /// A registry whose configuration has these keys as well.
    pub fn with(configuration: &Value) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = Self { directory, processes: Vec::new(), port: 0 };
        let mut config = json!({
            "version": "0.1",
            "storage": {
                "filesystem": {"rootdirectory": server.path("data")},
                "delete": {"enabled": true},
            },
            "http": {"addr": "127.0.0.1:0"},
        });
        let config = config.as_object_mut().expect("an object");
        config.extend(configuration.as_object().cloned().expect("an object"));
        // JSON is YAML.
        let file = server.path("config.yml");
        fs::write(&file, serde_json::to_string(config).expect("serializable")).expect("written");
        let log = fs::File::create(server.path("registry.log")).expect("created");
        let registry = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        server.processes.push(registry.expect("docker-registry is there"));
        let behind = server.wait_for("registry.log", |text| {
            let (_, rest) = text.split_once("listening on 127.0.0.1:")?;
            rest.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned)
        });
        let script = server.path("front.py");
        fs::write(&script, include_str!("front.py")).expect("written");
        let front = Command::new("python3")
            .args([&script, server.directory.path()])
            .arg(behind)
            .stdin(Stdio::null())
            .spawn();
        server.processes.push(front.expect("python3 is there"));
        server.port = server.wait_for("port", |text| text.parse().ok());
        server
    }

    fn wait_for<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            if let Some(found) = read(&text) {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{name}: {text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A repository in it, as `acme/rpms:stable`.
    pub fn source(&self, name: &str) -> Source {
        let reference = format!("oci://localhost:{}/{name}", self.port);
        let access = Access { tls_verify: Some(false), ..Access::default() };
        Source { reference: reference.parse().expect("valid"), access }
    }

    /// Sets what fails from now on.
    pub fn fail(&self, faults: &Value) {
        fs::write(self.path("faults.new"), faults.to_string()).expect("written");
        fs::rename(self.path("faults.new"), self.path("faults")).expect("renamed");
    }

    /// The requests since the last call: method and path, with the status.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        fs::write(self.path("log"), "").expect("written");
        log.lines().map(str::to_owned).collect()
    }

    /// How many requests have begun since the last call of [`Self::requests`].
    pub fn count(&self) -> usize {
        fs::read_to_string(self.path("log")).unwrap_or_default().lines().count()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
