"""What the end-to-end tests are made of: the real parts, started and looked at.

The tests run as root in a disposable root (integration/root/enter), one module in each, so they
use the usual directories and ports, and leave processes and files behind without harm.
"""
