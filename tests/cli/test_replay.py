# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx replay: a log that was left behind comes into the file."""

import errno
import hashlib
import json
import os
import re

import pytest

from cli_support import MIB, PARENT

DIRTY = 'vhdx-log-replay.vhdx'


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def dirty(tmp_path):
    """A function that builds an image with two entries in its log, the second with zeros."""
    from vhdxdisk import Data, LogEntry, Zero # pylint: disable=import-outside-toplevel
    from vhdximage import Image, LogRing, pattern # pylint: disable=import-outside-toplevel

    def build(name='dirty.vhdx'):
        image = Image(name, size=16 * MIB)
        image.mark(0, name)
        image.both(log_guid=bytes(range(16)))
        place = image.place_of(0)
        ring = LogRing(image)
        ring.add(LogEntry(41, [Data(place, pattern('new', 4096))]))
        ring.begin(ring.next)
        ring.add(LogEntry(42, [Data(place, pattern('newer', 4096)), Zero(place + 8192, 65536)]))
        image.save(tmp_path)
        return tmp_path / name
    return build


@pytest.fixture
def replay(vhdx):
    """A function that gives what --output=json prints, parsed."""
    def run(*args):
        done = vhdx('replay', '--output=json', *args)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        assert (done.returncode, done.stderr) == (0, ''), done
        return json.loads(done.stdout)
    return run


def test_a_dirty_log(vhdx, golden, image, tmp_path):
    path = image(DIRTY)
    content = vhdx.ok('cat', path, '--length=4M', text=False)
    golden('replay-dirty.txt', vhdx.ok('replay', DIRTY, cwd=tmp_path))
    assert 'cleanly shut down: no' not in vhdx.ok('info', path)
    assert vhdx.ok('cat', path, '--length=4M', text=False) == content
    assert re.fullmatch(rf'{DIRTY}: the log is clean: nothing to replay\n',
                        vhdx.ok('replay', DIRTY, cwd=tmp_path))


def test_what_was_changed(replay, dirty):
    path = dirty()
    size = path.stat().st_size
    report = replay(path)
    assert report == {
        'filename': str(path), 'format': 'vhdx', 'dry-run': False, 'log-state': 'dirty',
        'entries': 1, 'first-sequence-number': 42, 'last-sequence-number': 42,
        'written-bytes': 4096, 'zeroed-bytes': 65536, 'old-file-size': size,
        'new-file-size': path.stat().st_size}


def test_text_of_one_entry(vhdx, dirty, tmp_path):
    dirty()
    text = vhdx.ok('replay', 'dirty.vhdx', cwd=tmp_path)
    assert text.startswith('dirty.vhdx: replayed 1 log entry, sequence number 42\n'
                           '    written: 4096 bytes\n    zeroed: 65536 bytes\n    file size: ')


def test_dry_run(vhdx, replay, dirty):
    path = dirty()
    before = digest(path)
    rehearsed = replay('--dry-run', path)
    assert ': would replay 1 log entry' in vhdx.ok('replay', '--dry-run', path)
    assert digest(path) == before
    assert rehearsed.pop('dry-run') is True
    done = replay(path)
    assert done.pop('dry-run') is False
    assert rehearsed == done
    assert digest(path) != before


def test_a_clean_log_changes_nothing(vhdx, image, tmp_path):
    path = image(PARENT)
    before = digest(path)
    assert vhdx.ok('replay', PARENT, cwd=tmp_path) == \
        f'{PARENT}: the log is clean: nothing to replay\n'
    assert vhdx.ok('replay', '-q', path) == ''
    assert digest(path) == before


def test_check_then_finds_nothing(vhdx, dirty):
    path = dirty()
    assert 'note log-dirty: ' in vhdx.ok('check', path)
    vhdx.ok('replay', path)
    assert 'log-dirty' not in vhdx.ok('check', path)


def test_no_parent_is_needed(vhdx, image):
    path = image('ntfs-differential.vhdx')
    before = digest(path)
    assert 'the log is clean' in vhdx.ok('replay', path)
    assert digest(path) == before


def test_a_log_that_cannot_be_replayed(vhdx, dirty):
    path = dirty()
    with open(path, 'r+b') as file:
        file.seek(MIB)
        log = file.read(MIB)
        for at in range(0, MIB, 4096):
            if log[at:at + 4] == b'loge':
                file.seek(MIB + at + 48)
                file.write(b'x')
    before = digest(path)
    message = vhdx.fails('replay', path)
    assert message.startswith(f'vhdx: {path}: ')
    assert "vhdx: hint: 'vhdx check' tells what is wrong" in message
    assert digest(path) == before


def test_no_such_file(vhdx, tmp_path):
    message = vhdx.fails('replay', tmp_path / 'none.vhdx')
    assert message.startswith(f'vhdx: {tmp_path}/none.vhdx: ')
    assert os.strerror(errno.ENOENT) in message


def test_other_files(vhdx, tmp_path):
    path = tmp_path / 'other'
    path.write_bytes(bytes(3 * MIB))
    message = vhdx.fails('replay', path)
    assert "vhdx: hint: 'qemu-img info FILE' tells what the file is" in message
    assert path.read_bytes() == bytes(3 * MIB)


def test_an_image_must_not_be_in_use(vhdx, dirty):
    first, second = vhdx.fails('replay', '-U', dirty()).splitlines()
    assert first == 'vhdx: replay: -U does not apply'
    assert second.startswith('vhdx: hint: ')
