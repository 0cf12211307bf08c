"""The parts of the end-to-end tests: real servers and clients, started and observed.

The tests run as root in a disposable root (integration/root/enter), one module in each, so they
use the default directories and ports, and may leave processes and files behind.
"""
