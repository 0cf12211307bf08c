//! The layout of the line for a failure.

use std::fmt;

use super::advice::Remedy;
use crate::error_kind::{MAX_LINE, shortened};

/// The longest line in the log, in characters.
const MAX_LOGGED: usize = 4096;

/// How much is left of what failed, of the reference and of the repository's id if the line gets too long, in
/// characters. All remedies with a host or a path of usual length fit beside that.
const MIN_FACT: usize = 56;
const MIN_REFERENCE: usize = 40;
const MIN_REPOSITORY: usize = 20;

/// The parts of the line for a failure. It has at most [`MAX_LINE`] characters: if the parts have more, those
/// are left out that matter least.
pub(super) struct Line<'a> {
    pub(super) repository: Option<&'a str>,
    pub(super) reference: String,
    pub(super) fact: &'a str,
    pub(super) remedy: Option<&'a Remedy>,
}

impl Line<'_> {
    /// What failed and what to do about it, in full.
    pub(super) fn advice(fact: &str, remedy: Option<&Remedy>) -> String {
        match remedy {
            Some(Remedy { action, note: Some(note) }) => {
                format!("{}; {action}; {note}", fact.trim_end_matches('.'))
            }
            Some(Remedy { action, note: None }) => {
                format!("{}; {action}", fact.trim_end_matches('.'))
            }
            None => fact.to_owned(),
        }
    }

    /// Logs what the user does not see.
    pub(super) fn log_if_long(&self) {
        let whole = self.whole();
        if length(&whole) > MAX_LINE {
            tracing::info!("{}", shortened(&whole, MAX_LOGGED));
        }
    }

    fn whole(&self) -> String {
        let repository = self.repository.map(|id| format!("repository {id} ")).unwrap_or_default();
        format!("{repository}{}: {}", self.reference, Self::advice(self.fact, self.remedy))
    }

    /// Leaves out the note, then the middle of the longest parts.
    fn short(&self) -> String {
        let mut fact = self.fact.to_owned();
        let mut reference = self.reference.clone();
        let mut repository = self.repository.unwrap_or_default().to_owned();
        let mut action = self.remedy.map_or("", |remedy| &remedy.action).to_owned();
        let without_note = |action: &str| Remedy { action: action.to_owned(), note: None };
        let remedy = self.remedy.map(|remedy| without_note(&remedy.action));
        let line = Line { remedy: remedy.as_ref(), reference: reference.clone(), ..*self };
        let mut excess = length(&line.whole()).saturating_sub(MAX_LINE);
        for (part, min) in [
            (&mut fact, MIN_FACT),
            (&mut reference, MIN_REFERENCE),
            (&mut repository, MIN_REPOSITORY),
            (&mut action, 0),
        ] {
            let before = length(part);
            *part = shortened(part, before.saturating_sub(excess).max(min));
            excess = excess.saturating_sub(before - length(part));
        }
        let remedy = self.remedy.map(|_| without_note(&action));
        let repository = self.repository.map(|_| repository.as_str());
        Line { repository, reference, fact: &fact, remedy: remedy.as_ref() }.whole()
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.whole();
        f.write_str(&if length(&whole) > MAX_LINE { self.short() } else { whole })
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}
