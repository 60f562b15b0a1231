# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx check: what it finds, how it says so, repairs and the way back."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import struct

import pytest

from cli_support import CHILD, MIB, PARENT, died_by

LOST_BLOCKS = 15


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def make(tmp_path):
    """A function that builds an image, lets another function damage it, and gives its path."""
    from vhdximage import Image # pylint: disable=import-outside-toplevel

    def build(damage=None, name='image.vhdx', **more):
        image = Image(name, **{'size': 32 * MIB, **more})
        for block in (0, 1, 5):
            image.mark(block, name)
        if damage:
            damage(image)
        image.save(tmp_path)
        return tmp_path / name
    return build


@pytest.fixture
def in_use():
    """A function that locks a file for a while, as QEMU does for writing."""
    @contextlib.contextmanager
    def lock(path):
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK,
                        struct.pack('hhqqi', fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0))
        except (AttributeError, OSError):
            os.close(fd)
            pytest.skip('no open file description locks here')
        yield
        os.close(fd)
    return lock


# ---- Damage --------------------------------------------------------------------------------------

def bad_header(image):
    """An error that a safe repair mends."""
    image.headers[0].spoiled = True


def lost_blocks(image):
    """Errors that only --repair=all mends, more than are shown; with a hole between them."""
    from vhdxdisk import FULL, bat_entry # pylint: disable=import-outside-toplevel
    for block in (*range(10, 9 + LOST_BLOCKS), 30):
        image.bat[image.payload_index(block)] = bat_entry(FULL, 5000 + block)


def trailing(image):
    """A leak."""
    image.file.size += 3 * MIB


def leaked(image):
    """Another one: data between blocks that belongs to none."""
    image.litter(image.allocate(2 * MIB), 2 * MIB)
    image.mark(7, 'behind it')


def same_headers(image):
    """A note."""
    image.headers[0].sequence = image.headers[1].sequence
    image.headers[0].file_write = image.headers[1].file_write
    image.headers[0].data_write = image.headers[1].data_write


def everything(image):
    lost_blocks(image)
    trailing(image)
    bad_header(image)


@pytest.fixture
def check(vhdx):
    """A function that gives what --output=json prints, parsed, after a look at the exit code."""
    def run(*args, code=0):
        done = vhdx('check', '--output=json', *args)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        assert (done.returncode, done.stderr) == (code, ''), done
        return json.loads(done.stdout)
    return run


def names(report):
    return [finding['name'] for finding in report['findings']]


# ---- Text ----------------------------------------------------------------------------------------

def test_clean(vhdx, golden, make, tmp_path):
    make()
    golden('check-clean.txt', vhdx.ok('check', 'image.vhdx', cwd=tmp_path))


def test_notes_are_clean_and_short(vhdx, make, tmp_path):
    make(same_headers)
    text = vhdx.ok('check', 'image.vhdx', cwd=tmp_path)
    assert re.search(r'^note headers-identical: .*$', text, re.M)
    assert 'effect: ' not in text
    assert re.search(r'^image.vhdx: clean, 1 note$', text, re.M)
    assert 'effect: ' in vhdx.ok('check', '-v', 'image.vhdx', cwd=tmp_path)


def test_leaks_alone_exit_with_3(vhdx, make, tmp_path):
    make(trailing)
    done = vhdx('check', 'image.vhdx', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, '')
    assert re.search(r'^leak file-trailing: .*\(file offset \d+\)\n    effect: .*\n'
                     r'    repair: .* \(--repair=safe\)\n$', done.stdout, re.M)
    assert re.search(r'^image.vhdx: 1 leak; --repair=safe mends 1$', done.stdout, re.M)


def test_leaks_are_counted(vhdx, check, make, tmp_path):
    make(leaked)
    done = vhdx('check', 'image.vhdx', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, '')
    assert re.search(r'^leaked: 2097152 bytes of the file \(2 MiB\)$', done.stdout, re.M)
    report = check(tmp_path / 'image.vhdx', code=3)
    assert names(report) == ['space-leaked']
    assert report['leaked-bytes'] == 2 * MIB


