//! `dnf5-oci generate`: the man pages of the commands, and the completions of shells, for packagers.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The section of the manual with the page about the program, and that with its commands.
const PROGRAM: &str = "8";
const COMMAND: &str = "1";

/// Pages from elsewhere that the one about the program names.
const SEE_ALSO: &str = "dnf5(8), libdnf5-oci(8), dnf5-oci.toml(5), dnf5-oci-layout(7), skopeo(1), \
    containers-registries.conf(5), containers-auth.json(5), containers-policy.json(5)";

/// The manual pages are guides in Markdown as well, which packages install here.
const GUIDES: &str = "/usr/share/doc/dnf5-oci";

/// Write the man pages and the completions of shells, for packagers
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to write them; man pages go into the directory man, completions into one for each shell
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut program = super::Arguments::command().disable_help_subcommand(true);
    program.build();
    let man = arguments.directory.join("man");
    fs::create_dir_all(&man)?;
    write(&man, PROGRAM, &program)?;
    for command in commands(&program) {
        write(&man, COMMAND, command)?;
    }
    complete(&arguments.directory)
}

/// Writes the completions. Some shells would offer hidden commands as well.
fn complete(directory: &Path) -> Result<(), Box<dyn Error>> {
    let program = super::Arguments::command();
    let mut visible = Command::new("dnf5-oci")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(commands(&program).cloned());
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let directory = directory.join(name);
        fs::create_dir_all(&directory)?;
        clap_complete::generate_to(shell, &mut visible, "dnf5-oci", directory)?;
    }
    Ok(())
}

fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

fn write(directory: &Path, section: &str, command: &Command) -> io::Result<()> {
    let man = Man::new(without_summary(command.clone()))
        .section(section)
        .source(concat!("dnf5-oci ", env!("CARGO_PKG_VERSION")))
        .manual(match section {
            PROGRAM => "System Administration",
            _ => "User Commands",
        });
    let mut out = BufWriter::new(File::create(directory.join(man.get_filename()))?);
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    sections(section, command).to_writer(&mut out)?;
    out.flush()
}

/// The page's description does not repeat the first paragraph, which stands beside the name.
fn without_summary(command: Command) -> Command {
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    match long.split_once("\n\n") {
        Some((_, rest)) => command.long_about(rest.to_owned()),
        None => command,
    }
}

/// The sections after the options.
fn sections(section: &str, command: &Command) -> Roff {
    let mut roff = Roff::new();
    if section == PROGRAM {
        roff.control("SH", ["COMMANDS"]);
        for command in commands(command) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            roff.control("TP", []).text([bold(page_name(command))]).text([roman(about)]);
        }
    }
    if let Some(text) = command.get_after_long_help() {
        details(&mut roff, &text.to_string());
    }
    if section != PROGRAM {
        let exit_status =
            super::DETAILS.split_once("\n\n").map_or(super::DETAILS, |(first, _)| first);
        details(&mut roff, exit_status);
    }
    let pages = match section {
        PROGRAM => SEE_ALSO,
        _ => "dnf5-oci(8)",
    };
    roff.control("SH", ["SEE ALSO"]).text([roman(format!("{pages}, and the guides in {GUIDES}"))]);
    roff
}

/// Adds a section for each heading, a line that ends with a colon. What is below one is shown as it is.
fn details(roff: &mut Roff, text: &str) {
    for part in text.split("\n\n") {
        let Some((heading, body)) = part.split_once(":\n") else { continue };
        roff.control("SH", [heading.to_uppercase().as_str()]).control("nf", []);
        for line in body.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
}

fn page_name(command: &Command) -> String {
    format!("dnf5-oci-{}({COMMAND})", command.get_name())
}
