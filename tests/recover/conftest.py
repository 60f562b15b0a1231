# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of recover. VHDX is the command line of the tool, possibly with an emulator
in front; VHDX_IMAGES is the folder of real images. Where one is missing tests are skipped, or fail
if CI is true."""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'corpus'))
pytest.register_assert_rewrite('recover_support')

# pylint: disable=wrong-import-position
from corpus_support import Launcher, Tool, missing, unpack  # noqa: E402
from recover_support import Recover  # noqa: E402


@pytest.fixture(scope='session')
def launcher(tmp_path_factory):
    """Runs programs."""
    connection = Launcher(tmp_path_factory.mktemp('launcher'))
    yield connection
    connection.close()


@pytest.fixture(scope='session')
def vhdx(launcher):
    """The tool."""
    return Tool(os.environ.get('VHDX') or missing('VHDX is not set'), launcher)


@pytest.fixture
def recover(vhdx, tmp_path):
    """vhdx recover, in a folder of the test's own."""
    return Recover(vhdx, tmp_path)


@pytest.fixture(scope='session')
def real_image(tmp_path_factory):
    """A function that unpacks a real image, and gives its path."""
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
