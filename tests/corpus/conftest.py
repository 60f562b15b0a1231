# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the corpus tests.

VHDX_PROBE is the command line of tests/lib/probe.c, possibly with an emulator in front;
VHDX_SANITIZED says that memory cannot be bounded.
"""

import pytest

from corpus_support import Tool
from environment import variable, images_folder, missing


@pytest.fixture(scope='session')
def vhdx(launcher):
    """The tool."""
    return Tool(variable('VHDX'), launcher)


@pytest.fixture(scope='session')
def probe(launcher):
    """The probe."""
    return Tool(variable('VHDX_PROBE'), launcher)


@pytest.fixture(scope='session')
def images():
    """The folder of real images."""
    folder = images_folder()
    if not (folder / 'images.tsv').exists():
        missing('there is no images.tsv in VHDX_IMAGES')
    return folder
