# dnf5-oci. `make help` lists what there is.

PREFIX ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=
CARGO ?= cargo

BINDIR = $(PREFIX)/bin
DATADIR = $(PREFIX)/share
UNITDIR = $(PREFIX)/lib/systemd/system
TARGET = $(or $(CARGO_TARGET_DIR),target)
PLUGIN = $(TARGET)/plugin

.PHONY: help
help:
	@echo 'make demo      see it work, in a disposable root'
	@echo 'make check     all tests'
	@echo 'make shell     a shell in the disposable root, with everything installed'
	@echo 'make build     the service and the plugin, on this machine'
	@echo 'make install   install what was built; PREFIX=$(PREFIX) DESTDIR='

# --- build and install -------------------------------------------------------------------------

.PHONY: build service plugin
build: service plugin

service:
	$(CARGO) build --release --locked

plugin:
	$(MAKE) -C integration/plugin BUILD=$(abspath $(PLUGIN)) PREFIX=$(PREFIX)

.PHONY: install install-service install-plugin
install: install-service install-plugin

install-service:
	install -D -m 755 $(TARGET)/release/dnf5-oci $(DESTDIR)$(BINDIR)/dnf5-oci
	install -D -m 644 dbus/io.github.dnf5_oci.Backend1.xml \
	    $(DESTDIR)$(DATADIR)/dbus-1/interfaces/io.github.dnf5_oci.Backend1.xml
	install -D -m 644 dbus/io.github.dnf5_oci.conf \
	    $(DESTDIR)$(DATADIR)/dbus-1/system.d/io.github.dnf5_oci.conf
	install -d $(DESTDIR)$(DATADIR)/dbus-1/system-services $(DESTDIR)$(UNITDIR)
	sed 's|@bindir@|$(BINDIR)|' dbus/io.github.dnf5_oci.service.in \
	    > $(DESTDIR)$(DATADIR)/dbus-1/system-services/io.github.dnf5_oci.service
	sed 's|@bindir@|$(BINDIR)|' dbus/dnf5-oci.service.in \
	    > $(DESTDIR)$(UNITDIR)/dnf5-oci.service

install-plugin:
	$(MAKE) -C integration/plugin BUILD=$(abspath $(PLUGIN)) PREFIX=$(PREFIX) \
	    SYSCONFDIR=$(SYSCONFDIR) DESTDIR=$(abspath $(DESTDIR)) install
