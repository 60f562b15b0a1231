# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of the command-line tool share: running it, and changing copies of real images."""

import os
import re
import shlex
import signal
import struct
import subprocess
import uuid

MIB = 1 << 20
PARENT_LOCATOR = uuid.UUID('a8d35f2d-b30b-454d-abf7-d3d84834ab0c')
METADATA_REGION = uuid.UUID('8b7ca206-4790-4b9a-b8fe-575f050f886e')
VHDX_LOCATOR = uuid.UUID('b04aefb7-d19e-4a81-b789-25b8e9445913')

CHILD = 'ntfs-differential.vhdx'
PARENT = 'ntfs-parent.vhdx'
CHILD_SHA256 = '1ef1fb5360247aa7d36a38415bc7bf6e1e52f62af5e6bd1283815e82584c7efc'


class Tool:
    """Runs the tool. Arguments may be strings, bytes or paths."""

    def __init__(self, command):
        self.command = shlex.split(command)
        # A relative path must survive tests that run in another folder.
        self.command = [os.path.abspath(word) if os.path.exists(word) else word
                        for word in self.command]
        self.emulated = len(self.command) > 1

    def __call__(self, *args, cwd=None, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                 text=True, **more):
        """Runs it to its end; output is text unless text=False."""
        environment = dict(os.environ, LC_ALL='C.UTF-8')
        environment.pop('POSIXLY_CORRECT', None)
        environment.update(more.pop('env', {}))
        done = subprocess.run([*self.command, *map(os.fspath, args)], cwd=cwd, stdin=stdin,
                              stdout=stdout, stderr=subprocess.PIPE, env=environment,
                              timeout=600, check=False, **more)
        done.stderr = done.stderr.decode('utf-8', 'surrogateescape')
        if text and done.stdout is not None:
            done.stdout = done.stdout.decode('utf-8', 'surrogateescape')
        return done

    def start(self, *args, **more):
        """Starts it and returns the process."""
        return subprocess.Popen([*self.command, *map(os.fspath, args)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def ok(self, *args, **more):
        """Runs it, demands success without a word on standard error, returns standard output."""
        done = self(*args, **more)
        assert (done.returncode, done.stderr) == (0, ''), done
        return done.stdout

    def fails(self, *args, **more):
        """Runs it, demands exit code 1 and orderly messages, returns standard error."""
        done = self(*args, **more)
        assert done.returncode == 1, done
        lines = done.stderr.splitlines()
        assert lines and all(line.startswith('vhdx: ') for line in lines), done.stderr
        return done.stderr


def died_by(process_returncode, number):
    """True for the exit code of a program that a signal ended, also behind an emulator."""
    return process_returncode in (-number, 128 + number)


def restore_sigpipe():
    """For preexec_fn: Python ignores SIGPIPE and children would inherit that."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def mask(text, folder):
    """Replaces what differs from one machine to the next."""
    text = text.replace(str(folder), '<FOLDER>')
    text = re.sub(r'^disk size: .*$', 'disk size: <DISK>', text, flags=re.M)
    return re.sub(r'"actual-size": \d+', '"actual-size": "<DISK>"', text)


# ---- Changing copies of images -------------------------------------------------------------------

def _metadata_offset(image):
    """Where the metadata region is, by the first region table."""
    table = 192 << 10
    count = struct.unpack_from('<I', image, table + 8)[0]
    for i in range(count):
        guid, offset = struct.unpack_from('<16sQ', image, table + 16 + 32 * i)
        if guid == METADATA_REGION.bytes_le:
            return offset
    raise AssertionError('no metadata region')


def _locator_entry(image):
    """(position of the table entry, position of the region) of the parent locator."""
    region = _metadata_offset(image)
    count = struct.unpack_from('<H', image, region + 10)[0]
    for i in range(count):
        entry = region + 32 + 32 * i
        if image[entry:entry + 16] == PARENT_LOCATOR.bytes_le:
            return entry, region
    raise AssertionError('no parent locator')


def read_locator(path):
    """The keys and values of a child's parent locator."""
    with open(path, 'rb') as file:
        image = file.read()
    entry, region = _locator_entry(image)
    at = region + struct.unpack_from('<I', image, entry + 16)[0]
    found = {}
    for i in range(struct.unpack_from('<H', image, at + 18)[0]):
        key_at, value_at, key_len, value_len = struct.unpack_from('<IIHH', image, at + 20 + 12 * i)
        key = image[at + key_at:at + key_at + key_len].decode('utf-16-le')
        found[key] = image[at + value_at:at + value_at + value_len].decode('utf-16-le', 'replace')
    return found


def write_locator(path, keys):
    """Replaces a child's parent locator. Metadata has no checksum. It is the last item there."""
    pairs = [(k.encode('utf-16-le'), v.encode('utf-16-le')) for k, v in keys.items()]
    at = 20 + 12 * len(pairs)
    entries = strings = b''
    for key, value in pairs:
        entries += struct.pack('<IIHH', at, at + len(key), len(key), len(value))
        strings += key + value
        at += len(key) + len(value)
    item = VHDX_LOCATOR.bytes_le + struct.pack('<HH', 0, len(pairs)) + entries + strings
    with open(path, 'r+b') as file:
        entry, region = _locator_entry(file.read())
        file.seek(entry + 16)
        offset = struct.unpack('<I', file.read(4))[0]
        file.write(struct.pack('<I', len(item)))
        file.seek(region + offset)
        file.write(item)


def change_locator(path, **changes):
    """Changes some keys; None removes one."""
    keys = read_locator(path)
    keys.update(changes)
    write_locator(path, {k: v for k, v in keys.items() if v is not None})
