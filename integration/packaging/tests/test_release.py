"""The workflows, and what a release checks first."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from harness.commands import run

TOP = Path("/src")
SCRIPT = "integration/packaging/release-notes"
VERSION = re.search(r'^version = "(.*)"$', (TOP / "Cargo.toml").read_text(), re.MULTILINE)[1]
CHANGELOG = f"""# Changelog

## [Unreleased]

- Nothing.

## [{VERSION}] - 2026-11-01

### Added

- A feature.

## [0.0.1] - 2026-10-01

- The beginning.
"""


@pytest.fixture(params=sorted((TOP / ".github/workflows").iterdir()), ids=lambda path: path.name)
def workflow(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def notes(tmp_path):
    """Prints the notes of a tag, with this changelog."""
    def call(tag, changelog=CHANGELOG, **options):
        for name in (SCRIPT, "Cargo.toml"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, tmp_path / name)
        (tmp_path / "CHANGELOG.md").write_text(changelog)
        return run(tmp_path / SCRIPT, tag, **options).output
    return call


def test_the_notes_are_those_of_the_version(notes):
    assert notes(f"v{VERSION}") == "### Added\n\n- A feature.\n"


@pytest.mark.parametrize("tag", [VERSION, "v0.0.1", "v99.0.0", f"v{VERSION}-rc1"])
def test_the_tag_is_the_version(notes, tag):
    assert notes(tag, code=1) == (
        f'release failed: the tag is "{tag}", and Cargo.toml has version {VERSION}; tag it v{VERSION}\n')


@pytest.mark.parametrize("heading", ["## [99.0.0] - 2026-11-01", f"## [{VERSION}]", f"## [{VERSION}] - soon"])
def test_the_changelog_has_the_version(notes, heading):
    changelog = CHANGELOG.replace(f"## [{VERSION}] - 2026-11-01", heading)
    assert notes(f"v{VERSION}", changelog, code=1) == (
        f'release failed: CHANGELOG.md has nothing about {VERSION}; add a heading "## [{VERSION}] - YYYY-MM-DD"\n')


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflows_run_targets_that_exist(workflow):
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    for step in steps(workflow):
        for words in re.findall(r"\bmake (.*)", step.get("run", "")):
            assert {word for word in words.split() if "=" not in word} <= targets


def test_workflows_use_pinned_actions_and_few_permissions(workflow):
    for step in steps(workflow):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", f"none@{'0' * 40}"))
    assert workflow["permissions"] == {"contents": "read"}
    writing = [name for name, job in workflow["jobs"].items() if "permissions" in job]
    assert writing in ([], ["publish"])
