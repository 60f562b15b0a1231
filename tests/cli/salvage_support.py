# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of salvaging share: running it, and judging everything that it leaves."""

import hashlib
import os
import re
import shutil
import subprocess

from sparsebytes import Ranges, SparseBytes, pages_of_file

FINE, FAILED, LOST = 0, 1, 3
MAP_LINE = re.compile(r'0x([0-9A-F]{8,16})  0x([0-9A-F]{8,16})  ([+-])')


def digest(path):
    """The size of a file, and the digest of all of its pages that are not zeros."""
    digester = hashlib.sha256()
    for offset, page in pages_of_file(path):
        digester.update(b'%d ' % offset + page)
    return os.path.getsize(path), digester.hexdigest()


def content_of(path):
    """A raw file."""
    content = SparseBytes(os.path.getsize(path))
    for offset, page in pages_of_file(path):
        content.put(offset, page[:content.size - offset])
    return content


def read_map(path, size):
    """The (start, end) of what is bad, by a map file of ddrescue's that covers size bytes."""
    lines = [line for line in path.read_text(encoding='utf-8').splitlines()
             if not line.startswith('#')]
    assert re.fullmatch(r'0x00000000     \+               1', lines[0])
    position, bad, last = 0, [], None
    for line in lines[1:]:
        start, length, status = MAP_LINE.fullmatch(line).groups()
        assert int(start, 16) == position
        assert int(length, 16) > 0 and status != last, 'neighbours are joined'
        position, last = position + int(length, 16), status
        if status == '-':
            bad.append((int(start, 16), position))
    assert position == size
    return bad


def judge_map(path, bad):
    """The same, by ddrescue itself."""
    program = shutil.which('ddrescuelog')
    if not program:
        return
    status = subprocess.run([program, '--show-status', path], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, check=False, text=True)
    assert status.returncode == 0, status.stdout
    assert 'current status: finished' in status.stdout
    listed = subprocess.run([program, '--block-size=1', '--list-blocks=-', path],
                            stdout=subprocess.PIPE, check=True, text=True) \
        if sum(end - start for start, end in bad) < 1 << 21 else None
    if listed:
        numbers = map(int, listed.stdout.split())
        assert list(Ranges((n, n + 1) for n in numbers).pairs()) == bad
    done = subprocess.run([program, '--done-status', path], check=False)
    assert done.returncode == (1 if bad else 0)


class Salvage:
    """Runs vhdx convert --salvage. The images themselves must not change."""

    def __init__(self, vhdx, folder):
        self.vhdx, self.folder = vhdx, folder
        self.output, self.map = folder / 'out.raw', folder / 'out.raw.map'

    def run(self, path, *args, **more):
        """Runs it. Every file that was there must stay, after a success all but the output."""
        before = {name: digest(self.folder / name) for name in self.files()}
        done = self.vhdx('convert', '--salvage', *args, path, self.output, **more)
        if done.returncode != FAILED:
            before.pop(os.path.basename(self.output), None)
            before.pop(os.path.basename(self.map), None)
        for name, found in before.items():
            assert digest(self.folder / name) == found, name
        return done

    def files(self):
        """Everything in the folder."""
        return sorted(name for name in os.listdir(self.folder)
                      if os.path.isfile(self.folder / name))

    def expect(self, path, lost, content, *args, stderr='', **more):
        """Runs it. lost: (start, end) of the disk; content: what the disk held, or None."""
        lost = list(Ranges(lost).pairs())
        done = self.run(path, *args, **more)
        assert done.returncode == (LOST if lost else FINE), done
        assert done.stderr == stderr if isinstance(stderr, str) else stderr(done.stderr), done
        bad = read_map(self.map, os.path.getsize(self.output))
        assert bad == lost
        judge_map(self.map, bad)
        if content is not None:
            self.judge_content(content, lost)
        return done

    def judge_content(self, content, lost):
        """What is lost is zeros, and everything else is there."""
        content = content.copy()
        for start, end in lost:
            content.zero(start, end - start)
        found = content_of(self.output)
        assert found.size == content.size
        assert dict(found.pages()).keys() == dict(content.pages()).keys()
        assert dict(found.pages()) == dict(content.pages())

    def refuses(self, path, *args, code=FAILED, **more):
        """Runs it; it must fail and leave nothing. Returns standard error."""
        before = self.files()
        done = self.run(path, *args, **more)
        assert done.returncode == code, done
        assert done.stdout == ''
        assert self.files() == before
        return done.stderr
