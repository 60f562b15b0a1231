# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of the NBD server.

VHDX_NBDKIT_PRELOAD is loaded into nbdkit before the plugin of a sanitizer build.
"""

import os

import pytest

from environment import missing, program
from nbd_support import Server, ok


@pytest.fixture
def serve(plugin, tmp_path):
    """A function that starts a server; all of them end with the test."""
    servers = []

    def start(*arguments, **more):
        folder = tmp_path / ('server-%d' % len(servers))
        folder.mkdir()
        servers.append(Server(plugin, folder, arguments, **more))
        return servers[-1]
    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def image(vhdx, tmp_path):
    """A function that makes a new image."""
    def make(name='disk.vhdx', size='64M', *options): # pylint: disable=keyword-arg-before-vararg
        path = tmp_path / name
        vhdx.ok('create', '-q', *options, path, size)
        return path
    return make


@pytest.fixture
def child(vhdx, tmp_path):
    """A function that makes a child of an image."""
    def make(parent, name='child.avhdx', *options): # pylint: disable=keyword-arg-before-vararg
        path = tmp_path / name
        vhdx.ok('create', '-q', '-b', parent, *options, path)
        return path
    return make


@pytest.fixture
def filled(image, serve):
    """A function that makes an image with some random data in it, and gives its path."""
    def make(name='disk.vhdx', size='64M', *options): # pylint: disable=keyword-arg-before-vararg
        path = image(name, size, *options)
        server = serve(path)
        handle = server.connect()
        for place in (0, 5 << 20, 9 << 20, 33 << 20):
            handle.pwrite(os.urandom(1 << 20), place)
        handle.shutdown()
        server.stop()
        return path
    return make


@pytest.fixture
def file_system(tmp_path):
    """A function that gives the beginning of a command line: what follows runs with a file system
    of a type of its own on folder, into which files were copied. What is there at the end is copied
    to the folder `after`."""
    def make(kind, options, folder, *files):
        inside = ['unshare', '--map-root-user', '--mount']
        program('unshare')
        probe = 'mount -t %s -o %s none "$0"' % (kind, options)
        folder.mkdir()
        (tmp_path / 'after').mkdir()
        try:
            ok(*inside, 'sh', '-c', probe, folder)
        except AssertionError:
            missing('no mounts in a namespace of our own')
        script = ('mount -t {kind} -o {options} none "$0" && for f in {files}; do cp "$f" "$0"; '
                  'done && "$@"; code=$?; cp "$0"/* {after}; exit $code').format(
                      kind=kind, options=options, after=tmp_path / 'after',
                      files=' '.join(map(str, files)) or '""')
        return [*inside, 'sh', '-c', script, str(folder)]
    return make