def test_errors_exit_with_2(vhdx, golden, make, tmp_path):
    make(everything)
    done = vhdx('check', 'image.vhdx', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, '')
    golden('check-errors.txt', done.stdout)
    lost = re.findall(r'^error bat-past-end: .* \(file offset \d+\)\n'
                      r'    disk: offset (\d+), length 1048576 \(1 MiB\)$', done.stdout, re.M)
    assert list(map(int, lost)) == [block * MIB for block in range(10, 20)]
    assert f'... and {LOST_BLOCKS - 10} more bat-past-end\n' in done.stdout
    assert done.stdout.count('effect: ') == 3
    assert done.stdout.index('error ') < done.stdout.index('leak ')
    assert f': {LOST_BLOCKS + 1} errors, 1 leak; --repair=safe mends 1 of them, ' \
           f'--repair=all {LOST_BLOCKS + 1} more\n' in done.stdout


def test_verbose_lists_all(vhdx, make):
    text = vhdx('check', '--verbose', make(lost_blocks)).stdout
    assert text.count('error bat-past-end: ') == LOST_BLOCKS
    assert ' more bat-past-end' not in text


def test_more_than_are_reported(vhdx, check, make):
    """The library reports 1000 findings of a kind and counts all of them."""
    from vhdxdisk import FULL, bat_entry # pylint: disable=import-outside-toplevel

    def damage(image):
        for block in range(10, 1510):
            image.bat[image.payload_index(block)] = bat_entry(FULL, 5000 + block)
    path = make(damage, size=2048 * MIB)
    assert '\n    ... and 1490 more bat-past-end\n' in vhdx('check', path).stdout
    text = vhdx('check', '-v', path).stdout
    assert text.count('error bat-past-end: ') == 1000
    assert '\n    ... and 500 more bat-past-end\n' in text
    report = check(path, code=2)
    assert (report['errors'], len(report['findings'])) == (1500, 1000)


def test_totals_are_those_of_qemu_img(vhdx, make):
    text = vhdx.ok('check', make())
    assert re.search(r'^3/32 = 9\.38% allocated, \d+\.\d\d% fragmented$', text, re.M)
    assert re.search(r'^Image end offset: \d+$', text, re.M)


def test_nothing_is_written_without_repair(vhdx, make, tmp_path):
    path = make(everything)
    before, listed = digest(path), sorted(os.listdir(tmp_path))
    path.chmod(0o444)
    for options in ([], ['-v'], ['--profile=hyperv'], ['--repair=all', '--dry-run']):
        vhdx('check', *options, path)
        assert (digest(path), sorted(os.listdir(tmp_path))) == (before, listed), options


def test_quiet(vhdx, make, tmp_path):
    for damage, code in ((None, 0), (everything, 2), (trailing, 3)):
        path = make(damage, name=f'{code}.vhdx')
        done = vhdx('check', '-q', path)
        assert (done.returncode, done.stdout, done.stderr) == (code, '', '')
    assert 'none.vhdx' in vhdx.fails('check', '--quiet', tmp_path / 'none.vhdx')


def test_powershells_word(vhdx, make):
    path = make(trailing)
    assert vhdx('test', path).stdout == vhdx('check', path).stdout
    assert vhdx.ok('help', 'Test') == vhdx.ok('help', 'check')


@pytest.mark.parametrize('typed, meant', [
    ('repair', 'check --repair'), ('Repair', 'check --repair'), ('undo', 'check --undo'),
    ('fsck', 'check'), ('chekc', 'check'), ('chek', 'check'), ('repaly', 'replay')])
def test_words_of_others(vhdx, typed, meant):
    assert vhdx.fails(typed, 'x.vhdx').startswith(
        f"vhdx: '{typed}' is not a verb; did you mean '{meant}'?\n")


# ---- Several files -------------------------------------------------------------------------------

