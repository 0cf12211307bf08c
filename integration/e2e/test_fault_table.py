"""Every request × every fault, once and forever, beside the same faults of a plain web server."""

import re
from pathlib import Path

import pytest

from harness.faults import CELLS, MANY, SECONDS, Suite, documented, expected_page

PAGE = Path(__file__).parents[2] / "docs/reliability.md"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return Suite(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def outcomes(suite):
    return suite.run()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_cell(suite, outcomes, cell):
    outcome = outcomes[cell]
    assert (outcome.code == 0) == cell.succeeds, outcome
    assert outcome.seconds < SECONDS, outcome
    if cell.succeeds:
        assert outcome.fetched == [outcome.package], outcome
        assert outcome.lines == [], outcome
    if cell.side == "oci":
        check(suite, cell, outcome)


def check(suite, cell, outcome):
    if not cell.succeeds:
        assert outcome.fetched == [], outcome
        [line] = outcome.lines
        assert cell.reason in line, outcome
        assert "; " in line, "a remedy"
        if cell.fault.startswith("429"):
            assert "log in" in line, outcome
    # Go follows ten redirects.
    most = 10 * MANY if cell.fault == "loop" else MANY
    assert max(outcome.requests.values()) <= most, outcome.requests
    for name, content in outcome.cached.items():
        if re.search(r"\.xml(\.zst)?$", name):
            assert content == suite.original(cell, name), name


def test_the_page_lists_every_cell():
    assert documented(PAGE.read_text()) == expected_page(), 'run "make reliability"'
