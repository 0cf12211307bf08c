//! What skopeo says, with secrets in it. The first line of an input is a password, the rest a message, in
//! which `$1` to `$4` stand for forms of the password.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dnf5_oci::error_kind::Failure;
use dnf5_oci::redact::Secrets;
use dnf5_oci::registry::refused;
use dnf5_oci_fuzz::within;
use libfuzzer_sys::fuzz_target;

const MEMORY: u64 = 32 << 20;

/// The longest error, in characters: what is kept of a message, and a hint.
const LONGEST: usize = 4096 + 100;

/// Shorter passwords are part of ordinary words, and so of what stands for other secrets.
const SHORTEST: usize = 6;

fuzz_target!(|text: &str| {
    let (password, message) = text.split_once('\n').unwrap_or(("", text));
    within(MEMORY, || {
        let is_plain =
            password.len() >= SHORTEST && password.bytes().all(|b| b.is_ascii_alphanumeric());
        let forms = if is_plain { forms(password).to_vec() } else { Vec::new() };
        let message = with_forms(message, &forms);
        let mut secrets = Secrets::default();
        secrets.add_login("me", password);
        let hidden = secrets.hide(&message);
        for form in &forms {
            assert!(!hidden.contains(form), "{form} in {hidden:?}");
        }
        for retryable in [false, true] {
            let error = refused(&message, retryable, &secrets);
            let line = error.to_string();
            assert!(line.chars().count() <= LONGEST, "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
            error.kind();
            error.remedy();
        }
    });
});

fn forms(password: &str) -> [String; 4] {
    let hexadecimal = |prefix: &str| password.bytes().map(|b| format!("{prefix}{b:02x}")).collect();
    [
        password.to_owned(),
        STANDARD_NO_PAD.encode(format!("me:{password}")),
        hexadecimal(""),
        hexadecimal("%"),
    ]
}

fn with_forms(message: &str, forms: &[String]) -> String {
    let numbered = forms.iter().zip(1..);
    numbered
        .fold(message.to_owned(), |text, (form, number)| text.replace(&format!("${number}"), form))
}