@pytest.mark.parametrize('kinds, code', [
    ('clean clean', 0), ('clean leak', 3), ('leak error', 2), ('none clean', 1), ('none leak', 1),
    ('error none', 2), ('clean none leak error', 2)])
def test_exit_code_of_several_files(vhdx, make, tmp_path, kinds, code):
    damage = {'clean': None, 'leak': trailing, 'error': bad_header}
    paths = []
    for number, kind in enumerate(kinds.split()):
        name = f'{number}-{kind}.vhdx'
        paths.append(tmp_path / name if kind == 'none' else make(damage[kind], name=name))
    done = vhdx('check', *paths)
    assert done.returncode == code
    for path in paths:
        there = done.stderr if 'none' in path.name else done.stdout
        assert f'{path}: ' in there
    assert vhdx('check', *reversed(paths)).returncode == code


def test_other_files(vhdx, make, tmp_path):
    path = tmp_path / 'other'
    path.write_bytes(b'conectix' + bytes(3 * MIB))
    good = make()
    done = vhdx('check', path, good)
    assert done.returncode == 1
    assert done.stderr.startswith(f'vhdx: {path}: ')
    assert "vhdx: hint: 'qemu-img info FILE' tells what the file is" in done.stderr
    assert done.stdout == vhdx.ok('check', good)


def test_no_such_file(vhdx, tmp_path):
    message = vhdx.fails('check', tmp_path / 'none.vhdx')
    assert message.startswith(f'vhdx: {tmp_path}/none.vhdx: ')
    assert os.strerror(errno.ENOENT) in message


def test_hostile_names(vhdx, make, tmp_path):
    path = make(everything)
    name = os.fsencode(tmp_path) + b'/a\x1b[31m\nb.vhdx'
    os.rename(path, name)
    done = vhdx('check', '--repair=all', name)
    for text in (done.stdout, done.stderr):
        assert '\x1b' not in text and '\nb.vhdx' not in text


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_full_disk_behind_standard_output(vhdx, make):
    path = make()
    with open('/dev/full', 'wb') as full:
        assert vhdx.fails('check', path, stdout=full) == \
            f'vhdx: standard output: {os.strerror(errno.ENOSPC)}\n'


# ---- JSON ----------------------------------------------------------------------------------------

FINDING = {'id', 'name', 'severity', 'repair', 'message', 'effect', 'remedy'}
PLACES = {'file-offset', 'virtual-offset', 'virtual-length'}
REPORT = {'filename', 'format', 'check-errors', 'corruptions', 'leaks', 'notes', 'errors', 'fatals',
          'repairable-safe', 'repairable-all', 'complete', 'total-clusters', 'allocated-clusters',
          'fragmented-clusters', 'image-end-offset', 'file-size', 'lost-bytes', 'leaked-bytes',
          'findings'}


def test_json_of_errors(check, make):
    path = make(everything)
    report = check(path, code=2)
    assert set(report) == REPORT
    assert (report['filename'], report['format'], report['complete']) == (str(path), 'vhdx', True)
    assert (report['corruptions'], report['errors'], report['fatals']) == \
        (LOST_BLOCKS + 1, LOST_BLOCKS + 1, 0)
    assert report['leaks'] == 1
    assert report['lost-bytes'] == LOST_BLOCKS * MIB
    # The end is cut off only when nothing else is wrong: not by a safe repair.
    assert (report['repairable-safe'], report['repairable-all']) == (1, LOST_BLOCKS + 1)
    assert report['file-size'] == report['image-end-offset'] + 3 * MIB == path.stat().st_size
    assert report['total-clusters'] == 32
    for finding in report['findings']:
        assert FINDING <= set(finding) <= FINDING | PLACES
        assert (finding['repair'] == 'none') == (finding['remedy'] == '')
        assert ('virtual-offset' in finding) == ('virtual-length' in finding)
    lost = [finding for finding in report['findings'] if finding['id'] == 605]
    assert len(lost) == LOST_BLOCKS
    assert {(f['name'], f['severity'], f['repair']) for f in lost} == \
        {('bat-past-end', 'error', 'all')}
    assert lost[-1]['virtual-offset'] == 30 * MIB and lost[-1]['virtual-length'] == MIB


