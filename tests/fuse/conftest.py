# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of mounted images, which need FUSE."""

import faulthandler
import os

import pytest

from environment import missing, program
from fuse_support import LIMIT, Mount, clear


@pytest.fixture(scope='session')
def vhdx(vhdx, tmp_path_factory):
    """The tool, where it can mount."""
    if vhdx.emulated:
        pytest.skip('FUSE needs the kernel itself')
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        missing('/dev/fuse is not there, or not for us')
    program('fusermount3')
    empty = tmp_path_factory.mktemp('empty')
    done = vhdx('mount', empty / 'no-such-image', empty)
    if 'built without FUSE' in done.stderr:
        missing('built without FUSE')
    return vhdx


@pytest.fixture(autouse=True)
def bounded():
    """No test hangs for ever: the whole run ends instead, with a trace of where."""
    faulthandler.dump_traceback_later(3 * LIMIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def mount(vhdx, tmp_path):
    """A function that mounts an image in the foreground of a process of its own."""
    made = []

    def make(image, *options, name='mnt', env=None):
        made.append(Mount(vhdx, image, tmp_path / name, options, env))
        return made[-1]
    yield make
    for one in reversed(made):
        one.clean_up()


@pytest.fixture
def folder(tmp_path):
    """An empty folder to mount on; what is left there in the end is unmounted."""
    path = tmp_path / 'folder'
    path.mkdir()
    yield path
    clear(path)


@pytest.fixture
def new_image(vhdx, tmp_path):
    """A function that creates an empty image."""
    def make(size, *options, name='new.vhdx'):
        path = tmp_path / name
        vhdx.ok('create', '-q', *options, path, str(size))
        return path
    return make
