# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Images of all kinds through the server: the corpus, good and bad, real ones, chains, logs."""

import csv
import errno
import hashlib
import os
import subprocess

import pytest

from environment import images_folder
from nbd_support import HOLE, MIB, STOP_SECONDS, data_of, extents_of, log_state, nbd
from nbd_support import nbdkit_command, ok, read_all, sha256_of
# pylint: disable=wrong-import-order
import corpus
from sparsebytes import Ranges, nonzero_pages

WALK_LIMIT = 2 << 40 # bytes: an answer covers at most 4 GiB
READ_LIMIT = 64 * MIB

pytestmark = pytest.mark.skipif(nbd is None and os.environ.get('CI') != 'true',
                                reason='the Python module nbd is not installed')


def parameters_of(case, folder):
    """How the plugin is told where the parent is."""
    words = list(case.options)
    found = []
    while words:
        word, value = words.pop(0), words.pop(0)
        assert word == '--map'
        windows, _, local = value.partition('=')
        found.append('map-path=%s=%s' % (windows, os.path.join(folder, local)))
    return found


def smaller_than(limit):
    """Names of good images whose disks are not too large for a test."""
    return [name for name, case in corpus.GOOD.items() if case.build().size <= limit]


# ---- The corpus ----------------------------------------------------------------------------------

@pytest.mark.parametrize('name', smaller_than(WALK_LIMIT))
def test_good(name, serve, tmp_path):
    """Data is where it was meant to be, and has the intended content; all else is a hole. Not
    checked where what is data is the reader's choice."""
    case = corpus.GOOD[name]
    image = case.build()
    folder = tmp_path / 'image'
    folder.mkdir()
    path = image.save(str(folder))
    server = serve(path, *parameters_of(case, folder), options=['-r'])
    handle = server.connect()
    assert handle.get_size() == image.size
    data = data_of(handle)
    assert known(data, image) == known(image.data.pairs(), image)
    pages = dict(image.content.pages())
    read = sum(end - start for start, end in data)
    if read <= READ_LIMIT:
        got = {}
        for start, end in data:
            for at in range(start, end, MIB):
                # The generator's pages begin at multiples of their size.
                got.update(nonzero_pages(at, handle.pread(min(MIB, end - at), at)))
        assert joined(got) == joined(pages)
    else: # at least what the intended content has
        for at, page in list(pages.items())[:256]:
            length = min(len(page), image.size - at)
            assert handle.pread(length, at) == page[:length]
    assert server.errors() == []


def known(pairs, image):
    """The ranges without those in which the kind of an extent is the reader's choice."""
    ranges = Ranges(pairs)
    for start, end in image.unsure.pairs():
        ranges.remove(start, end)
    return ranges.pairs()


def joined(pages):
    """{sector: its content}, without zeros, of pages of any size."""
    return {at + i: page[i:i + 512] for at, page in pages.items()
            for i in range(0, len(page), 512) if page[i:i + 512].strip(b'\0')}


@pytest.mark.parametrize('name', [name for name, case in corpus.BAD.items()
                                  if case.stage == 'open' and not case.lenient])
def test_bad(name, plugin, vhdx, tmp_path):
    """The server does not start, and says in one line what the tool says."""
    try:
        path = corpus.BAD[name].build().save(str(tmp_path))
    except OSError:
        pytest.skip('the file system has no files of this size')
    command = nbdkit_command(plugin, 'file=' + path, options=['-r', '-U', tmp_path / 'socket'])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          timeout=STOP_SECONDS, check=False)
    assert done.returncode == 1, done
    wanted = vhdx('info', path).stderr.splitlines()[0]
    assert done.stderr.splitlines() == [wanted.replace('vhdx: ', 'nbdkit: error: ', 1)]


@pytest.mark.parametrize('name', [name for name, case in corpus.BAD.items()
                                  if case.stage == 'read' and not case.lenient])
def test_bad_inside(name, serve, vhdx, tmp_path):
    """What is bad is found before serving, if the table that is at fault is small, or else by the
    first request that it concerns: EIO for the client, one line in the log."""
    path = corpus.BAD[name].build().save(str(tmp_path))
    wanted = vhdx('hash', path).stderr.splitlines()[0].replace('vhdx: ', '', 1)
    server = serve(path, options=['-r'], must_start=False)
    if server.process.poll() is None:
        handle = server.connect()
        with pytest.raises(nbd.Error) as caught:
            for start, end in data_of(handle):
                for at in range(start, end, MIB):
                    handle.pread(min(MIB, end - at), at)
        assert caught.value.errnum == errno.EIO, caught.value
    assert server.errors() == [wanted]


# ---- Real images ---------------------------------------------------------------------------------

REAL = ('iotest-dynamic-1G.vhdx', 'test-disk2vhd.vhdx', 'vhdx-log-replay.vhdx', 'btrfs.vhdx',
        'ntfs-fixed.vhdx', 'ntfs-parent.vhdx', 'ntfs-differential.vhdx', 'config2_base.vhdx',
        'fattools-dynamic-4096.vhdx', 'fattools-multichunk-512.vhdx')
COPY_LIMIT = 4 << 30


