# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of mounted images.

VHDX is the command line of the tool, VHDX_IMAGES the folder of real images. Without FUSE tests are
skipped, or fail if CI is true.
"""

import faulthandler
import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(HERE.parent / 'cli'), str(HERE.parent / 'lib')]

# pylint: disable=wrong-import-position
from cli_support import Tool, unpack  # noqa: E402
from fuse_support import LIMIT, Mount, clear, missing  # noqa: E402


@pytest.fixture(scope='session')
def vhdx(tmp_path_factory):
    """The tool, where it can mount."""
    command = os.environ.get('VHDX')
    if not command:
        missing('VHDX is not set')
    tool = Tool(command)
    if tool.emulated:
        pytest.skip('FUSE needs the kernel itself')
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        missing('/dev/fuse is not there, or not for us')
    if not shutil.which('fusermount3'):
        missing('there is no fusermount3')
    empty = tmp_path_factory.mktemp('empty')
    done = tool('mount', empty / 'no-such-image', empty)
    if 'built without FUSE' in done.stderr:
        missing('built without FUSE')
    return tool


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


@pytest.fixture(scope='session')
def unpacked(tmp_path_factory):
    """A function that gives the path of a real image, unpacked; not to be changed."""
    source = pathlib.Path(os.environ.get('VHDX_IMAGES') or ROOT / '..' / 'shared' / 'images')
    target_folder = tmp_path_factory.mktemp('unpacked')

    def get(name):
        target = target_folder / name
        if not target.exists():
            packed = sorted(source.glob(name + '.*'))
            if not packed:
                missing(f'no image {name} in VHDX_IMAGES')
            unpack(packed[0], target)
            target.chmod(0o444)
        return target
    return get
