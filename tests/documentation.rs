//! The documentation has every option and setting, and none that does not exist. The pages of the commands are
//! made from the commands themselves; the end-to-end tests look at what is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use dnf5_oci::cli::Arguments;
use dnf5_oci::settings::Settings;

const SETTINGS: &str = include_str!("../docs/dnf5-oci.toml.5.md");
const PLUGIN: &str = include_str!("../docs/libdnf5-oci.8.md");

/// The rows of all tables in a document, as cells.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// What is in backquotes in a text.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The section with this heading.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("\n# {heading}\n")).expect("a heading");
    rest.split("\n# ").next().unwrap_or(rest)
}

/// The strings in a constant of the plugin's source.
fn strings(source: &str, constant: &str) -> BTreeSet<String> {
    let (_, rest) = source.split_once(constant).expect("a constant");
    let (body, _) = rest.split_once("};").expect("its end");
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, and all in docs/.
fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let paths = docs.map(|entry| entry.expect("an entry").path());
    let names = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name));
    paths.chain(names).map(|path| (path.display().to_string(), read(&path))).collect()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let mut settings = BTreeMap::new();
    let values = serde_json::to_value(Settings::default()).expect("settings");
    for (key, value) in values.as_object().expect("a table") {
        match value.as_object() {
            None => drop(settings.insert(key.clone(), value.to_string())),
            Some(_) if key == "environment" => {
                drop(settings.insert("environment.NAME".to_owned(), String::new()));
            }
            Some(table) => settings.extend(
                table.iter().map(|(name, value)| (format!("{key}.{name}"), value.to_string())),
            ),
        }
    }
    let documented: BTreeMap<_, _> = rows(section(SETTINGS, "KEYS"))
        .iter()
        .filter_map(|row| Some((code(row[0]).first()?.to_string(), row[1..].join(" "))))
        .collect();
    assert_eq!(settings.keys().collect::<Vec<_>>(), documented.keys().collect::<Vec<_>>());
    for (key, default) in settings {
        let row = &documented[&key];
        assert!(row.contains(default.trim_matches('"')), "{key}: {default} is not in: {row}");
    }
}

#[test]
fn every_option_of_the_plugin_is_documented() {
    let source = read(&root().join("integration/plugin/oci.cpp"));
    let read_by_plugin: BTreeSet<_> = source
        .split("parser.get_value(\"main\", \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let table = rows(section(PLUGIN, "CONFIGURATION"));
    let documented = table.iter().filter_map(|row| code(row[0]).first().copied());
    assert_eq!(read_by_plugin, documented.collect());

    let file = read(&root().join("integration/plugin/oci.conf"));
    let options = file.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    let in_file =
        options.map(|(name, _)| name.trim()).filter(|name| !["name", "enabled"].contains(name));
    assert_eq!(read_by_plugin, in_file.collect());
}

#[test]
fn every_option_of_a_repository_that_the_plugin_treats_specially_is_documented() {
    let source = read(&root().join("integration/plugin/repositories.cpp"));
    let section = section(PLUGIN, "REPOSITORY OPTIONS");
    let documented: BTreeSet<_> =
        code(section).iter().filter_map(|code| Some(code.split('=').next()?.to_owned())).collect();
    let passed_on = &source[source.find("PASSED_ON[]").expect("a constant")..];
    let (passed_on, _) = passed_on.split_once("};").expect("its end");
    // Each row has the option's name and the service's.
    for option in passed_on.split('"').skip(1).step_by(4) {
        assert!(documented.contains(option), "{option} is passed on");
    }
    for option in strings(&source, "IGNORED[]{") {
        assert!(documented.contains(&option), "{option} is ignored");
    }
}

#[test]
fn every_command_and_option_says_what_it_does() {
    let mut program = Arguments::command();
    program.build();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.len() < 100 && !about.ends_with('.') && !about.is_empty(), "{name}: {about}");
        assert!(!about.contains("rguments of"), "{name}: {about}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
        }
    }
}

/// The options of each command.
fn options(program: &Command) -> BTreeMap<String, BTreeSet<String>> {
    let commands = program.get_subcommands().map(|command| {
        let long = command.get_arguments().filter_map(clap::Arg::get_long);
        (command.get_name().to_owned(), long.map(str::to_owned).collect())
    });
    commands.collect()
}

#[test]
fn the_guides_name_only_commands_and_options_that_exist() {
    let mut program = Arguments::command();
    program.build();
    let options = options(&program);
    let mut seen = 0;
    for (name, text) in documents() {
        for line in text.replace("\\\n", " ").lines() {
            let Some((_, command)) = line.split_once("dnf5-oci ") else { continue };
            let mut words =
                command.split(['`', '|', ';', '"']).next().unwrap_or(command).split_whitespace();
            let Some(options) = words.next().and_then(|command| options.get(command)) else {
                continue;
            };
            // Behind "--" are those of another command.
            let own = words.take_while(|word| *word != "--");
            for word in own.filter_map(|word| word.strip_prefix("--")) {
                let option = word.split(['=', ',', '.', ')']).next().unwrap_or(word);
                seen += 1;
                assert!(options.contains(option), "{name}: --{option} in: {line}");
            }
        }
        for page in text.split("dnf5-oci-").skip(1).filter_map(|rest| rest.split_once("(1)")) {
            let command = page.0;
            if command.chars().all(|character| character.is_ascii_lowercase()) {
                assert!(options.contains_key(command), "{name}: dnf5-oci-{command}(1)");
            }
        }
    }
    assert!(seen > 5, "{seen} options found");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (name, text) in documents() {
        let directory = Path::new(&name).parent().expect("a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { name.clone().into() } else { directory.join(path) };
            assert!(target.exists(), "{name}: {link}");
            if !fragment.is_empty() {
                let headings = read(&target);
                let found = headings
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line) == fragment);
                assert!(found, "{name}: {link} has no such heading");
            }
        }
    }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept =
        |character: &char| character.is_alphanumeric() || [' ', '-', '_'].contains(character);
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}
