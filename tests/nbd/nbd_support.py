# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of the NBD server share: servers, connections, and programs run within bounds."""

import os
import re
import signal
import subprocess

from environment import missing, program, wait_for

try:
    import nbd
except ImportError:
    nbd = None

KIB, MIB = 1 << 10, 1 << 20
START_SECONDS = 20
STOP_SECONDS = 30
CLIENT_SECONDS = 120
DATA, HOLE = 0, 3 # base:allocation: hole and zero are bits


def server_program():
    """nbdkit, which has to load the sanitizer's library before the plugin of a sanitizer build."""
    preload = os.environ.get('VHDX_NBDKIT_PRELOAD')
    return [*(['env', 'LD_PRELOAD=' + preload] if preload else []), program('nbdkit')]


def run(*command, **more):
    """Runs a client, or nbdkit; returns what became of it."""
    words = list(map(os.fspath, command))
    first = server_program() if words[0] == 'nbdkit' else [program(words[0])]
    return subprocess.run(first + words[1:], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=CLIENT_SECONDS, check=False, **more)


def ok(*command, **more):
    """Runs a client, demands success, returns its output."""
    done = run(*command, **more)
    assert done.returncode == 0, done
    return done.stdout


def nbdkit_command(plugin, *arguments, options=()):
    """The command line of a server in the foreground."""
    return [*server_program(), '-f', *map(os.fspath, options), os.fspath(plugin),
            *map(os.fspath, arguments)]


class Server:
    """nbdkit with the plugin, in the foreground, on a socket in folder.

    wrapper stands before nbdkit on the command line: strace, unshare.
    """

    def __init__(self, plugin, folder, arguments, options=(), wrapper=(), must_start=True):
        self.socket = os.path.join(folder, 'nbd.sock')
        self.pid_file = os.path.join(folder, 'nbd.pid')
        self.log_path = os.path.join(folder, 'nbd.log')
        self.uri = 'nbd+unix:///?socket=' + self.socket
        for leftover in (self.socket, self.pid_file):
            if os.path.exists(leftover):
                os.unlink(leftover)
        command = [*wrapper, *nbdkit_command(plugin, *arguments, options=[
            '-U', self.socket, '-P', self.pid_file, *options])]
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=folder)
        wait_for(self._started, 'the server starts')
        assert not must_start or self.process.poll() is None, self.log()

    def _started(self):
        return self.process.poll() is not None or (
            os.path.exists(self.pid_file) and os.path.getsize(self.pid_file) > 0)

    def pid(self):
        """Of nbdkit itself, whatever stands before it."""
        with open(self.pid_file, encoding='ascii') as file:
            return int(file.read())

    def log(self):
        """All that it has said."""
        with open(self.log_path, encoding='utf-8') as file:
            return file.read()

    def errors(self):
        """The error lines, without the server's name in front."""
        return re.findall(r'^nbdkit: (?:\w+(?:\[\d+\]|\.\d+): )?error: (.*)$', self.log(), re.M)

    def connect(self, unaligned=False):
        """A connection. unaligned: the client sends whatever it is asked for."""
        if nbd is None:
            missing('the Python module nbd is not installed')
        handle = nbd.NBD()
        handle.add_meta_context('base:allocation')
        if unaligned:
            handle.set_strict_mode(0)
        handle.connect_unix(self.socket)
        return handle

    def end(self, number=signal.SIGTERM):
        """Ends it by a signal; returns its exit code."""
        if self.process.poll() is None:
            os.kill(self.pid(), number)
        return self.process.wait(STOP_SECONDS)

    def stop(self):
        """A clean end."""
        assert self.end() == 0, self.log()

    def kill(self):
        """No end at all."""
        self.end(signal.SIGKILL)


def extents_of(handle, start=0, end=None, flags=0):
    """[(offset, length, type)] of a part of the disk, neighbours of a type joined."""
    found, end = [], handle.get_size() if end is None else end

    def take(_context, offset, entries, _error):
        for length, kind in zip(entries[::2], entries[1::2]):
            length = min(length, end - offset)
            if length > 0 and found and found[-1][2] == kind:
                found[-1] = (found[-1][0], found[-1][1] + length, kind)
            elif length > 0:
                found.append((offset, length, kind))
            offset += length
    while start < end:
        handle.block_status(min(end - start, 1 << 30), start, take, flags)
        start = found[-1][0] + found[-1][1]
    return found


def data_of(handle):
    """[(start, end)] of what is stored."""
    return [(start, start + length) for start, length, kind in extents_of(handle) if kind == DATA]


def read_all(handle):
    """The whole disk."""
    size = handle.get_size()
    return b''.join(handle.pread(min(MIB, size - at), at) for at in range(0, size, MIB))


def sha256_of(vhdx, path, *options):
    """What `vhdx hash` says."""
    return vhdx.ok('hash', *options, path).split()[0]


def used(path):
    """Bytes that the file system has given a file."""
    return os.stat(path).st_blocks * 512


def log_state(vhdx, path):
    """clean or dirty."""
    return re.search(r'^ *log: (\w+)', vhdx.ok('info', path), re.M).group(1)
