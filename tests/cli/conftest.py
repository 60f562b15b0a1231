# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of the command-line tool."""

import pathlib
import shutil

import pytest

from cli_support import CHILD, PARENT, mask

GOLDEN = pathlib.Path(__file__).resolve().parent / 'golden'


def pytest_addoption(parser):
    """--update-golden writes the expected outputs anew."""
    parser.addoption('--update-golden', action='store_true',
                     help='write what the tool prints to tests/cli/golden')


@pytest.fixture(scope='session')
def can_hash(vhdx, unpacked):
    """True if the library was built with libcrypto."""
    return 'without libcrypto' not in vhdx('hash', unpacked(PARENT)).stderr


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
