# dnf5-oci. `make help` lists what there is.

PREFIX ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=
CARGO ?= cargo

BINDIR = $(PREFIX)/bin
DATADIR = $(PREFIX)/share
UNITDIR = $(PREFIX)/lib/systemd/system
USERUNITDIR = $(PREFIX)/lib/systemd/user
MANDIR = $(DATADIR)/man
BASHDIR ?= $(DATADIR)/bash-completion/completions
ZSHDIR ?= $(DATADIR)/zsh/site-functions
FISHDIR ?= $(DATADIR)/fish/vendor_completions.d
PYTHON ?= python3
# Where DNF 4 is, which loads its plugins from a directory beside it.
PYTHONDIR ?= $(shell $(PYTHON) -c 'import dnf, os; print(os.path.dirname(os.path.dirname(dnf.__file__)))')
TARGET = $(or $(CARGO_TARGET_DIR),target)
PLUGIN ?= $(TARGET)/plugin
PAGES = $(TARGET)/pages

.PHONY: help
help:
	@echo 'make demo      see it work, in a disposable root'
	@echo 'make check     all lints and tests; WITH=packages: those of the packages as well'
	@echo 'make lint      the lints alone'
	@echo 'make test      the Rust tests; T=registry K=mirror: those in tests/registry.rs with this name'
	@echo 'make e2e       the end-to-end tests; T=test_run.py K=tag: those of one module with this name'
	@echo 'make soak      kill dnf5, the service and skopeo at random instants; KILLS=1000 SEED=N'
	@echo 'make fuzz      random inputs for all that reads untrusted data; SECONDS=60 T=archive'
	@echo 'make audit     licences and advisories of the crates, and a build with the oldest Rust'
	@echo 'make dist      the source tarballs that packages are built from'
	@echo 'make rpm       the RPMs, in $(PACKAGES)'
	@echo 'make deb       the Debian packages, in $(PACKAGES)'
	@echo 'make check-packages   the tests of the packages; T=test_rpm.py K=upgrade'
	@echo 'make bench     how fast it is, beside a plain web server; BASE=REV: and beside another revision'
	@echo 'make reliability   write docs/reliability.md: what dnf5 does when a registry fails'
	@echo 'make shell     a shell in the disposable root, with everything installed'
	@echo 'make build     the service, the plugin and the man pages, on this machine'
	@echo 'make install   install what was built; PREFIX=$(PREFIX) DESTDIR='
	@echo 'make install-zypper   install the plugin for zypper; DESTDIR='
	@echo 'make install-dnf4   install the plugin for DNF 4; PYTHONDIR= where Python has its packages'

# --- build and install -------------------------------------------------------------------------

.PHONY: build service plugin pages
build: service plugin pages

service:
	$(CARGO) build --release --locked

plugin:
	$(MAKE) -C integration/plugin BUILD=$(abspath $(PLUGIN)) PREFIX=$(PREFIX)

pages: service
	rm -rf $(PAGES)
	integration/packaging/pages $(abspath $(TARGET)/release/dnf5-oci) $(abspath $(PAGES))

.PHONY: install install-service install-plugin install-dnf4 install-zypper install-pages
install: install-service install-plugin install-pages

install-service:
	install -D -m 755 $(TARGET)/release/dnf5-oci $(DESTDIR)$(BINDIR)/dnf5-oci
	install -D -m 644 dbus/io.github.dnf5_oci.Backend1.xml \
	    $(DESTDIR)$(DATADIR)/dbus-1/interfaces/io.github.dnf5_oci.Backend1.xml
	install -D -m 644 dbus/io.github.dnf5_oci.conf \
	    $(DESTDIR)$(DATADIR)/dbus-1/system.d/io.github.dnf5_oci.conf
	install -D -m 644 dbus/dnf5-oci.socket $(DESTDIR)$(UNITDIR)/dnf5-oci.socket
	install -D -m 644 dbus/user/dnf5-oci.socket $(DESTDIR)$(USERUNITDIR)/dnf5-oci.socket
	install -d $(DESTDIR)$(DATADIR)/dbus-1/system-services
	sed 's|@bindir@|$(BINDIR)|' dbus/io.github.dnf5_oci.service.in \
	    > $(DESTDIR)$(DATADIR)/dbus-1/system-services/io.github.dnf5_oci.service
	sed 's|@bindir@|$(BINDIR)|' dbus/dnf5-oci.service.in \
	    > $(DESTDIR)$(UNITDIR)/dnf5-oci.service
	sed 's|@bindir@|$(BINDIR)|' dbus/user/dnf5-oci.service.in \
	    > $(DESTDIR)$(USERUNITDIR)/dnf5-oci.service

