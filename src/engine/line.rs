//! The layout of the line for a failure.

use std::fmt;

use super::advice::Remedy;
use crate::error_kind::{MAX_LINE, shortened};

/// The longest line in the log, in characters.
const MAX_LOGGED: usize = 4096;

/// How much is left of each part if the line gets too long, in characters. All remedies with a host or a path
/// of usual length fit beside that.
const MIN_NOTE: usize = 40;
const MIN_FACT: usize = 56;
const MIN_REFERENCE: usize = 40;
const MIN_REPOSITORY: usize = 20;

/// The length of a hexadecimal number that is a digest, and how much of it is left if the line gets too long.
const DIGEST: usize = 40;
const SHORT_DIGEST: usize = 12;

/// The parts of the line for a failure. The line has at most [`MAX_LINE`] characters: if the parts have more,
/// the middle of those that matter least is left out.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) repository: Option<String>,
    pub(super) reference: String,
    pub(super) fact: String,
    pub(super) remedy: Option<Remedy>,
}

impl Line {
    /// What failed and what to do about it.
    pub(super) fn advice(fact: &str, remedy: Option<&Remedy>) -> String {
        match remedy {
            Some(Remedy { action, note }) => {
                let note = note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
                format!("{}; {action}{note}", fact.trim_end_matches('.'))
            }
            None => fact.to_owned(),
        }
    }

    /// Logs what the user does not see.
    pub(super) fn log_if_long(&self) {
        if self.excess() > 0 {
            tracing::info!("{}", shortened(&self.whole(), MAX_LOGGED));
        }
    }

    fn whole(&self) -> String {
        let repository = self.repository.as_ref().map(|id| format!("repository {id} "));
        let advice = Self::advice(&self.fact, self.remedy.as_ref());
        format!("{}{}: {advice}", repository.unwrap_or_default(), self.reference)
    }

    /// The number of characters that are too many.
    fn excess(&self) -> usize {
        length(&self.whole()).saturating_sub(MAX_LINE)
    }

    fn shorten(&mut self) {
        self.shorten_part(MIN_NOTE, |line| line.remedy.as_mut()?.note.as_mut());
        if self.excess() > 0
            && let Some(remedy) = &mut self.remedy
        {
            remedy.note = None;
        }
        if self.excess() > 0 {
            self.fact = with_short_digests(&self.fact);
        }
        self.shorten_part(MIN_FACT, |line| Some(&mut line.fact));
        self.shorten_part(MIN_REFERENCE, |line| Some(&mut line.reference));
        self.shorten_part(MIN_REPOSITORY, |line| line.repository.as_mut());
        self.shorten_part(0, |line| Some(&mut line.remedy.as_mut()?.action));
    }

    fn shorten_part(&mut self, min: usize, part: fn(&mut Self) -> Option<&mut String>) {
        let excess = self.excess();
        if let Some(part) = part(self) {
            *part = shortened(part, length(part).saturating_sub(excess).max(min));
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.clone();
        line.shorten();
        f.write_str(&line.whole())
    }
}

/// Leaves enough of digests to tell them apart.
fn with_short_digests(text: &str) -> String {
    let is_other = |character: char| !character.is_ascii_hexdigit();
    let words = text.split_inclusive(is_other).map(|word| {
        let digits = word.trim_end_matches(is_other);
        match digits.len() {
            DIGEST.. => format!("{}…{}", &digits[..SHORT_DIGEST], &word[digits.len()..]),
            _ => word.to_owned(),
        }
    });
    words.collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}
