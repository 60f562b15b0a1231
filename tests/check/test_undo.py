# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The undo file: its name, its refusals, repairs that follow one another. That every repair can be
taken back bit for bit, test_repair.py shows of every image. And what check is asked for in other
ways than one image at a time."""

import json
import os
import shutil

import pytest

from check_support import (DAMAGE, MIB, NAMES, Made, digest, read_strictly, same_content)
from corpus_support import Tool, scratch_folder
from environment import missing

BROKEN = 'mixed_safe'


@pytest.fixture
def made(tmp_path_factory):
    """An image with much to mend."""
    return Made(DAMAGE[BROKEN], scratch_folder(tmp_path_factory, BROKEN))


def test_undo_by_its_own_name(made, check, vhdx):
    """The undo file may be named instead of the image."""
    check.run(made.path, '--repair')
    assert vhdx('check', '--undo', made.undo).code == 0
    assert made.snapshot() == made.before


def test_undo_restores_the_size(made, check, vhdx):
    """What was cut off is there again, bytes and all."""
    with open(made.path, 'r+b') as file:
        file.seek(0, os.SEEK_END)
        file.write(b'trailing' * (MIB // 4))
    before = digest(made.path)
    check.run(made.path, '--repair')
    assert os.path.getsize(made.path) < before[0]
    assert vhdx('check', '--undo', made.path).code == 0
    assert digest(made.path) == before and not os.path.exists(made.undo)


def test_undo_without_a_repair(made, vhdx):
    """There is nothing to take back."""
    done = vhdx('check', '--undo', made.path)
    assert done.code == 1 and made.snapshot() == made.before


def test_undo_after_a_change(made, check, vhdx):
    """An image that was changed since is left alone, unless forced."""
    check.run(made.path, '--repair')
    with open(made.path, 'r+b') as file:
        file.seek(128 << 10)
        file.write(b'head')
        file.seek((128 << 10) + 8)
        file.write(b'\xff')
    changed = made.snapshot()
    assert vhdx('check', '--undo', made.path).code == 1
    assert made.snapshot() == changed
    assert vhdx('check', '--undo', '--force', made.path).code == 0
    assert made.snapshot() == made.before


def write_to(made, launcher):
    """Another program changes the image."""
    command = os.environ.get('VHDX_DRIVER') or missing('VHDX_DRIVER is not set')
    script = os.path.join(made.folder, 'script')
    with open(script, 'w', encoding='utf-8') as file:
        file.write('open %s\nwrite 4194304 512 7\nfinish\nclose\n' % made.path)
    done = Tool('/bin/sh', launcher)('-c', '%s < %s' % (command, script))
    assert done.code == 0, done
    os.unlink(script)


def unseal(made):
    """As if the repair had been interrupted at its very end."""
    os.truncate(made.undo, os.path.getsize(made.undo) - 56)


def test_interrupted_then_used(made, check, vhdx, launcher):
    """What was written after a repair that was interrupted is not taken back unasked."""
    check.run(made.path, '--repair')
    unseal(made)
    write_to(made, launcher)
    changed = made.snapshot()
    done = vhdx('check', '--undo', made.path)
    assert done.code == 1 and '--force' in done.err and 'was interrupted' in done.err, done
    assert made.snapshot() == changed
    with open(made.path, 'r+b') as file:
        file.seek(64 << 10)
        file.write(b'bad!')
    hurt = made.snapshot()
    _, report = check.run(made.path, '--repair')
    assert report['repair']['undo-file'].endswith('.undo.1')
    assert vhdx('check', '--undo', made.path).code == 0
    assert made.snapshot() == hurt
    assert vhdx('check', '--undo', '--force', made.path).code == 0
    assert not os.path.exists(made.undo)


def test_interrupted_and_left_alone(made, check, vhdx):
    """That is taken back."""
    check.run(made.path, '--repair')
    unseal(made)
    assert vhdx('check', '--undo', made.path).code == 0
    assert made.snapshot() == made.before


def test_interrupted_repair_of_another_image(made, check, tmp_path_factory):
    """An undo file that has the right name only is not gone on with."""
    check.run(made.path, '--repair')
    unseal(made)
    other = Made(DAMAGE['header_1_checksum'], scratch_folder(tmp_path_factory, 'other'))
    os.replace(other.path, made.path)
    stale = digest(made.undo)
    _, report = check.run(made.path, '--repair')
    assert report['repair']['undo-file'].endswith('.undo.1')
    assert digest(made.undo) == stale


def test_undo_file_elsewhere(made, check, vhdx, tmp_path):
    """--undo-file names another place."""
    elsewhere = tmp_path / 'saved'
    code, report = check.run(made.path, '--repair', '--undo-file', elsewhere)
    assert code == 0 and os.path.samefile(report['repair']['undo-file'], elsewhere)
    assert not os.path.exists(made.undo)
    assert vhdx('check', '--undo', elsewhere).code == 0
    assert made.snapshot() == made.before and not elsewhere.exists()


def test_no_undo(made, check):
    """--no-undo writes none."""
    _, report = check.run(made.path, '--repair', '--no-undo')
    assert report['repair']['changed'] and 'undo-file' not in report['repair']
    assert not os.path.exists(made.undo)


def test_old_undo_file_is_not_overwritten(made, vhdx):
    """An undo file that is there may be the only way back."""
    with open(made.undo, 'wb') as file:
        file.write(b'precious')
    before = made.snapshot()
    done = vhdx('check', '--repair', made.path)
    assert done.code == 1 and made.snapshot() == before, done


def test_second_repair_does_nothing(made, check):
    """What is mended is not mended again, and the way back stays."""
    check.run(made.path, '--repair')
    after = made.snapshot()
    code, report = check.run(made.path, '--repair=all')
    assert code == 0 and not report['repair']['changed']
    assert made.snapshot() == after


def test_read_only_file(made, vhdx):
    """A file that cannot be written is not repaired, and says so."""
    os.chmod(made.path, 0o444)
    if os.access(made.path, os.W_OK):
        pytest.skip('nothing keeps us from writing')
    assert vhdx('check', '--repair', made.path).code == 1
    os.chmod(made.path, 0o644)
    assert made.snapshot() == made.before


def test_repaired_opens_for_writing(made, check, launcher):
    """The library writes to it as to any other image."""
    check.run(made.path, '--repair')
    write_to(made, launcher)
    assert check.ids(made.path) <= {406}
    same_content(read_strictly(made.path), made.image.content, [(4 * MIB, 4 * MIB + 512)])


# ---- Several images, and other outputs ----------------------------------------------------------

def test_several_images(made, vhdx, tmp_path_factory):
    """The worst of them decides on the exit code, and JSON is an array."""
    other = Made(DAMAGE['log_clean'], scratch_folder(tmp_path_factory, 'clean'))
    done = vhdx('check', '--output=json', made.path, other.path)
    reports = json.loads(done.out)
    assert done.code == 2 and [one['filename'] for one in reports] == [made.path, other.path]
    done = vhdx('check', '--output=json', other.path)
    assert done.code == 0 and isinstance(json.loads(done.out), dict)


def test_text_names_every_problem(made, vhdx):
    """Text for people has the same findings."""
    done = vhdx('check', made.path)
    assert done.code == 2
    for number in made.case.found:
        assert NAMES[number].encode() in done.out


@pytest.mark.parametrize('content', [b'', b'vhdxfil', b'conectix' + bytes(2 * MIB), bytes(4 * MIB)],
                         ids=('empty', '7 bytes', 'vhd', 'zeros'))
def test_no_image(content, vhdx, tmp_path):
    """What is no VHDX file could not be checked."""
    path = tmp_path / 'image.vhdx'
    path.write_bytes(content)
    for options in ((), ('--repair=all',)):
        done = vhdx('check', *options, path)
        assert done.code == 1 and done.err.startswith('vhdx: '), done
        same = path.read_bytes() == content
        assert same, 'the file has changed'


def test_missing_file(vhdx, tmp_path):
    """Nor could what is not there."""
    assert vhdx('check', tmp_path / 'nothing.vhdx').code == 1


def test_dry_run_needs_repair(made, vhdx):
    """--dry-run alone asks for nothing."""
    assert vhdx('check', '--dry-run', made.path).code == 1
    assert made.snapshot() == made.before


def test_repair_in_a_copy_is_the_same(made, check, tmp_path):
    """What a repair does depends on the image alone, GUIDs aside."""
    copy = tmp_path / 'image.vhdx'
    shutil.copyfile(made.path, copy)
    first, second = (check.run(path, '--repair=all')[1]['repair'] for path in (made.path, copy))
    assert first['actions'] == second['actions']


# ---- Rules that the damaged corpus cannot show by itself ----------------------------------------

def test_table_2_is_not_overwritten_by_one_that_leads_nowhere(check, tmp_path_factory):
    """Table 1 is well formed, but its BAT lies past the end of the file; table 2 is right. No
    repair may copy table 1 over it."""
    import damage_core  # pylint: disable=import-outside-toplevel

    def build():
        image = damage_core.sample()
        image.tables[0].entries[0].offset = 900 * MIB
        return image
    case = DAMAGE['log_clean'].__class__('table', '', build, {}, (), set(), set(), set())
    made = Made(case, scratch_folder(tmp_path_factory, 'table'))
    with open(made.path, 'rb') as file:
        file.seek(256 << 10)
        table = file.read(64 << 10)
    for level in ('safe', 'all'):
        check.run(made.path, '--repair=' + level, '--no-undo')
        with open(made.path, 'rb') as file:
            file.seek(256 << 10)
            same = file.read(64 << 10) == table
        assert same, 'table 2 has changed'
