# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of check, repair, undo and replay.

VHDX is the command line of the tool, VHDX_DRIVER that of tests/write/driver.c, possibly with an
emulator in front; VHDX_IMAGES is the folder of real images. Where one is missing tests are
skipped, or fail if CI is true.
"""

import os
import pathlib
import shutil

import pytest

pytest.register_assert_rewrite('check_support')

# pylint: disable=wrong-import-position
from check_support import HERE, Check, Launcher, Tool, missing, unpack  # noqa: E402


@pytest.fixture(scope='session')
def launcher(tmp_path_factory):
    """Runs programs."""
    connection = Launcher(tmp_path_factory.mktemp('launcher'))
    yield connection
    connection.close()


@pytest.fixture(scope='session')
def vhdx(launcher):
    """The tool."""
    command = os.environ.get('VHDX') or missing('VHDX is not set')
    return Tool(command, launcher)


@pytest.fixture(scope='session')
def check(vhdx):
    """vhdx check."""
    return Check(vhdx)


@pytest.fixture(scope='session')
def qemu_img(launcher):
    """A function that runs qemu-img; returns its exit code and what it complains of."""
    program = shutil.which('qemu-img')

    def run(*args):
        if not program:
            missing('qemu-img is not installed')
        done = launcher.run([program, *args], '.', 600)
        return done.code, done.err + done.out.decode()
    return run


@pytest.fixture(scope='session')
def real_image(tmp_path_factory):
    """A function that unpacks a real image into a folder, and gives its path there."""
    source = pathlib.Path(os.environ.get('VHDX_IMAGES')
                          or HERE / '..' / '..' / '..' / 'shared' / 'images')
    folder = tmp_path_factory.mktemp('real')

    def get(name):
        target = folder / name.rsplit('.', 1)[0]
        if not target.exists():
            if not (source / name).exists():
                missing('there is no %s in VHDX_IMAGES' % name)
            unpack(source / name, target)
        return target
    return get