def test_json_text(vhdx, golden, check, make, tmp_path):
    make(everything)
    check(tmp_path / 'image.vhdx', code=2)
    golden('check-errors.json',
           vhdx('check', '--output=json', 'image.vhdx', cwd=tmp_path).stdout)


def test_json_of_one_and_of_several_files(vhdx, check, make, tmp_path):
    path, other = make(), make(same_headers, name='other.vhdx')
    assert check(path)['findings'] == []
    reports = check(path, other)
    assert [report['filename'] for report in reports] == [str(path), str(other)]
    assert names(reports[1]) == ['headers-identical']
    done = vhdx('check', '--output=json', tmp_path / 'none', other)
    assert done.returncode == 1
    assert [report['filename'] for report in json.loads(done.stdout)] == [str(other)]


def test_json_is_printed_when_quiet(check, make):
    assert check('-q', make(trailing), code=3)['leaks'] == 1


# ---- Parents and profiles ------------------------------------------------------------------------

def test_parents(check, pair):
    child, parent = pair
    assert not [name for name in names(check(child)) if name.startswith('parent-')]
    parent.rename(parent.with_name('away.vhdx'))
    assert 'parent-missing' in names(check(child, code=2))
    assert 'parent-missing' not in names(check('--no-parent', child))
    assert 'parent-missing' not in names(check('--parent', parent.with_name('away.vhdx'), child))


def test_what_to_do_about_a_missing_parent(vhdx, image):
    text = vhdx('check', image(CHILD)).stdout
    assert re.search(r'^error parent-missing: .*\n    effect: .*\n    repair: not possible\n'
                     r'    hint: name the parent with --parent FILE', text, re.M)


def test_any_parent_is_refused(vhdx, image):
    message = vhdx.fails('check', '--any-parent', image(CHILD))
    assert message.startswith('vhdx: check: --any-parent does not apply\nvhdx: hint: ')


def test_profiles(check, make):
    path = make()
    assert 'profile-azure-format' in names(check('--profile', 'azure', path, code=2))
    assert 'profile-azure-format' not in names(check('--profile=hyperv', path, code=2))


def test_unknown_profile(vhdx):
    assert vhdx.fails('check', '--profile=vmware', 'x.vhdx') == \
        "vhdx: --profile: 'vmware' is not known\n" \
        'vhdx: hint: known are hyperv, azure and wsl\n'


# ---- The command line ----------------------------------------------------------------------------

@pytest.mark.parametrize('options, what, hint', [
    ('--undo --repair', '--undo and --repair exclude each other', 'take the last repair back'),
    ('--undo --dry-run', '--undo has no --dry-run', 'checks everything before'),
    ('--undo --undo-file=u', '--undo-file belongs to --repair', 'vhdx check --undo UNDO-FILE'),
    ('--dry-run', '--dry-run needs --repair', 'nothing is ever written'),
    ('--force', '--force needs --undo', 'changed since'),
    ('--undo-file=u', '--undo-file needs --repair', '--repair=safe or --repair=all'),
    ('--no-undo', '--no-undo needs --repair', '--repair=safe or --repair=all'),
    ('--repair --no-undo --undo-file=u', '--undo-file and --no-undo exclude each other', 'one of'),
    ('--repair --undo-file=u y.vhdx', '--undo-file is for one FILE', 'one by one'),
    ('--repair -U', '-U is for looking only', 'must not be in use'),
    ('--undo -U', '-U is for looking only', 'must not be in use'),
    ('--repair all', "'all' stands where a file is expected", '--repair=all'),
    ('--repair safe', "'safe' stands where a file is expected", '-r safe'),
])
def test_options_that_make_no_sense(vhdx, make, tmp_path, options, what, hint):
    path = make(everything)
    before = digest(path)
    first, second = vhdx.fails('check', *options.split(), path, cwd=tmp_path).splitlines()
    assert first == f'vhdx: check: {what}'
    assert second.startswith('vhdx: hint: ') and hint in second
    assert digest(path) == before


