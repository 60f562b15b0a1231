# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the corpus tests share: running programs within bounds, and images made for a test."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import vhdxref
from sparsebytes import SparseBytes, pages_of_file, sha256_of_pages

HERE = pathlib.Path(__file__).resolve().parent
MEMORY_LIMIT_KIB = 64 * 1024
SECONDS_LIMIT = 10
SLOW_SECONDS_LIMIT = 120  # under sanitizers and emulators
# An emulator in front of the tool: it hashes a gigabyte in half a minute.
EMULATED = len(shlex.split(os.environ.get('VHDX', ''))) > 1
EMULATED_HASH_LIMIT = 1 << 30


@dataclass
class Result:
    """How a program ended. out is bytes, err is text."""
    code: int
    rss_kib: int
    seconds: float
    out: bytes
    err: str


class Launcher:
    """A connection to launcher.py."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, '-S', str(HERE / 'launcher.py')],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, argv, cwd, timeout):
        """Runs a program to its end."""
        out, err = (os.path.join(self.folder, name) for name in ('stdout', 'stderr'))
        job = {'argv': list(map(os.fspath, argv)), 'cwd': os.fspath(cwd), 'stdout': out,
               'stderr': err, 'timeout': timeout}
        self.process.stdin.write(json.dumps(job) + '\n')
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        with open(out, 'rb') as file:
            out = file.read()
        with open(err, encoding='utf-8', errors='surrogateescape') as file:
            err = file.read()
        return Result(answer['code'], answer['rss_kib'], answer['seconds'], out, err)

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.wait()


class Tool:
    """A program of ours, from a command line that may have an emulator in front."""

    def __init__(self, command, launcher):
        self.launcher = launcher
        self.command = [os.path.abspath(word) if os.path.exists(word) else word
                        for word in shlex.split(command)]
        self.slow = len(self.command) > 1 or bool(os.environ.get('VHDX_SANITIZED'))

    def __call__(self, *args, cwd='.', bounded=True):
        """Runs it, and demands that it ends by itself, in time and within its memory."""
        limit = SLOW_SECONDS_LIMIT if self.slow else SECONDS_LIMIT
        done = self.launcher.run([*self.command, *args], cwd, limit if bounded else 600)
        what = ' '.join(map(str, args))
        assert done.code is not None, '%s: did not end within %d s' % (what, done.seconds)
        assert done.code >= 0, '%s: ended by signal %d: %s' % (what, -done.code, done.err)
        if bounded and not self.slow:
            assert done.rss_kib <= MEMORY_LIMIT_KIB, '%s: %d KiB' % (what, done.rss_kib)
        return done

    def ok(self, *args, **more):
        """Demands success and silence on standard error; returns standard output."""
        done = self(*args, **more)
        assert (done.code, done.err) == (0, ''), done
        return done.out


def one_line(text):
    """The one line of a text, which must be printable."""
    lines = text.splitlines()
    assert len(lines) == 1 and text == lines[0] + '\n', text
    assert lines[0].isprintable(), text
    return lines[0]


def error_line(text):
    """The error that the tool reports; lines with hints may follow."""
    lines = text.splitlines()
    assert lines and all(line.startswith('vhdx: ') for line in lines), text
    errors = [line for line in lines
              if not line.startswith(('vhdx: hint: ', 'vhdx: tried: '))]
    return one_line('\n'.join(errors) + '\n')


class Made:
    """A case with its image written into a folder of its own."""

    def __init__(self, case, folder):
        self.case, self.folder = case, folder
        self.image = case.build()
        self.path = self.image.save(str(folder))
        self.before = None

    def snapshot(self):
        """What must not change by reading: sizes, times and contents of all files."""
        found = {}
        for path in sorted(pathlib.Path(self.folder).rglob('*.vhdx')):
            status = path.stat()
            digest = sha256_of_pages(((0, page) for _, page in pages_of_file(path)), 0)
            found[path.name] = (status.st_size, status.st_mtime_ns, digest)
        return found

    def options(self, probe=False):
        """How the parent is found, as the probe or the tool wants to be told."""
        words = {} if probe else {'--map': '--map-path'}
        return [words.get(word, word) for word in self.case.options]

    def resolver(self, image):
        """The model's way to a parent: by relative_path, or by the name that all corpora use."""
        yield from vhdxref.relative_parent(image)
        yield os.path.join(self.folder, 'base.vhdx')

    def remove(self):
        """Removes the folder."""
        shutil.rmtree(self.folder)


def read_dump(path, size):
    """The content that vhdx-probe --dump wrote."""
    content = SparseBytes(size)
    with open(path, 'rb') as file:
        while line := file.readline():
            offset, length = map(int, line.split())
            content.put(offset, file.read(length))
    return content


def same_pages(one, other):
    """Compares two iterators of (offset, page), and names the first difference."""
    one, other = dict(one), dict(other)
    differing = sorted(offset for offset in one.keys() | other.keys()
                       if one.get(offset) != other.get(offset))
    assert not differing, 'content differs in %d pages, the first at %#x' % (len(differing),
                                                                             differing[0])


def scratch_folder(tmp_path_factory, name):
    """A fresh folder."""
    return pathlib.Path(tempfile.mkdtemp(prefix=name[:40] + '-',
                                         dir=tmp_path_factory.getbasetemp()))
