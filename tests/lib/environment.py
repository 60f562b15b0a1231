# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What tests find on the machine: programs, real images, and time to wait."""

import bz2
import gzip
import lzma
import os
import pathlib
import shutil
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNPACKERS = {'.gz': gzip, '.bz2': bz2, '.xz': lzma}


def missing(what):
    """Skips a test for want of something, except where everything has to be there."""
    if os.environ.get('CI') == 'true':
        pytest.fail(what)
    pytest.skip(what)


def variable(name):
    """What the environment says, which must be set."""
    return os.environ.get(name) or missing(name + ' is not set')


def program(name):
    """A program that must be installed, perhaps one for the administrator."""
    path = os.environ.get('PATH', '') + ':/usr/local/sbin:/usr/sbin:/sbin'
    return shutil.which(name, path=path) or missing(name + ' is not installed')


def wait_for(condition, what, seconds=20):
    """Waits until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'timeout: ' + what
        time.sleep(0.002)


def images_folder():
    """The folder of real images, which are packed."""
    return pathlib.Path(os.environ.get('VHDX_IMAGES') or ROOT / '..' / 'shared' / 'images')


def unpack(source, target):
    """Unpacks an image; what is zero becomes a hole."""
    with UNPACKERS[source.suffix].open(source) as packed, open(target, 'wb') as file:
        while chunk := packed.read(1 << 16):
            if chunk.count(0) == len(chunk):
                file.seek(len(chunk), os.SEEK_CUR)
            else:
                file.write(chunk)
        file.truncate(file.tell())
