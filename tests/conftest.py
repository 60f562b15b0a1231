# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of all suites.

They take what they need from the environment: VHDX is the tool's command line, possibly with an
emulator in front, VHDX_NBDKIT_PLUGIN the plugin's file, VHDX_IMAGES the folder of real images.
Where something is missing tests are skipped, or fail if CI is true. Tests marked slow run only with
--slow-seconds N, and for about that long.
"""

import os
import signal

import pytest

pytest.register_assert_rewrite('cli_support', 'corpus_support', 'environment')

# pylint: disable=wrong-import-position
from cli_support import Tool  # noqa: E402
from corpus_support import Launcher  # noqa: E402
from environment import (UNPACKERS, images_folder, missing, program, unpack,  # noqa: E402
                         variable)


def pytest_addoption(parser):
    """--slow-seconds lets slow tests run."""
    parser.addoption('--slow-seconds', type=int, default=0, help='how long slow tests may take')


def pytest_configure(config):
    """The marker. And under nohup the programs that are tested would inherit its deafness."""
    config.addinivalue_line('markers', 'slow: takes as long as --slow-seconds says')
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config, items):
    """Leaves slow tests out."""
    if config.getoption('--slow-seconds') > 0:
        return
    slow = [item for item in items if item.get_closest_marker('slow')]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope='session')
def vhdx():
    """The tool."""
    return Tool(variable('VHDX'))


@pytest.fixture(scope='session')
def launcher(tmp_path_factory):
    """Runs programs within bounds."""
    connection = Launcher(tmp_path_factory.mktemp('launcher'))
    yield connection
    connection.close()


@pytest.fixture(scope='session')
def plugin():
    """The plugin's path."""
    path = os.environ.get('VHDX_NBDKIT_PLUGIN')
    if not path or not os.path.exists(path):
        missing('VHDX_NBDKIT_PLUGIN names no plugin')
    program('nbdkit')
    return os.path.abspath(path)


@pytest.fixture(scope='session')
def unpacked(tmp_path_factory):
    """A function that gives the path of a real image, unpacked; not to be changed. How it is packed
    may be part of the name, or not."""
    folder = tmp_path_factory.mktemp('unpacked')

    def get(name):
        if os.path.splitext(name)[1] in UNPACKERS:
            name = os.path.splitext(name)[0]
        target = folder / name
        if not target.exists():
            packed = sorted(images_folder().glob(name + '.*'))
            if not packed:
                missing('no image %s in VHDX_IMAGES' % name)
            unpack(packed[0], target)
            target.chmod(0o444)
        return target
    return get
