//! Where in a TOML file something is wrong.

/// The line, counted from 1, of an error about this text.
pub(crate) fn of(error: &toml::de::Error, text: &str) -> usize {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}
