//! Names from registries: titles of layers, members of archives.

/// Maximum length of a name in an error, in characters.
const SHOWN: usize = 120;

/// A name as a relative path, without the leading `./` and trailing `/` that tools add.
///
/// `None` for a name that could lead elsewhere (absolute, `..`), is written in an unusual way (`a//b`,
/// `a/./b`), is empty, or has control characters. A backslash is an ordinary character.
pub(super) fn relative(name: &str) -> Option<&str> {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    (name.split('/').all(plain) && !name.contains(char::is_control)).then_some(name)
}

/// The path that a symbolic link in `directory` leads to; `None` if that is outside the top directory.
pub(super) fn resolve(directory: &str, target: &str) -> Option<String> {
    if target.starts_with('/') || target.contains(char::is_control) {
        return None;
    }
    let mut parts: Vec<_> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Whether a name is that of the top directory.
pub(super) fn is_root(name: &str) -> bool {
    matches!(name, "." | "./")
}

/// The beginning of a name, for errors: a manifest or an archive allows very long ones.
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_lose_what_tools_add() {
        for (name, expected) in [
            ("a.rpm", "a.rpm"),
            ("./a.rpm", "a.rpm"),
            ("././a/b/", "a/b"),
            ("a\\..\\b", "a\\..\\b"),
            (".hidden/...", ".hidden/..."),
        ] {
            assert_eq!(relative(name), Some(expected), "{name:?}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in [
            "",
            ".",
            "./",
            "/",
            "//",
            "..",
            "/etc/x",
            ".//etc/x",
            "a/../b",
            "../a",
            "a/..",
            "a//b",
            "a/./b",
            "a\0",
            "a\n",
            "a\u{1b}[31m",
            "a\u{9b}31m",
        ] {
            assert_eq!(relative(name), None, "{name:?}");
        }
    }

    #[test]
    fn links_are_resolved_inside_the_top_directory() {
        for (directory, target, expected) in [
            ("", "a.rpm", Some("a.rpm")),
            ("Packages/o", "../p/./a.rpm", Some("Packages/p/a.rpm")),
            ("Packages", "../pool", Some("pool")),
            ("Packages", "../../a.rpm", None),
            ("Packages", "..", None),
            ("Packages", "/etc/passwd", None),
            ("", "..", None),
            ("a", "b\nc", None),
        ] {
            assert_eq!(resolve(directory, target).as_deref(), expected, "{directory} {target}");
        }
    }

    #[test]
    fn an_error_shows_the_beginning_of_a_long_name() {
        assert_eq!(shown("é"), "é");
        assert_eq!(shown(&"é".repeat(SHOWN)), "é".repeat(SHOWN));
        assert_eq!(shown(&"é".repeat(1 << 20)), "é".repeat(SHOWN) + "…");
    }
}
