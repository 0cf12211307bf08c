"""Programs that use libdnf5's API, as other package managers do."""

import sys

from .commands import run

# The beginning of each program. It sets no download callbacks.
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
    """Runs BEGIN followed by `text`."""
    return run(sys.executable, "-c", BEGIN + text, *arguments, **options)