@pytest.mark.parametrize('name', REAL)
def test_real(name, unpacked, serve, tmp_path):
    """A copy has the digest on which independent decoders agree; the file is not touched."""
    path = unpacked(name)
    row = row_of(path, name)
    if row['note'].startswith('parent:'):
        unpacked(row['note'][len('parent:'):].rsplit('.', 1)[0])
    before = (path.stat().st_mtime_ns, path.stat().st_size)
    server = serve(path, options=['-r'])
    if int(row['size']) > COPY_LIMIT:
        assert int(ok('nbdinfo', '--size', server.uri)) == int(row['size'])
        data = data_of(server.connect())
        assert data and data[-1][1] <= int(row['size'])
    else:
        ok('nbdcopy', server.uri, tmp_path / 'copy.img')
        digest = hashlib.sha256()
        with open(tmp_path / 'copy.img', 'rb') as file:
            while piece := file.read(MIB):
                digest.update(piece)
        assert digest.hexdigest() == row['virtual_sha256']
    server.stop()
    assert (path.stat().st_mtime_ns, path.stat().st_size) == before


def row_of(path, name):
    """The line of images.tsv."""
    with open(images_folder() / 'images.tsv', encoding='utf-8', newline='') as file:
        rows = {row['file'].rsplit('.', 1)[0]: row for row in csv.DictReader(file, delimiter='\t')}
    assert path.exists()
    return rows[name]


# ---- Chains and logs -----------------------------------------------------------------------------

def test_chain(filled, child, serve, vhdx):
    """A child shows its parents' data, and takes what is written."""
    base = filled()
    middle = child(base, 'middle.avhdx')
    top = child(middle, 'top.avhdx')
    base_before = base.read_bytes()
    server = serve(top)
    handle = server.connect()
    wanted = bytearray(read_all(handle))
    assert hashlib.sha256(wanted).hexdigest() == sha256_of(vhdx, base)
    handle.pwrite(b'x' * 512, 5 * MIB + 512)
    handle.zero(512, 5 * MIB + 1024)
    wanted[5 * MIB + 512:5 * MIB + 1024] = b'x' * 512
    wanted[5 * MIB + 1024:5 * MIB + 1536] = bytes(512)
    assert read_all(handle) == wanted
    handle.shutdown()
    server.stop()
    assert hashlib.sha256(wanted).hexdigest() == sha256_of(vhdx, top)
    assert base.read_bytes() == base_before


def test_parents_are_found_by_parameters(filled, child, serve, vhdx, tmp_path):
    """parent=, search-dir= and map-path=, with paths relative to the folder nbdkit starts in."""
    base = filled()
    path = child(base, 'child.avhdx', '--map-path', 'D:\\VMs=' + str(tmp_path))
    wanted = sha256_of(vhdx, path)
    away = tmp_path / 'away'
    away.mkdir()
    base.rename(away / 'disk.vhdx')
    for parameter in ('parent=../away/disk.vhdx', 'search-dir=../away',
                      'map-path=D:\\VMs=../away'):
        server = serve('../child.avhdx', parameter, options=['-r'])
        assert hashlib.sha256(read_all(server.connect())).hexdigest() == wanted
        server.stop()


def test_parent_may_be_left_out(filled, child, serve):
    """no-parent=true: zeros in place of the parent's data, and nothing can be written."""
    base = filled()
    path = child(base)
    base.unlink()
    handle = serve(path, 'no-parent=true').connect()
    assert handle.is_read_only()
    assert extents_of(handle) == [(0, 64 * MIB, HOLE)]


def test_wrong_parent(filled, child, image, serve, plugin, tmp_path):
    base = filled()
    path = child(base)
    base.unlink()
    image('disk.vhdx')
    done = subprocess.run(nbdkit_command(plugin, path, options=['-U', tmp_path / 's']),
                          stderr=subprocess.PIPE, text=True, timeout=STOP_SECONDS, check=False)
    assert done.returncode == 1 and done.stderr.count('\n') == 1, done
    handle = serve(path, 'any-parent=true', options=['-r']).connect()
    assert handle.pread(512, 0) == bytes(512)


def dirty_image(image, serve):
    """An image whose last change is in its log only."""
    path = image()
    server = serve(path)
    handle = server.connect()
    handle.pwrite(b'x' * 4096, 10 * MIB)
    handle.flush()
    server.kill()
    return path


def test_dirty_log_read_only(image, serve, vhdx):
    """With -r the log is replayed in memory, and the file stays bit-identical."""
    path = dirty_image(image, serve)
    assert log_state(vhdx, path) == 'dirty'
    before = path.read_bytes()
    server = serve(path, options=['-r'])
    assert server.connect().pread(4096, 10 * MIB) == b'x' * 4096
    server.stop()
    assert path.read_bytes() == before


def test_dirty_log_writable(image, serve, vhdx):
    """Without -r the first client makes it clean; a server without clients changes nothing."""
    path = dirty_image(image, serve)
    before = path.read_bytes()
    server = serve(path)
    assert path.read_bytes() == before
    handle = server.connect()
    assert handle.pread(4096, 10 * MIB) == b'x' * 4096
    handle.shutdown()
    server.stop()
    assert log_state(vhdx, path) == 'clean'
