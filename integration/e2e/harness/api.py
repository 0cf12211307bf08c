"""Programs on libdnf5's own interface, which is what other package managers are made of."""

import sys

from .commands import run

# What all of them begin with. There are no download callbacks.
BEGIN = """
import sys
import libdnf5

def load():
    base = libdnf5.base.Base()
    base.load_config()
    base.setup()
    base.get_repo_sack().create_repos_from_system_configuration()
    base.get_repo_sack().load_repos(libdnf5.repo.Repo.Type_AVAILABLE)
    return base

def package(base, name):
    query = libdnf5.rpm.PackageQuery(base)
    query.filter_available()
    query.filter_name([name])
    return next(iter(query))
"""


def program(text, *arguments, **options):
    """Runs a program whose text goes on from BEGIN."""
    return run(sys.executable, "-c", BEGIN + text, *arguments, **options)