@pytest.mark.parametrize('option', ['--repair=yes', '-ryes', '--repair='])
def test_unknown_level(vhdx, make, option):
    path = make(everything)
    before = digest(path)
    first, second = vhdx.fails('check', option, path).splitlines()
    assert re.fullmatch(r"vhdx: --repair: '(yes)?' is neither safe nor all", first)
    assert second.startswith('vhdx: hint: safe loses nothing')
    assert digest(path) == before


def test_a_file_called_all(vhdx, make, tmp_path):
    make(trailing, name='all')
    assert vhdx('check', 'all', cwd=tmp_path).returncode == 3
    assert vhdx('check', '--repair', './all', cwd=tmp_path).returncode == 0


# ---- Repair --------------------------------------------------------------------------------------

def test_safe_repair(vhdx, golden, make, tmp_path):
    path = make(lambda image: (bad_header(image), trailing(image)))
    before = digest(path)
    golden('check-repair-safe.txt', vhdx.ok('check', '--repair', 'image.vhdx', cwd=tmp_path))
    assert digest(path) != before
    assert (tmp_path / 'image.vhdx.undo').exists()
    assert re.search(r'^image.vhdx: clean$', vhdx.ok('check', 'image.vhdx', cwd=tmp_path), re.M)


def test_safe_repair_leaves_what_it_must_not_touch(vhdx, make, tmp_path):
    make(lambda image: (bad_header(image), lost_blocks(image)))
    done = vhdx('check', '--repair=safe', 'image.vhdx', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, '')
    assert f'; after the repair: {LOST_BLOCKS} errors; --repair=all mends {LOST_BLOCKS} of them\n' \
        in done.stdout
    assert 'given up' not in done.stdout


def test_full_repair_lists_what_is_lost(vhdx, golden, make, tmp_path):
    make(everything)
    text = vhdx.ok('check', '-r', 'all', 'image.vhdx', cwd=tmp_path)
    golden('check-repair-all.txt', text)
    assert f'given up: {LOST_BLOCKS * MIB} bytes of the disk (15 MiB)\n' \
           f'    disk: offset {10 * MIB}, length {14 * MIB} (14 MiB)\n' \
           f'    disk: offset {30 * MIB}, length {MIB} (1 MiB)\n' in text


def test_leaks_is_another_word_for_safe(vhdx, make, tmp_path):
    make(trailing)
    make(trailing, name='other.vhdx')
    one = vhdx.ok('check', '-r', 'leaks', 'image.vhdx', cwd=tmp_path)
    other = vhdx.ok('check', '--repair=safe', 'other.vhdx', cwd=tmp_path)
    assert one == other.replace('other.vhdx', 'image.vhdx')


def test_json_of_a_repair(check, make):
    path = make(everything)
    report = check('--repair=all', path)
    assert set(report) == REPORT | {'before', 'repair'}
    assert (report['corruptions'], report['leaks'], report['lost-bytes']) == (0, 0, 0)
    assert report['before'] == {'leaks': 1, 'notes': 0, 'errors': LOST_BLOCKS + 1, 'fatals': 0}
    assert len(report['findings']) == LOST_BLOCKS + 2
    repair = report['repair']
    assert (repair['level'], repair['dry-run'], repair['changed']) == ('all', False, True)
    assert repair['undo-file'] == f'{path}.undo'
    assert repair['lost-bytes'] == LOST_BLOCKS * MIB
    assert repair['lost-ranges'] == [{'offset': 10 * MIB, 'length': 14 * MIB},
                                     {'offset': 30 * MIB, 'length': MIB}]
    assert repair['actions-total'] == len(repair['actions'])
    for action in repair['actions']:
        assert {'id', 'name', 'message'} <= set(action)
        assert ('lost-offset' in action) == ('lost-length' in action)
    lost = [action for action in repair['actions'] if 'lost-length' in action]
    assert {(action['id'], action['name']) for action in lost} == {(605, 'bat-past-end')}
    assert sum(action['lost-length'] for action in lost) == repair['lost-bytes']


