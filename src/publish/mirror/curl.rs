//! Downloads by curl, which uses the library that dnf5 uses.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::web::Url;
use crate::error_kind::printable;
use crate::publish::error::Error;

const CURL: &str = "curl";

/// How often a file is requested, and how slow a transfer may be: less than so many bytes a second for so many
/// seconds.
const RETRIES: usize = 5;
const MIN_RATE: usize = 1000;
const TIMEOUT: usize = 30;

/// How many transfers run side by side.
const PARALLEL: usize = 8;

/// One file.
pub struct Download {
    /// Its path below the repository's URL.
    pub path: String,
    /// Where it is written to.
    pub file: PathBuf,
    /// The most that is accepted, in bytes.
    pub max_size: u64,
    /// Whether it may be missing.
    pub is_optional: bool,
}

/// Downloads files. Those that are optional and missing are not there afterwards.
///
/// # Errors
/// If another one is not there.
pub async fn fetch(url: &Url, downloads: &[Download]) -> Result<(), Error> {
    let failed = |reason: String| Error::Program { program: CURL, reason: url.hide(&reason) };
    // Not read from the command line, where others could see a password.
    let mut command = Command::new(CURL);
    command.args(["--disable", "--config", "-"]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(failed("not installed; install curl".to_owned()));
        }
        process => process.map_err(|error| failed(error.to_string()))?,
    };
    let mut stdin = process.stdin.take();
    let text = config(url, downloads);
    let write = async {
        if let Some(stdin) = &mut stdin {
            // Fails if curl has ended, which says why.
            let _ = stdin.write_all(&text).await;
        }
        drop(stdin.take());
    };
    let (output, ()) = tokio::join!(process.wait_with_output(), write);
    let output = output.map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    for download in downloads {
        if !download.is_optional && !download.file.exists() {
            let reason = said.lines().last().unwrap_or_default().trim_start_matches("curl: ");
            return Err(failed(format!("{}: {}", download.path, printable(reason))));
        }
    }
    Ok(())
}

/// The options: curl(1), "--config". Most hold for one file only.
fn config(url: &Url, downloads: &[Download]) -> Vec<u8> {
    let mut text =
        format!("no-progress-meter\nparallel\nparallel-max = {PARALLEL}\nparallel-immediate\n")
            .into_bytes();
    for (number, download) in downloads.iter().enumerate() {
        let next = if number > 0 { "next\n" } else { "" };
        let (from, to) =
            (quoted(&url.join(&download.path)), quoted(&download.file.display().to_string()));
        let size = download.max_size;
        // Cannot fail: it is written to memory.
        let _ = write!(
            text,
            "{next}url = {from}\noutput = {to}\nmax-filesize = {size}\ngloboff\nfail\nlocation\nshow-error\n\
             remove-on-error\nproto = \"=http,https\"\nproto-redir = \"=http,https\"\nretry = {RETRIES}\n\
             retry-connrefused\nspeed-limit = {MIN_RATE}\nspeed-time = {TIMEOUT}\n",
        );
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