install-plugin:
	$(MAKE) -C integration/plugin BUILD=$(abspath $(PLUGIN)) PREFIX=$(PREFIX) \
	    SYSCONFDIR=$(SYSCONFDIR) DESTDIR=$(abspath $(DESTDIR)) install

# Not part of `install`, since few machines have both.
install-dnf4:
	install -D -m 644 integration/dnf4/oci.py $(DESTDIR)$(PYTHONDIR)/dnf-plugins/oci.py
	install -d $(DESTDIR)$(SYSCONFDIR)/dnf/plugins
	sed 's|/usr/bin/|$(BINDIR)/|' integration/dnf4/oci.conf > $(DESTDIR)$(SYSCONFDIR)/dnf/plugins/oci.conf

# Neither is this. libzypp always looks there.
install-zypper:
	install -D -m 755 integration/zypper/oci $(DESTDIR)/usr/lib/zypp/plugins/urlresolver/oci

install-pages:
	for page in $(PAGES)/man/*; do \
	    install -D -m 644 "$$page" "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}" || exit; done
	install -D -m 644 $(PAGES)/bash/dnf5-oci.bash $(DESTDIR)$(BASHDIR)/dnf5-oci
	install -D -m 644 $(PAGES)/zsh/_dnf5-oci $(DESTDIR)$(ZSHDIR)/_dnf5-oci
	install -D -m 644 $(PAGES)/fish/dnf5-oci.fish $(DESTDIR)$(FISHDIR)/dnf5-oci.fish

# --- packages ----------------------------------------------------------------------------------

PACKAGES = $(TARGET)/packages
# Cargo's directory for all kinds of packages, which share the compiled crates.
PACKAGES_BUILD = $(TARGET)/packages-build
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
# Bindings and environment of a build in the root.
BUILD_PACKAGES = --bind $(CURDIR)/integration/packaging:/packaging:ro --bind $(abspath $(PACKAGES)):/packages \
    --bind $(abspath $(PACKAGES_BUILD)):/packages-build \
    env CARGO_TARGET_DIR=/packages-build PLUGIN=/build/plugin
RPM_SOURCES = $(wildcard $(PACKAGES)/dnf5-oci-$(VERSION)*.tar.*) \
    $(addprefix integration/packaging/,dnf5-oci.spec macros.debian build-rpm)

DEB_SOURCES = $(wildcard $(PACKAGES)/dnf5-oci-$(VERSION)*.tar.*) \
    $(addprefix integration/packaging/,build-deb debian-copyright) \
    $(shell find integration/packaging/debian -type f | sort)

.PHONY: dist rpm deb
dist:
	@integration/prepare $(CARGO) git xz
	@CARGO='$(CARGO)' integration/packaging/dist $(PACKAGES) $(PACKAGES_BUILD)

rpm: dist prepare
	@sha256sum $(RPM_SOURCES) | cmp -s - $(PACKAGES)/.rpm || { \
	    echo 'building the RPMs; the first time takes some minutes'; \
	    rm -f $(PACKAGES)/*.rpm; \
	    $(ENTER) $(BUILD_PACKAGES) /packaging/build-rpm $(VERSION) /packages /packages -ba \
	        >$(PACKAGES)/rpm.log 2>&1 || { tail -n 30 $(PACKAGES)/rpm.log; exit 1; }; \
	    sha256sum $(RPM_SOURCES) >$(PACKAGES)/.rpm; }

deb: dist prepare
	@sha256sum $(DEB_SOURCES) | cmp -s - $(PACKAGES)/.deb || { \
	    echo 'building the Debian packages; the first time takes some minutes'; \
	    rm -f $(PACKAGES)/*.deb $(PACKAGES)/*.buildinfo $(PACKAGES)/*.changes; \
	    $(ENTER) $(BUILD_PACKAGES) /packaging/build-deb $(VERSION) /packages \
	        >$(PACKAGES)/deb.log 2>&1 || { tail -n 30 $(PACKAGES)/deb.log; exit 1; }; \
	    sha256sum $(DEB_SOURCES) >$(PACKAGES)/.deb; }

# --- the disposable root -----------------------------------------------------------------------

# What is laid over the root: everything as `make install` puts it. The plugin is compiled there,
# where libdnf5 is, and the man pages are made there.
STAGE = $(TARGET)/stage
ENTER = integration/root/enter

.PHONY: prepare stage demo bench reliability shell
prepare:
	@integration/prepare $(CARGO) gcc g++ git python3 unshare flock
	@integration/root/build >/dev/null

stage: prepare
	@echo 'building the service and the plugin; the first time takes some minutes'
	@$(MAKE) -s service CARGO='$(CARGO) --quiet'
	@rm -rf $(STAGE) $(PAGES)
	@mkdir -p $(STAGE) $(PLUGIN) $(PAGES)
	@$(MAKE) -s install-service install-zypper PREFIX=/usr DESTDIR=$(STAGE)
	@$(ENTER) --bind $(CURDIR):/src:ro --bind $(abspath $(PLUGIN)):/build \
	    --bind $(abspath $(STAGE)):/stage \
	    make -s -j2 -C /src/integration/plugin BUILD=/build DESTDIR=/stage install
	@$(ENTER) --bind $(CURDIR):/src:ro --bind $(abspath $(STAGE)):/stage make -s -C /src install-dnf4 DESTDIR=/stage
	@$(ENTER) --bind $(CURDIR):/src:ro --bind $(abspath $(STAGE)):/stage:ro --bind $(abspath $(PAGES)):/pages \
	    /src/integration/packaging/pages /stage/usr/bin/dnf5-oci /pages
	@$(MAKE) -s install-pages PREFIX=/usr DESTDIR=$(STAGE)
	@$(ENTER) --lower $(abspath $(STAGE)) dnf5-oci --version >/dev/null || \
	    { echo 'what is built on this machine does not run in the root (is its glibc newer?)' >&2; exit 1; }

demo: stage rpm
	@$(ENTER) --lower $(abspath $(STAGE)) --bind $(CURDIR)/integration/demo:/demo:ro \
	    --bind $(CURDIR)/integration/packaging:/packaging:ro --bind $(abspath $(PACKAGES)):/packages:ro /demo/demo

bench: stage
	@$(CARGO) build --quiet --release --locked --example floor --example relay
	@set -e; $(if $(BASE),base=$$(integration/bench/build-base '$(BASE)');) \
	$(ENTER) --lower $(abspath $(STAGE)) --bind $(CURDIR):/src:ro \
	    --bind $(abspath $(TARGET))/release/examples:/examples:ro \
	    --bind $(abspath $(STAGE)):/stages/new:ro $(if $(BASE),--bind "$$base":/stages/base:ro) \
	    env PYTHONPATH=/src/integration/e2e python3 -B /src/integration/bench/bench \
	    $(if $(BASE),--base $$(git rev-parse --short '$(BASE)')) $(BENCH)

reliability: stage
	@$(ENTER) --lower $(abspath $(STAGE)) --bind $(CURDIR):/src:ro \
	    python3 -B /src/integration/reliability > docs/reliability.md.new
	@mv docs/reliability.md.new docs/reliability.md

shell: stage
	@$(ENTER) --lower $(abspath $(STAGE)) --bind $(CURDIR):/src:ro bash

# --- checks ------------------------------------------------------------------------------------

# T names one test file or several, K tests in them: part of a name for cargo, an expression for pytest.
.PHONY: check check-packages lint test e2e audit
check: stage rpm $(WITH:packages=deb)
	@integration/check --stage $(STAGE) --packages $(PACKAGES) $(WITH:%=--with %)

check-packages: rpm deb
	@integration/check --packages $(PACKAGES) -k '$(K)' packages $(T)

lint: prepare
	@integration/check lint

test: prepare
	@$(if $(T),,$(CARGO) test --locked --lib $(K))
	@$(CARGO) test --locked --config integration/cargo.toml $(or $(T:%=--test %),--test '*') $(K)

e2e: stage
	@integration/check --stage $(STAGE) -k '$(K)' e2e $(T)

# How often dnf5, the service or skopeo is killed; SEED=N repeats a run.
KILLS ?= 1000
.PHONY: soak
soak: stage
	@KILLS=$(KILLS) $(if $(SEED),SEED=$(SEED)) integration/check --stage $(STAGE) e2e test_kills.py

# How long each target runs, or the one that T names.
SECONDS ?= 60
.PHONY: fuzz
fuzz:
	@integration/prepare $(CARGO) g++
	@integration/fuzz build
	@set -e; for target in $(or $(T),$$(integration/fuzz list)); do \
	    echo "fuzzing $$target"; integration/fuzz run $$target $(SECONDS); done

# What `cargo deny` checks. Its database of advisories comes from the network; without one:
# make audit DENY='bans licenses sources'
DENY ?= advisories bans licenses sources
audit: prepare
	@integration/audit $(DENY)
