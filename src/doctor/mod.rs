//! Checks step by step, for people, whether dnf5 can get packages from a reference.
//!
//! The steps run the code that serves dnf5, on the same view, so they end as dnf5's requests do. What the
//! texts say of /etc/containers is information: skopeo decides.
//!
//! | module | steps |
//! |---|---|
//! | `access` | from skopeo to the manifest and the signature policy |
//! | `content` | the layout, the metadata, the speed |
//! | `cached` | DNF's cache directory |
//! | `auth` | which auth files have an entry for the reference |

mod access;
mod auth;
mod cached;
mod content;

use std::path::PathBuf;

use crate::artifact::Artifact;
use crate::dnf_cache;
use crate::engine::Engine;
use crate::gateway;
use crate::source::Source;

/// The reference to examine.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which repository, and how it is reached.
    pub source: Source,
    /// Its baseurl as it is written in the `.repo` file.
    pub baseurl: String,
    /// DNF's cachedir; by default that of the user of this process.
    pub cachedir: Option<PathBuf>,
}

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The check.
    pub check: Check,
    /// Its verdict.
    pub verdict: Verdict,
    /// One line: the finding, and the remedy if there is a problem.
    pub text: String,
}

/// The checks, in the order in which they depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The program that fetches.
    Skopeo,
    /// The entry of registries.conf.
    Registries,
    /// The registry's host: network and TLS.
    Registry,
    /// The auth file.
    Credentials,
    /// The manifest that the reference leads to.
    Manifest,
    /// policy.json, and whether it accepts the manifest.
    Policy,
    /// How the artifact contains a repository.
    Layout,
    /// repomd.xml and all it lists.
    Repodata,
    /// The smallest package, timed.
    Download,
    /// DNF's cache directory.
    Cache,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Ok,
    /// Good enough for dnf5, but somebody should look at it.
    Warning,
    /// dnf5 cannot work with this reference.
    Failed,
    /// Not tried, for something that it needs has failed.
    Skipped,
}

/// Examines a reference. Nothing is written but a temporary directory, which is removed.
pub async fn examine(engine: &Engine, question: &Question) -> Vec<Step> {
    let view = engine.view("", &question.source);
    let source = view.source().await.unwrap_or(&question.source);
    let version = engine.skopeo_version().await;
    let manifest = match &version {
        Ok(_) => engine.registry().manifest(source).await,
        Err(error) => Err(error.clone()),
    };
    let mut steps = access::steps(source, version.ok(), &manifest);
    let artifact = manifest.ok().map(|manifest| Artifact::new(&manifest.image));
    steps.extend(content::steps(&view, source, artifact.as_ref()).await);
    let needed = artifact.and_then(Result::ok).map_or(0, |artifact| artifact.repodata().size());
    let cachedir = question.cachedir.clone().unwrap_or_else(dnf_cache::default_cachedir);
    // On demand, and as the .repo file has it.
    let baseurls = [gateway::baseurl(source), question.baseurl.clone()];
    steps.push(cached::examine(&cachedir, &baseurls, needed));
    steps
}

impl Step {
    fn new(check: Check, verdict: Verdict, text: String) -> Self {
        Self { check, verdict, text }
    }

    /// A step that was not taken, and what is known all the same.
    fn skipped(check: Check, known: &str) -> Self {
        let text = match known {
            "" => "not tried".to_owned(),
            known => format!("not tried; {known}"),
        };
        Self::new(check, Verdict::Skipped, text)
    }
}

impl Check {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skopeo => "skopeo",
            Self::Registries => "registries.conf",
            Self::Registry => "registry",
            Self::Credentials => "credentials",
            Self::Manifest => "manifest",
            Self::Policy => "policy",
            Self::Layout => "layout",
            Self::Repodata => "repodata",
            Self::Download => "download",
            Self::Cache => "cache",
        }
    }
}

impl Verdict {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}
