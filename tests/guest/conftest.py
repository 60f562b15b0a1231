# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests with a real guest, which need QEMU and a kernel. Without KVM QEMU emulates
the processor, and all takes longer."""

import faulthandler
import os
import signal

import pytest

from environment import missing, program
from guest_support import GUEST_SECONDS, Guest, Kit
from fuse_support import Mount
from nbd_support import STOP_SECONDS, Server


@pytest.fixture(scope='session')
def kit(tmp_path_factory):
    """Kernel and initramfs."""
    return Kit(tmp_path_factory.mktemp('kit'))


@pytest.fixture(autouse=True)
def bounded():
    """No test hangs for ever: the whole run ends instead, with a trace of where."""
    faulthandler.dump_traceback_later(2 * GUEST_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def boot(kit, tmp_path):
    """A function that starts a guest on a server's socket."""
    guests = []

    def start(socket, script, **more):
        guests.append(Guest(kit, tmp_path / ('guest-%d' % len(guests)), socket, script, **more))
        return guests[-1]
    yield start
    for guest in guests:
        guest.kill()


@pytest.fixture
def serving(vhdx, plugin, tmp_path): # pylint: disable=unused-argument
    """A function that starts `vhdx serve` and gives (socket, function that ends it)."""
    started = []

    def start(*arguments):
        socket = tmp_path / ('serve-%d.sock' % len(started))
        process = vhdx.start('serve', '-k', socket, *arguments)
        started.append(process)
        uri = process.stdout.readline()
        assert uri, process.stderr.read().decode()

        def stop():
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=STOP_SECONDS)
            assert (process.returncode, said) == (0, b'')
        return socket, stop
    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def server(plugin, tmp_path):
    """A function that starts nbdkit itself, which can be killed."""
    servers = []

    def start(*arguments):
        folder = tmp_path / ('server-%d' % len(servers))
        folder.mkdir()
        servers.append(Server(plugin, folder, arguments))
        return servers[-1]
    yield start
    for one in servers:
        one.kill()


@pytest.fixture
def mount(vhdx, tmp_path):
    """A function that mounts an image."""
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        missing('/dev/fuse is not there, or not for us')
    program('fusermount3')
    made = []

    def make(image, *options):
        made.append(Mount(vhdx, image, tmp_path / ('mnt-%d' % len(made)), options))
        return made[-1]
    yield make
    for one in reversed(made):
        one.clean_up()


@pytest.fixture
def new_image(vhdx, tmp_path):
    """A function that makes a dynamic image."""
    def make(name='disk.vhdx', size='128M'):
        vhdx.ok('create', '-q', '-o', 'block_size=2M', tmp_path / name, size)
        return tmp_path / name
    return make


@pytest.fixture
def new_child(vhdx, tmp_path):
    """A function that makes a child of an image."""
    def make(parent):
        path = tmp_path / 'child.avhdx'
        vhdx.ok('create', '-q', '-b', parent, path)
        return path
    return make