def test_dry_run_says_the_same_and_writes_nothing(check, make, tmp_path):
    path = make(everything)
    before = digest(path)
    rehearsed = check('--repair=all', '--dry-run', path)
    assert digest(path) == before and os.listdir(tmp_path) == ['image.vhdx']
    assert 'undo-file' not in rehearsed['repair'] and rehearsed['repair']['dry-run'] is True
    done = check('--repair=all', path)
    for report in (rehearsed, done):
        for key in ('dry-run', 'undo-file'):
            report['repair'].pop(key, None)
    assert rehearsed == done


def test_dry_run_in_text(vhdx, make, tmp_path):
    make(everything)
    text = vhdx.ok('check', '--repair=all', '--dry-run', 'image.vhdx', cwd=tmp_path)
    assert '\na repair would do this:\n' in text
    assert '\nthis would give up: 15728640 bytes of the disk (15 MiB)\n' in text
    assert '1 leak; after a repair: clean, 1 note\n' in text
    assert 'undo file: ' not in text


def test_nothing_to_repair(vhdx, make, tmp_path):
    path = make()
    before = digest(path)
    text = vhdx.ok('check', '--repair=all', 'image.vhdx', cwd=tmp_path)
    assert re.search(r'^image.vhdx: clean; nothing was changed$', text, re.M)
    assert digest(path) == before and os.listdir(tmp_path) == ['image.vhdx']


def test_quiet_repair(vhdx, make):
    path = make(trailing)
    assert vhdx.ok('check', '-q', '--repair', path) == ''
    assert vhdx('check', '-q', path).returncode == 0


def test_a_file_that_cannot_be_written(vhdx, make):
    if os.geteuid() == 0:
        pytest.skip('root may write to everything')
    path = make(trailing)
    path.chmod(0o444)
    assert vhdx.fails('check', '--repair', path).startswith(f'vhdx: {path}: ')


# ---- Undo ----------------------------------------------------------------------------------------

def printed_command(text):
    """The words of the command that takes a repair back, without the program."""
    command = re.search(r'^    takes the repair back: (.*)$', text, re.M).group(1)
    assert command.startswith('vhdx check --undo ')
    return shlex.split(command)[1:]


@pytest.mark.parametrize('name', ['image.vhdx', "it's a disk; really.vhdx", '-U'])
def test_the_printed_command_takes_the_repair_back(vhdx, make, tmp_path, name):
    path = make(everything, name=name)
    before = digest(path)
    command = printed_command(vhdx.ok('check', '--repair=all', '--', name, cwd=tmp_path))
    assert digest(path) != before
    assert vhdx.ok(*command, cwd=tmp_path) == f'{name}: the repair was taken back\n'
    assert digest(path) == before
    assert os.listdir(tmp_path) == [name]


def test_an_undo_file_elsewhere(vhdx, make, tmp_path):
    path = make(everything)
    before = digest(path)
    (tmp_path / 'undo').mkdir()
    text = vhdx.ok('check', '--repair=all', '--undo-file', 'undo/1', 'image.vhdx', cwd=tmp_path)
    assert '\nundo file: undo/1\n' in text
    assert os.listdir(tmp_path / 'undo') == ['1']
    vhdx.ok(*printed_command(text), cwd=tmp_path)
    assert digest(path) == before
    assert os.listdir(tmp_path / 'undo') == []


def test_no_undo(vhdx, make, tmp_path):
    path = make(everything)
    text = vhdx.ok('check', '--repair=all', '--no-undo', path)
    assert 'undo file: ' not in text
    assert os.listdir(tmp_path) == ['image.vhdx']
    message = vhdx.fails('check', '--undo', path)
    assert "hint: an undo file is named like the image, with '.undo' at its end" in message


