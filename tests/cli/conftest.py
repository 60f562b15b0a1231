# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of the command-line tool.

VHDX is the command line of the tool, possibly with an emulator in front; VHDX_IMAGES the folder of
real images. Where one is missing tests are skipped, or fail if CI is true.
"""

import os
import pathlib
import shutil
import sys

import pytest

from cli_support import CHILD, PARENT, Tool, mask, unpack

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GOLDEN = HERE / 'golden'

sys.path.append(str(HERE.parent / 'lib')) # the generator of images


def pytest_addoption(parser):
    """--update-golden writes the expected outputs anew."""
    parser.addoption('--update-golden', action='store_true',
                     help='write what the tool prints to tests/cli/golden')


def missing(what):
    """Skips a test for want of something, except where everything has to be there."""
    if os.environ.get('CI') == 'true':
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope='session')
def vhdx():
    """The tool."""
    command = os.environ.get('VHDX')
    if not command:
        missing('VHDX is not set')
    return Tool(command)


@pytest.fixture(scope='session')
def can_hash(vhdx, unpacked):
    """True if the library was built with libcrypto."""
    return 'without libcrypto' not in vhdx('hash', unpacked(PARENT)).stderr


@pytest.fixture(scope='session')
def unpacked(tmp_path_factory):
    """A function that gives the path of a real image, unpacked; not to be changed."""
    source = pathlib.Path(os.environ.get('VHDX_IMAGES') or ROOT / '..' / 'shared' / 'images')
    folder = tmp_path_factory.mktemp('unpacked')

    def get(name):
        target = folder / name
        if not target.exists():
            packed = sorted(source.glob(name + '.*'))
            if not packed:
                missing(f'no image {name} in VHDX_IMAGES')
            unpack(packed[0], target)
            target.chmod(0o444)
        return target
    return get


@pytest.fixture
def image(unpacked, tmp_path):
    """A function that puts a writable copy of a real image into the test's own folder."""
    def get(name, to=None):
        target = tmp_path / (to or name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(unpacked(name), target)
        return target
    return get


@pytest.fixture
def pair(image):
    """Paths of a child and its parent, side by side, both as Windows wrote them."""
    return image(CHILD), image(PARENT)


@pytest.fixture
def golden(request, tmp_path):
    """A function that compares a text with the file of the given name."""
    def compare(name, text):
        text = mask(text, tmp_path)
        path = GOLDEN / name
        if request.config.getoption('--update-golden'):
            GOLDEN.mkdir(exist_ok=True)
            path.write_text(text, encoding='utf-8')
            return
        assert path.exists(), f'{path}: missing; write it with --update-golden'
        assert text == path.read_text(encoding='utf-8'), f'differs from {path}'
    return compare
