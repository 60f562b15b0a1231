# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx hash."""

import hashlib
import os
import shutil
import subprocess

import pytest

from cli_support import CHILD, CHILD_SHA256, PARENT


@pytest.fixture
def digest(vhdx, can_hash):
    """A function that runs hash, or skips where the library has no libcrypto."""
    if not can_hash:
        pytest.skip('built without libcrypto')

    def run(*args, **more):
        return vhdx.ok('hash', *args, **more)
    return run


def test_known_digest(digest, pair, tmp_path):
    assert digest(CHILD, cwd=tmp_path) == f'{CHILD_SHA256}  {CHILD}\n'


@pytest.mark.parametrize('algorithm', ['sha256', 'sha1', 'sha512', 'md5', 'blake2b'])
def test_algorithms(vhdx, digest, unpacked, algorithm):
    path = unpacked(PARENT)
    content = vhdx.ok('cat', path, text=False)
    wanted = hashlib.new(algorithm, content).hexdigest()
    assert digest('-a', algorithm, path) == f'{wanted}  {path}\n'
    assert digest(f'--algorithm={algorithm}', path) == f'{wanted}  {path}\n'


@pytest.mark.parametrize('name', ['sha3', 'SHA256', '', 'sha'])
def test_unknown_algorithm(vhdx, unpacked, name):
    first, second = vhdx.fails('hash', '-a', name, unpacked(PARENT)).splitlines()
    assert first == f"vhdx: --algorithm: '{name}' is not known"
    assert second == 'vhdx: hint: known are sha256, sha1, sha512, md5 and blake2b'


def test_several_files(digest, unpacked):
    paths = [unpacked('ntfs-fixed.vhdx'), unpacked(PARENT)]
    assert digest(*paths) == digest(paths[0]) + digest(paths[1])


@pytest.mark.parametrize('name', [b'plain.vhdx', b'a b\t.vhdx', b'back\\slash.vhdx', b'new\nline',
                                  b'return\r.vhdx', b'all\\\n\r', b' leading', b'\xff\xfe', b'*x'])
def test_sha256sum_checks_our_output(vhdx, digest, image, tmp_path, name):
    """A raw copy under the same name, in another folder, passes `sha256sum -c`."""
    if not shutil.which('sha256sum'):
        pytest.skip('no sha256sum')
    os.rename(image(PARENT), os.fsencode(tmp_path) + b'/' + name)
    raw = tmp_path / 'raw'
    raw.mkdir()
    line = digest('--', name, cwd=tmp_path, text=False)
    vhdx.ok('convert', '-O', 'raw', '--', name, b'raw/' + name, cwd=tmp_path)
    wanted = subprocess.run(['sha256sum', '--', name], cwd=raw, check=True,
                            stdout=subprocess.PIPE).stdout
    assert line == wanted
    subprocess.run(['sha256sum', '--check', '--strict'], cwd=raw, input=line, check=True,
                   stdout=subprocess.DEVNULL)


def test_warns_of_zeros_for_the_parents_data(vhdx, pair, can_hash):
    if not can_hash:
        pytest.skip('built without libcrypto')
    child, _ = pair
    done = vhdx('hash', '--no-parent', child)
    assert done.returncode == 0
    assert done.stderr == f'vhdx: warning: {child}: what the parent would supply reads as zeros ' \
                          '(--no-parent)\n'
    assert not done.stdout.startswith(CHILD_SHA256)


def test_no_parent_on_an_image_without_one(digest, unpacked):
    path = unpacked(PARENT)
    assert digest('--no-parent', path) == digest(path)


def test_progress_is_shown_when_asked_for(vhdx, digest, unpacked):
    path = unpacked(PARENT)
    plain = digest(path)
    assert digest('-q', path) == digest('-p', '-q', path) == plain
    done = vhdx('hash', '-p', path)
    assert (done.returncode, done.stdout) == (0, plain)
    assert done.stderr == '' or done.stderr.splitlines()[-1].endswith('100.0%  4 MiB of 4 MiB')
