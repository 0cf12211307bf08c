"""The man pages and completions that are installed."""

import re
import subprocess
from pathlib import Path

import pytest

MAN = Path("/usr/share/man")
COMPLETIONS = {
    "bash": """
        source /usr/share/bash-completion/bash_completion
        source /usr/share/bash-completion/completions/dnf5-oci
        COMP_WORDS=(dnf5-oci pub) COMP_CWORD=1
        "$(complete -p dnf5-oci | sed 's/.*-F \\([^ ]*\\).*/\\1/')" dnf5-oci pub dnf5-oci
        echo "${COMPREPLY[@]}"
    """,
    "fish": 'complete --do-complete "dnf5-oci pub"',
    "zsh": """
        fpath=(/usr/share/zsh/site-functions $fpath)
        autoload -U compinit && compinit -D -u
        autoload +X "$_comps[dnf5-oci]" && functions "$_comps[dnf5-oci]" _dnf5-oci_commands | grep publish:
    """,
}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


def pages():
    return sorted(path for path in MAN.glob("man?/*") if "dnf5-oci" in path.name)


def rendered(page):
    return run("env", "MANWIDTH=80", "man", "--warnings", "-l", page)


def test_there_is_a_page_for_every_command_and_file():
    listed, _ = run("dnf5-oci", "--help")
    commands = re.findall(r"^  (\w+) ", listed.partition("Commands:")[2].partition("Options:")[0], re.MULTILINE)
    assert "publish" in commands
    expected = {f"dnf5-oci-{command}.1" for command in commands if command != "help"}
    expected |= {"dnf5-oci.8", "libdnf5-oci.8", "dnf5-oci.toml.5", "dnf5-oci-layout.7"}
    assert {page.name for page in pages()} == expected


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_is_rendered_without_a_warning(page):
    text, warnings = rendered(page)
    assert not warnings
    assert "NAME" in text and "SEE ALSO" in text
    # A link to a guide, which leads nowhere from here.
    assert "⟨" not in text
    name, _ = run("lexgrog", page)
    assert f'"{page.stem} - ' in name


def test_a_page_of_a_command_has_what_its_help_has():
    page, _ = rendered(MAN / "man1/dnf5-oci-prune.1")
    text = " ".join(page.split())
    assert "--keep <TIME> [default: 14d] How long packages stay after they have left the metadata" in text
    assert "dnf5-oci prune --keep 30d --yes quay.io/acme/rpms:stable" in text
    assert "EXIT STATUS 0 success 1 failure 2 invalid arguments" in text
    assert f"dnf5-oci {run('dnf5-oci', '--version')[0].split()[1]}" in text


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_a_shell_completes_a_command(shell):
    output, errors = run(shell, "-c", COMPLETIONS[shell])
    assert "publish" in output, errors
    assert "generate" not in output
