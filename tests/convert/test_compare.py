# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx compare: its words, its exit codes, and qemu-img compare as the judge."""

import json
import os
import random
import shutil
import subprocess

import pytest

MIB = 1 << 20
SAME = 'Images are identical.\n'
LONGER = 'Warning: Image size mismatch!\n'


def raw(path, size, parts=()):
    """A sparse raw file with parts: (offset, bytes)."""
    with open(path, 'wb') as file:
        file.truncate(size)
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
    return path


def qemu_img(*args):
    """Runs it; (exit code, standard output)."""
    program = shutil.which('qemu-img')
    if not program:
        if os.environ.get('CI') == 'true':
            pytest.fail('qemu-img is not installed')
        pytest.skip('qemu-img is not installed')
    done = subprocess.run([program, *map(os.fspath, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    return done.returncode, done.stdout


def result(vhdx, *args):
    """(exit code, standard output); there is nothing on standard error."""
    done = vhdx('compare', *args)
    assert done.stderr == ''
    return done.returncode, done.stdout


@pytest.fixture
def disks(tmp_path):
    """A function that makes files in the test's folder."""
    return lambda name, size, *parts: raw(tmp_path / name, size, parts)


def test_the_same(vhdx, disks):
    a, b = disks('a.raw', 3 * MIB + 1, (MIB, b'x')), disks('b.raw', 3 * MIB + 1, (MIB, b'x'))
    assert result(vhdx, a, b) == (0, SAME)
    assert result(vhdx, a, a) == (0, SAME)
    assert result(vhdx, '-q', a, b) == (0, '')


def test_empty_disks(vhdx, disks):
    assert result(vhdx, disks('a.raw', 0), disks('b.raw', 0)) == (0, SAME)
    assert result(vhdx, disks('a.raw', 0), disks('b.raw', 1000)) == (0, LONGER + SAME)
    assert result(vhdx, disks('a.raw', 0), disks('c.raw', 1000, (999, b'1'))) == \
        (1, LONGER + 'Content mismatch at offset 512!\n')


@pytest.mark.parametrize('place', [0, 511, 512, 2 * MIB - 1, 2 * MIB, 5 * MIB + 4321, 7 * MIB])
def test_the_first_sector_that_differs(vhdx, disks, place):
    a = disks('a.raw', 7 * MIB + 1, (0, b'y' * (7 * MIB + 1)))
    b = disks('b.raw', 7 * MIB + 1, (0, b'y' * (7 * MIB + 1)), (place, b'z'))
    said = f'Content mismatch at offset {place // 512 * 512}!\n'
    for threads in 1, 2, 7:
        assert result(vhdx, '-m', str(threads), a, b) == (1, said)
    assert result(vhdx, '-q', b, a) == (1, '')
    assert qemu_img('compare', '-f', 'raw', '-F', 'raw', a, b) == (1, said)


def test_json(vhdx, disks):
    a, b = disks('a.raw', MIB), disks('b.raw', 2 * MIB, (MIB, b'1'))

    def told(*args):
        code, text = result(vhdx, '--output=json', *args)
        return code, json.loads(text)
    assert told(a, a) == (0, {'identical': True, 'difference': 'none', 'sizes': [MIB, MIB]})
    assert told(a, b) == (1, {'identical': False, 'difference': 'content', 'offset': MIB,
                              'sizes': [MIB, 2 * MIB]})
    assert told('-s', b, a) == (1, {'identical': False, 'difference': 'size',
                                    'sizes': [2 * MIB, MIB]})


def test_strict(vhdx, disks):
    a, b = disks('a.raw', 4 * MIB), disks('b.raw', 4 * MIB, (2 * MIB, bytes(MIB)))
    longer = disks('c.raw', 4 * MIB + 1)
    assert result(vhdx, a, b) == (0, SAME)
    for pair in (a, b), (b, a):
        said = result(vhdx, '-s', *pair)
        assert said == (1, f'Strict mode: Offset {2 * MIB} block status mismatch!\n')
        # It begins earlier for qemu-img, whose status also says that an extent is the last one.
        assert qemu_img('compare', '-s', '-f', 'raw', '-F', 'raw', *pair) == \
            (1, 'Strict mode: Offset 0 block status mismatch!\n')
    said = result(vhdx, '--strict', a, longer)
    assert said == (1, 'Strict mode: Image size mismatch!\n')
    assert said == qemu_img('compare', '-s', '-f', 'raw', '-F', 'raw', a, longer)


def scribble(path, rng, size, changes):
    """Changes a raw file in random places; bytes or zeros, or nothing at all."""
    with open(path, 'r+b') as file:
        for _ in range(changes):
            at = rng.randrange(size)
            length = min(rng.choice((1, 512, 4096, 100000)), size - at)
            file.seek(at)
            file.write(rng.choice((bytes(length), rng.randbytes(length))))


@pytest.mark.parametrize('seed', range(12))
def test_as_qemu_img_says(vhdx, disks, tmp_path, seed):
    rng = random.Random(seed)
    size = rng.randrange(1, 12 * MIB // 512) * 512
    a = disks('a.raw', size, *((rng.randrange(size), b'abc') for _ in range(5)))
    scribble(a, rng, size, 10)
    b = tmp_path / 'b.raw'
    qemu_img('convert', '-f', 'raw', '-O', 'raw', a, b)
    scribble(b, rng, size, seed % 3)
    if seed % 4 == 3:
        os.truncate(b, size // 2 // 512 * 512)
    image = tmp_path / 'b.vhdx'
    assert qemu_img('convert', '-f', 'raw', '-O', 'vhdx', b, image)[0] == 0
    for one, other, formats in ((a, b, ('raw', 'raw')), (b, a, ('raw', 'raw')),
                                (image, a, ('vhdx', 'raw')), (image, b, ('vhdx', 'raw'))):
        judged = qemu_img('compare', '-f', formats[0], '-F', formats[1], one, other)
        assert result(vhdx, one, other) == judged
        assert result(vhdx, '-f', formats[0], '-F', formats[1], one, other) == judged


def test_a_chain_and_what_it_shows(vhdx, unpacked, tmp_path):
    child, flat = unpacked('ntfs-differential.vhdx'), tmp_path / 'flat.raw'
    parent = unpacked('ntfs-parent.vhdx')
    assert vhdx('convert', '--parent', parent, child, flat).returncode == 0
    assert result(vhdx, '--parent', parent, child, flat) == (0, SAME)
    assert result(vhdx, '--parent', parent, child, parent)[0] == 1


def trouble(vhdx, *args):
    """An error has exit code 2 and orderly messages; the last of them but hints."""
    done = vhdx('compare', *args)
    assert done.returncode == 2, done
    assert done.stdout == ''
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith('vhdx: ') for line in lines)
    return [line for line in lines if 'hint:' not in line][-1]


def test_every_error_has_exit_code_2(vhdx, disks, tmp_path):
    a = disks('a.raw', MIB)
    broken = disks('broken.vhdx', MIB, (0, b'vhdxfile'))
    assert 'No such file' in trouble(vhdx, a, tmp_path / 'none')
    assert 'No such file' in trouble(vhdx, tmp_path / 'none', a)
    assert 'a file name is missing' in trouble(vhdx, a)
    assert 'too many file names' in trouble(vhdx, a, a, a)
    assert "'Z'" in trouble(vhdx, '-Z', a, a)
    assert 'requires an argument' in trouble(vhdx, a, a, '-F')
    assert 'broken.vhdx' in trouble(vhdx, a, broken)
    assert 'neither human nor json' in trouble(vhdx, '--output=xml', a, a)
    for threads in '0', '65', 'x', '-1', '':
        assert trouble(vhdx, '-m', threads, a, a).startswith('vhdx: -m')
    assert 'nosuch' in trouble(vhdx, '-f', 'nosuch', a, a)
    assert trouble(vhdx, '-f', 'vhdx', a, a)


def test_a_pipe(vhdx, disks):
    """On either side; also where it ends is seen."""
    a = disks('a.raw', 3 * MIB, (5000, b'1'))
    b = disks('b.raw', 3 * MIB + 512, (5000, b'1'), (2 * MIB + 512, b'2'))
    for words, file, code in (([a, '-'], a, 0), (['-', a], a, 0), ([a, '-'], b, 1),
                              (['-', b], a, 1), (['-s', '-', b], a, 1)):
        with subprocess.Popen(['cat', file], stdout=subprocess.PIPE) as cat:
            done = vhdx('compare', *words, stdin=cat.stdout)
        assert (done.returncode, done.stderr.splitlines()[1:]) == (code, []), done
        if code == 1 and '-s' not in words:
            assert 'offset %d' % (2 * MIB + 512) in done.stdout
    with subprocess.Popen(['cat', b], stdout=subprocess.PIPE) as cat:
        said = vhdx.ok('diff', '--output=json', a, '-', stdin=cat.stdout)
    assert said == vhdx.ok('diff', '--output=json', a, b)


def test_a_file_on_standard_input(vhdx, disks):
    a, b = disks('a.raw', MIB, (5000, b'1')), disks('b.raw', MIB, (5000, b'1'))
    with open(b, 'rb') as file:
        done = vhdx('compare', a, '-', stdin=file)
    assert (done.returncode, done.stdout) == (0, SAME)


def test_full_standard_output(vhdx, disks):
    a = disks('a.raw', MIB)
    with open('/dev/full', 'wb') as full:
        done = vhdx('compare', a, a, stdout=full)
    assert done.returncode == 2
    assert 'standard output' in done.stderr


@pytest.mark.parametrize('differs_first', [False, True])
def test_unreadable_sectors(vhdx, disks, fail_reads, differs_first):
    """An error is one, unless the disks are known to differ before it."""
    full = b'q' * (6 * MIB)
    a = disks('a.raw', len(full), (0, full))
    b = disks('b.raw', len(full), (0, full), *([(MIB, b'r')] if differs_first else []))
    for threads in 1, 4:
        done = vhdx('compare', '-m', str(threads), a, b, env=fail_reads(b, 4 * MIB, 4096))
        if differs_first:
            assert (done.returncode, done.stdout) == (1, f'Content mismatch at offset {MIB}!\n')
        else:
            assert (done.returncode, done.stdout) == (2, '')
            assert 'Input/output error' in done.stderr


def test_progress_goes_to_standard_error(vhdx, disks):
    a, b = disks('a.raw', MIB, (0, b'1')), disks('b.raw', MIB, (0, b'1'))
    done = vhdx('compare', '-p', a, b)
    assert (done.returncode, done.stdout) == (0, SAME)
    assert '100.0%' in done.stderr


def test_help(vhdx):
    done = vhdx('compare', '--help')
    assert (done.returncode, done.stderr) == (0, '')


def test_a_format_of_qemu(vhdx, disks, tmp_path):
    a, image = disks('a.raw', 8 * MIB, (3 * MIB, b'x' * MIB)), tmp_path / 'b.qcow2'
    assert qemu_img('convert', '-f', 'raw', '-O', 'qcow2', a, image)[0] == 0
    done = vhdx('compare', a, image)
    if done.returncode == 2 and os.environ.get('CI') != 'true':
        pytest.skip(done.stderr)
    assert (done.returncode, done.stdout, done.stderr) == (0, SAME, '')
    with open(a, 'r+b') as file:
        file.seek(4 * MIB - 1)
        file.write(b'y')
    assert result(vhdx, image, a) == (1, f'Content mismatch at offset {4 * MIB - 512}!\n')
