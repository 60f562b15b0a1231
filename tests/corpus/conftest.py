# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the corpus tests.

VHDX and VHDX_PROBE are the command lines of the tool and of tests/lib/probe.c, possibly with an
emulator in front; VHDX_IMAGES is the folder of real images; VHDX_SANITIZED says that memory cannot
be bounded. Where one is missing tests are skipped, or fail if CI is true.
"""

import os
import pathlib

import pytest

from corpus_support import ROOT, Launcher, Tool, missing


@pytest.fixture(scope='session')
def launcher(tmp_path_factory):
    """Runs programs."""
    connection = Launcher(tmp_path_factory.mktemp('launcher'))
    yield connection
    connection.close()


def tool_of(variable, launcher):
    """The program that an environment variable names."""
    command = os.environ.get(variable)
    if not command:
        missing('%s is not set' % variable)
    return Tool(command, launcher)


@pytest.fixture(scope='session')
def vhdx(launcher):
    """The tool."""
    return tool_of('VHDX', launcher)


@pytest.fixture(scope='session')
def probe(launcher):
    """The probe."""
    return tool_of('VHDX_PROBE', launcher)


@pytest.fixture(scope='session')
def images():
    """The folder of real images."""
    folder = pathlib.Path(os.environ.get('VHDX_IMAGES') or ROOT / '..' / 'shared' / 'images')
    if not (folder / 'images.tsv').exists():
        missing('there is no images.tsv in VHDX_IMAGES')
    return folder
