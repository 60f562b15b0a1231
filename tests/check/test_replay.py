# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx replay replays a dirty log into the file, and changes nothing else."""

import json
import os
import re

import pytest

from check_support import (BY_PRODUCT, DAMAGE, MIB, Made, read_strictly, same_content,
                           scratch_folder, severity_of)

DIRTY = [name for name, case in DAMAGE.items()
         if 401 in case.found and all(severity_of(i) == 'note' for i in case.found)]
REFUSED = [name for name, case in DAMAGE.items()
           if {404, 407, 408, 410, 210} & set(case.found) and len(case.found) == 1]
NOTHING = ('log_clean', 'size_exact', 'size_exact_child', 'log_leftover')


def make(name, tmp_path_factory):
    """A damaged image."""
    return Made(DAMAGE[name], scratch_folder(tmp_path_factory, name))


def told(vhdx, *args):
    """What it says."""
    done = vhdx('replay', '--output=json', *args)
    assert done.code == 0, done
    return json.loads(done.out)


@pytest.mark.parametrize('name', DIRTY)
def test_replays(name, tmp_path_factory, vhdx, check):
    """Afterwards the log is clean, all else is as it was, and the disk reads as before."""
    made = make(name, tmp_path_factory)
    dry = told(vhdx, '--dry-run', made.path)
    assert dry.pop('dry-run') and made.snapshot() == made.before
    done = told(vhdx, made.path)
    assert not done.pop('dry-run') and done == dry
    assert os.path.getsize(made.path) == done['new-file-size']
    assert check.ids(made.path) <= (set(made.case.found) - {401, 405}) | BY_PRODUCT
    same_content(read_strictly(made.path), made.image.content)
    assert not os.path.exists(made.undo)
    after = made.snapshot()
    assert vhdx('replay', made.path).code == 0 and made.snapshot() == after


@pytest.mark.parametrize('data', [b'', b'somebody put this here'])
def test_space_behind_the_last_structure(data, tmp_path_factory, vhdx):
    """What the writer that died has set aside and not used is cut off; data are not."""
    made = make('log_dirty_dynamic', tmp_path_factory)
    size = os.path.getsize(made.path)
    with open(made.path, 'r+b') as image:
        image.truncate(size + 3 * MIB)
        image.seek(size + 2 * MIB)
        image.write(data)
    dry = told(vhdx, '--dry-run', made.path)
    done = told(vhdx, made.path)
    assert dry['new-file-size'] == done['new-file-size'] == os.path.getsize(made.path)
    assert os.path.getsize(made.path) == (size + 3 * MIB if data else size)


def test_says_what_it_did(tmp_path_factory, vhdx):
    """In numbers."""
    made = make('log_dirty_dynamic', tmp_path_factory)
    for options in (('--dry-run',), ()):
        done = vhdx('replay', *options, made.path)
        assert done.code == 0 and re.search(rb'\d', done.out), done


@pytest.mark.parametrize('name', DIRTY[:6])
def test_replayed_files_need_no_log(name, tmp_path_factory, vhdx, qemu_img):
    """A program that refuses dirty logs takes the image."""
    made = make(name, tmp_path_factory)
    if made.image.parent or made.image.sector != 512:
        pytest.skip('not for qemu-img')
    vhdx('replay', made.path)
    code, text = qemu_img('check', '-f', 'vhdx', made.path)
    assert code == 0, text


@pytest.mark.parametrize('name', REFUSED)
def test_refuses(name, tmp_path_factory, vhdx):
    """A log that cannot be replayed is not: no bit changes."""
    made = make(name, tmp_path_factory)
    for options in (('--dry-run',), ()):
        done = vhdx('replay', *options, made.path)
        assert done.code == 1 and done.err.startswith('vhdx: '), done
        assert made.snapshot() == made.before


@pytest.mark.parametrize('name', NOTHING)
def test_nothing_to_replay(name, tmp_path_factory, vhdx):
    """An image with a clean log is left alone."""
    made = make(name, tmp_path_factory)
    assert vhdx('replay', made.path).code == 0
    assert made.snapshot() == made.before


def test_torn_header(tmp_path_factory, vhdx, check):
    """A header that was torn while it was written is written again, and nothing else changes."""
    made = make('header_1_checksum', tmp_path_factory)
    with open(made.path, 'rb') as image:
        before = image.read()
    assert check.ids(made.path) == {202}
    assert vhdx('replay', made.path).code == 0
    assert check.ids(made.path) == set()
    with open(made.path, 'rb') as image:
        after = image.read()
    headers = [(64 << 10, 68 << 10), (128 << 10, 132 << 10)]
    for low, high in headers:
        before, after = [data[:low] + bytes(high - low) + data[high:] for data in (before, after)]
    assert before == after


def test_orphan(tmp_path_factory, vhdx, check):
    """Of a child no parent is needed."""
    made = make('log_dirty_child', tmp_path_factory)
    os.remove(os.path.join(made.folder, 'base.vhdx'))
    assert vhdx('replay', made.path).code == 0
    assert check.ids(made.path) - BY_PRODUCT == {801}