def test_undo_in_json(check, make):
    path = make(everything)
    check('--repair=all', path)
    assert check('--undo', path) == {'filename': str(path), 'format': 'vhdx', 'undone': True}


def test_undo_of_an_image_that_was_changed_since(vhdx, make):
    path = make(everything)
    vhdx.ok('check', '--repair=all', path)
    with open(path, 'r+b') as file:
        file.seek(64 << 10)
        file.write(bytes(4096))
    changed = digest(path)
    message = vhdx.fails('check', '--undo', path)
    assert 'vhdx: hint: --force takes the repair back all the same' in message
    assert digest(path) == changed
    vhdx.ok('check', '--undo', '--force', path)
    assert not os.path.exists(f'{path}.undo')


def test_repairs_are_taken_back_one_by_one(vhdx, make, tmp_path):
    path = make(everything)
    digests = [digest(path)]
    for level in ('safe', 'all'):
        text = vhdx('check', '-r', level, path).stdout
        digests.append(digest(path))
    assert sorted(os.listdir(tmp_path)) == ['image.vhdx', 'image.vhdx.undo', 'image.vhdx.undo.1']
    assert f'\nundo file: {path}.undo.1\n' in text
    for wanted in digests[1::-1]:
        vhdx.ok('check', '--undo', path)
        assert digest(path) == wanted
    assert os.listdir(tmp_path) == ['image.vhdx']


def test_undo_files_are_never_overwritten(vhdx, make, tmp_path):
    path, other = make(everything), tmp_path / 'other'
    vhdx('check', '-r', 'safe', '--undo-file', other, path)
    before, repaired = digest(other), digest(path)
    message = vhdx.fails('check', '-r', 'all', '--undo-file', other, path)
    assert 'vhdx: hint: an undo file is never overwritten: name another one' in message
    assert (digest(other), digest(path)) == (before, repaired)


def test_undo_of_an_image_in_use(vhdx, make, in_use):
    path = make(everything)
    vhdx.ok('check', '--repair=all', path)
    with in_use(path):
        message = vhdx.fails('check', '--undo', path)
        assert 'vhdx: hint: stop the program' in message and '-U' not in message


# ---- Locks and signals ---------------------------------------------------------------------------

def test_an_image_in_use(vhdx, make, in_use):
    path = make(trailing)
    with in_use(path):
        assert 'or read it as it is with -U' in vhdx.fails('check', path)
        assert vhdx('check', '-U', path).returncode == 3
        message = vhdx.fails('check', '--repair', path)
        assert 'vhdx: hint: stop the program' in message and '-U' not in message


def test_interrupted(vhdx, make):
    path = make(trailing)
    process = vhdx.start('check', '-p', *[path] * 3000)
    assert process.stderr.readline().startswith(b'[')
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert died_by(process.returncode, signal.SIGINT)
    assert stdout.count(b'1 leak;') < 3000
    assert b'vhdx: ' not in stderr


@pytest.mark.parametrize('name', [PARENT, CHILD, 'test-disk2vhd.vhdx', 'vhdx-log-replay.vhdx',
                                  'fattools-dynamic-4096.vhdx', 'iotest-dynamic-1G.vhdx'])
def test_real_images_are_clean(vhdx, unpacked, name):
    if name == CHILD:
        unpacked(PARENT)
    text = vhdx.ok('check', unpacked(name))
    assert f'{name}: clean' in text


def test_a_parent_in_use_is_no_finding(vhdx, tmp_path, in_use):
    """It could not be looked at now; nothing is said to be wrong with it."""
    vhdx.ok('create', '-q', tmp_path / 'base.vhdx', '8M')
    child = tmp_path / 'child.avhdx'
    vhdx.ok('create', '-q', '-b', tmp_path / 'base.vhdx', child)
    with in_use(tmp_path / 'base.vhdx'):
        message = vhdx.fails('check', child)
        assert 'base.vhdx: another process has the image open' in message
        vhdx.ok('check', '-U', child)
        vhdx.ok('check', '--no-parent', child)
    vhdx.ok('check', child)
