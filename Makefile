# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors

# The two commands a newcomer needs are "make demo" and "make check". Everything here is a thin
# layer over Meson; "meson setup build" by hand works just as well.

BUILD ?= build
PREFIX ?= /usr/local
export IMAGE ?=
MESON ?= meson
SETUP_FLAGS = --buildtype=release --prefix='$(PREFIX)'
ENABLED = -Djson=enabled -Dcrypto=enabled
# Where the real images for the tests are, if not in ../shared/images.
IMAGES = $(if $(VHDX_IMAGES),-Dimages='$(abspath $(VHDX_IMAGES))')

all: $(BUILD)/build.ninja
	$(MESON) compile -C '$(BUILD)'

$(BUILD)/build.ninja:
	@command -v $(MESON) >/dev/null || \
	    { echo "make: Meson is not installed; 'make setup' installs what is missing" >&2; exit 1; }
	$(MESON) setup '$(BUILD)' $(SETUP_FLAGS)

setup:
	scripts/setup demo

demo:
	@scripts/setup demo
	@scripts/build '$(BUILD)' $(SETUP_FLAGS) $(ENABLED)
	@VHDX='$(BUILD)/cli/vhdx' scripts/demo "$$IMAGE"

check:
	@scripts/setup check
	@scripts/build '$(BUILD)' $(SETUP_FLAGS) $(ENABLED) $(IMAGES) -Dtests=enabled -Dnbdkit=enabled
	$(MESON) test -C '$(BUILD)' --no-rebuild --print-errorlogs $(TEST_FLAGS)

bench: all
	$(MESON) test -C '$(BUILD)' --benchmark --verbose

install: all
	$(MESON) install -C '$(BUILD)' --no-rebuild
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

clean:
	rm -rf '$(BUILD)'

.PHONY: all setup demo check bench install clean
