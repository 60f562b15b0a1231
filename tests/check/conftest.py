# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of check, repair, undo and replay. VHDX_DRIVER is the command line of
tests/write/driver.c, possibly with an emulator in front."""

import pytest

pytest.register_assert_rewrite('check_support')

# pylint: disable=wrong-import-position
from check_support import Check  # noqa: E402
from corpus_support import Tool  # noqa: E402
from environment import variable, program  # noqa: E402


@pytest.fixture(scope='session')
def vhdx(launcher):
    """The tool."""
    return Tool(variable('VHDX'), launcher)


@pytest.fixture(scope='session')
def check(vhdx):
    """vhdx check."""
    return Check(vhdx)


@pytest.fixture(scope='session')
def qemu_img(launcher):
    """A function that runs qemu-img; returns its exit code and what it complains of."""
    def run(*args):
        done = launcher.run([program('qemu-img'), *args], '.', 600)
        return done.code, done.err + done.out.decode()
    return run
