# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Images that Windows and other programs wrote, listed in images.tsv with the digests of their
virtual disks, on which independent decoders agree."""

import csv
import json

import pytest

from corpus_support import EMULATED, EMULATED_HASH_LIMIT, error_line, one_line
from corpus_support import vhdxref

NAMES = ('iotest-dynamic-1G.vhdx.bz2', 'test-disk2vhd.vhdx.bz2', 'vhdx-log-replay.vhdx.gz',
         'btrfs.vhdx.gz', 'ntfs-fixed.vhdx.xz', 'ntfs-parent.vhdx.xz', 'ntfs-differential.vhdx.xz',
         'config2_base.vhdx.bz2', 'MSEdge-Win10_preview_truncated.vhdx.xz',
         'fattools-dynamic-4096.vhdx.gz', 'fattools-multichunk-512.vhdx.gz')


class Real:
    """A real image, unpacked, and its line of images.tsv."""

    def __init__(self, path, row):
        self.path, self.row = path, row
        self.truncated = row['note'] == 'truncated'


@pytest.fixture(scope='module')
def table(images):
    """{file name: line} of images.tsv."""
    with open(images / 'images.tsv', encoding='utf-8', newline='') as file:
        return {row['file']: row for row in csv.DictReader(file, delimiter='\t')}


@pytest.fixture(scope='module', params=NAMES)
def real(request, table, unpacked):
    """One of the images, with its parent beside it."""
    row = table[request.param]
    if row['note'].startswith('parent:'):
        unpacked(row['note'][len('parent:'):])
    return Real(unpacked(request.param), row)


def test_list_is_complete(table):
    """Every image of images.tsv is tested here."""
    assert set(table) == set(NAMES)


def test_model(real):
    """The reference reader agrees with the other decoders: it is fit to be the judge."""
    if real.truncated:
        with pytest.raises(vhdxref.RefError) as caught:
            vhdxref.open_image(str(real.path)).content()
        assert caught.value.code == 'VHDX_E_TRUNCATED'
        return
    model = vhdxref.open_image(str(real.path))
    assert model.content().sha256() == real.row['virtual_sha256']
    model.close()


def test_probe(real, probe):
    """The library reads it to its end, or says where the file is cut off."""
    done = probe(real.path)
    if real.truncated:
        assert done.code == 1
        assert one_line(done.out.decode()).startswith('VHDX_E_TRUNCATED ')
    else:
        assert (done.code, done.out) == (0, b'ok\n'), done


def test_hash(real, vhdx):
    """The digest of the virtual disk."""
    if EMULATED and int(real.row['size']) > EMULATED_HASH_LIMIT:
        pytest.skip('too large to hash in an emulator')
    done = vhdx('hash', real.path, bounded=False)
    if real.truncated:
        assert (done.code, done.out) == (1, b'')
        error_line(done.err)
    else:
        assert (done.code, done.err) == (0, ''), done
        assert done.out.split()[0].decode() == real.row['virtual_sha256']


def test_info(real, vhdx):
    """Type and sizes."""
    info = json.loads(vhdx.ok('info', '--output=json', real.path))
    data, row = info['format-specific']['data'], real.row
    assert data['type'] == row['type']
    assert info['virtual-size'] == int(row['size'])
    assert data['block-size'] == int(row['block'])
    assert data['logical-sector-size'] == int(row['logical'])
    assert data['physical-sector-size'] == int(row['physical'])
    assert info['dirty-flag'] == (row['note'] == 'dirty')


def test_reading_changed_nothing(real, vhdx):
    """A dirty log stays dirty: nothing is written by reading."""
    before = (real.path.stat().st_mtime_ns, real.path.stat().st_size)
    vhdx('info', real.path)
    vhdx('map', '--output=json', real.path)
    assert (real.path.stat().st_mtime_ns, real.path.stat().st_size) == before
