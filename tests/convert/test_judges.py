# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Outputs in the eyes of other programs: qemu-img, libvhdi, 7-Zip; and of VHD's specification, by a
parser of the footer that shares nothing with the library."""

import hashlib
import json
import struct

import pytest

from convert_support import MIB, padded, run, same_pages, scatter, sha256_of_file
from environment import missing, program
# pylint: disable=wrong-import-order
import corpus
from sparsebytes import pages_of_file

try:
    import pyvhdi
except ImportError:
    pyvhdi = None

FIXED = ['-o', 'subformat=fixed']
KINDS = {'dynamic-1m': ['-o', 'block_size=1M'], 'dynamic-32m': ['-o', 'block_size=32M'],
         'dynamic-256m': ['-o', 'block_size=256M'], 'fixed': FIXED,
         'falloc': [*FIXED, '--preallocation', 'falloc'],
         'full': [*FIXED, '--preallocation', 'full'],
         'no-sparse': ['--no-sparse'], 'one-thread': ['-m', '1']}
SIZE = 21 * MIB


@pytest.fixture(params=KINDS)
def converted(request, vhdx, tmp_path):
    """(raw file, image, disk)."""
    disk = scatter(SIZE, seed=77)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', *KINDS[request.param], tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    return tmp_path / 'a.raw', tmp_path / 'b.vhdx', disk


# ---- VHDX ----------------------------------------------------------------------------------------

def test_qemu(converted):
    """Nothing to complain, and the same content."""
    raw, image, _ = converted
    qemu = program('qemu-img')
    run(qemu, 'check', '-f', 'vhdx', image)
    run(qemu, 'compare', '-f', 'raw', '-F', 'vhdx', raw, image)
    info = json.loads(run(qemu, 'info', '--output=json', '-f', 'vhdx', image))
    assert info['virtual-size'] == SIZE
    assert not info.get('dirty-flag')


def test_libvhdi(converted):
    """The same content."""
    _, image, disk = converted
    if pyvhdi is None:
        missing('pyvhdi (python3-libvhdi) is not installed')
    same_in_libvhdi(image, disk)
    run(program('vhdiinfo'), image)


def same_in_libvhdi(path, disk):
    """Reads everything."""
    file = pyvhdi.file()
    file.open(str(path))
    assert file.get_media_size() == disk.size
    digest = hashlib.sha256()
    for at in range(0, disk.size, MIB):
        digest.update(file.read(min(MIB, disk.size - at)))
    file.close()
    assert digest.hexdigest() == disk.sha256()


def test_7zip(converted):
    """The same content."""
    _, image, disk = converted
    run(program('7zz'), 't', '-tVHDX', image)
    found = run(program('7zz'), 'e', '-so', '-tVHDX', image)
    assert hashlib.sha256(found).hexdigest() == disk.sha256()


@pytest.mark.parametrize('sector', [512, 4096])
def test_4096_byte_sectors(vhdx, tmp_path, sector):
    """libvhdi and 7-Zip read these, too."""
    if pyvhdi is None:
        missing('pyvhdi (python3-libvhdi) is not installed')
    disk = scatter(SIZE, seed=5)
    disk.save(tmp_path / 'a.raw')
    image = tmp_path / 'b.vhdx'
    vhdx.ok('convert', '-q', '-o', 'logical_sector_size=%d' % sector, tmp_path / 'a.raw', image)
    same_in_libvhdi(image, disk)
    found = run(program('7zz'), 'e', '-so', '-tVHDX', image)
    assert hashlib.sha256(found).hexdigest() == disk.sha256()


@pytest.mark.parametrize('name', ['matrix_differencing_512_2m', 'log_wrapped_sequence',
                                  'soft_anchors'])
def test_flattened_chains_in_qemu(vhdx, tmp_path, name):
    """Which reads no chains itself."""
    made = corpus.GOOD[name].build()
    path = made.save(str(tmp_path))
    vhdx.ok('convert', '-q', path, tmp_path / 'out.vhdx')
    run(program('qemu-img'), 'check', '-f', 'vhdx', tmp_path / 'out.vhdx')
    run(program('qemu-img'), 'convert', '-f', 'vhdx', '-O', 'raw', tmp_path / 'out.vhdx',
        tmp_path / 'out.raw')
    same_pages(pages_of_file(tmp_path / 'out.raw'), made.content.pages())


# ---- Other formats, through qemu-nbd -------------------------------------------------------------

@pytest.mark.parametrize('kind', ['qcow2', 'vmdk', 'vdi'])
def test_foreign_formats(vhdx, tmp_path, kind):
    """To one of them and back, checked by qemu-img."""
    program('qemu-nbd')
    disk = scatter(SIZE, seed=6)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    foreign = tmp_path / ('c.' + kind)
    vhdx.ok('convert', '-q', tmp_path / 'b.vhdx', foreign)
    info = json.loads(run(program('qemu-img'), 'info', '--output=json', foreign))
    assert (info['format'], info['virtual-size']) == (kind, SIZE)
    run(program('qemu-img'), 'compare', '-f', 'raw', '-F', kind, tmp_path / 'a.raw', foreign)
    vhdx.ok('convert', '-q', foreign, tmp_path / 'd.vhdx')
    run(program('qemu-img'), 'compare', '-f', 'raw', '-F', 'vhdx', tmp_path / 'a.raw',
        tmp_path / 'd.vhdx')


# ---- VHD -----------------------------------------------------------------------------------------

def geometry(sectors):
    """CHS by the appendix of the VHD specification."""
    if sectors > 65535 * 16 * 255:
        sectors = 65535 * 16 * 255
    if sectors >= 65535 * 16 * 63:
        per_track, heads, rest = 255, 16, sectors // 255
        return rest // heads, heads, per_track
    per_track, rest = 17, sectors // 17
    heads = max((rest + 1023) // 1024, 4)
    if rest >= heads * 1024 or heads > 16:
        per_track, heads, rest = 31, 16, sectors // 31
    if rest >= heads * 1024:
        per_track, heads, rest = 63, 16, sectors // 63
    return rest // heads, heads, per_track


def check_footer(footer, size):
    """Every field of a fixed disk's footer."""
    assert len(footer) == 512
    (cookie, features, version, data_offset, _, _, _, _, original, current, cylinders, heads,
     per_track, kind, checksum, unique, saved) = struct.unpack('>8sIIQI4sI4sQQHBBII16sB',
                                                               footer[:85])
    assert cookie == b'conectix'
    assert features == 2, 'reserved, always set'
    assert version == 0x10000
    assert data_offset == 0xFFFFFFFFFFFFFFFF, 'fixed disks have none'
    assert original == current == size
    assert (cylinders, heads, per_track) == geometry(size // 512)
    assert kind == 2, 'fixed'
    blank = footer[:64] + bytes(4) + footer[68:]
    assert checksum == ~sum(blank) & 0xFFFFFFFF
    assert unique != bytes(16) and saved == 0
    assert footer[85:] == bytes(427)


VHD_SIZES = [512, MIB, 21 * MIB, 21 * MIB + 512, 33 * MIB + 12345]


@pytest.mark.parametrize('azure', [False, True], ids=['plain', 'azure'])
@pytest.mark.parametrize('size', VHD_SIZES)
def test_vhd(vhdx, tmp_path, size, azure):
    """The disk, and behind it a footer that qemu-img takes at its word."""
    disk = scatter(size, seed=8)
    disk.save(tmp_path / 'a.raw')
    out = tmp_path / 'b.vhd'
    vhdx.ok('convert', '-q', *(['-O', 'vhd', '--azure'] if azure else []), tmp_path / 'a.raw', out)
    whole = padded(disk, MIB if azure else 512)
    data = out.read_bytes()
    assert len(data) == whole.size + 512
    check_footer(data[-512:], whole.size)
    assert hashlib.sha256(data[:-512]).hexdigest() == whole.sha256()
    image = 'driver=vpc,file.filename=%s,force_size_calc=current_size' % out
    info = json.loads(run(program('qemu-img'), 'info', '--output=json', '--image-opts', image))
    assert (info['format'], info['virtual-size']) == ('vpc', whole.size)
    if size % 512 == 0:
        run(program('qemu-img'), 'compare', '--image-opts', image,
            'driver=raw,file.filename=%s' % (tmp_path / 'a.raw'))


@pytest.mark.parametrize('size', [512 * 16 * 1024 * 17 - 512, 512 * 16 * 1024 * 17,
                                  512 * 16 * 1024 * 31, 512 * 16 * 1024 * 63,
                                  512 * 65535 * 16 * 63 - 512, 512 * 65535 * 16 * 63,
                                  512 * 65535 * 16 * 255, 200 << 30])
def test_geometries(vhdx, tmp_path, size):
    """Around each of the algorithm's limits, on empty disks."""
    with open(tmp_path / 'a.raw', 'wb') as file:
        file.truncate(size)
    vhdx.ok('convert', '-q', '-O', 'vhd', tmp_path / 'a.raw', tmp_path / 'b.vhd')
    with open(tmp_path / 'b.vhd', 'rb') as file:
        file.seek(size)
        check_footer(file.read(), size)


def test_vhds_differ(vhdx, tmp_path):
    """Each has an identifier of its own."""
    scatter(MIB).save(tmp_path / 'a.raw')
    for name in ('b.vhd', 'c.vhd'):
        vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / name)
    assert (tmp_path / 'b.vhd').read_bytes()[-444:-428] != \
        (tmp_path / 'c.vhd').read_bytes()[-444:-428]


def test_vhd_others_read(vhdx, tmp_path):
    """libvhdi and 7-Zip."""
    if pyvhdi is None:
        missing('pyvhdi (python3-libvhdi) is not installed')
    disk = scatter(SIZE, seed=10)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhd')
    same_in_libvhdi(tmp_path / 'b.vhd', disk)
    found = run(program('7zz'), 'e', '-so', '-tVHD', tmp_path / 'b.vhd')
    assert hashlib.sha256(found).hexdigest() == disk.sha256()


def test_vhd_and_back(vhdx, tmp_path):
    """A fixed VHD as the input, ours and qemu-img's."""
    program('qemu-nbd')
    disk = scatter(SIZE, seed=11)
    disk.save(tmp_path / 'a.raw')
    vhdx.ok('convert', '-q', tmp_path / 'a.raw', tmp_path / 'b.vhd')
    run(program('qemu-img'), 'convert', '-f', 'raw', '-O', 'vpc', '-o',
        'subformat=fixed,force_size=on', tmp_path / 'a.raw', tmp_path / 'q.vhd')
    for name in ('b.vhd', 'q.vhd'):
        vhdx.ok('convert', '-q', '-O', 'raw', '-f', 'vpc', tmp_path / name,
                tmp_path / (name + '.raw'))
        assert sha256_of_file(tmp_path / (name + '.raw')) == disk.sha256(), name


def test_vhd_as_large_as_everybody_takes_it(vhdx, tmp_path):
    """2040 GiB."""
    with open(tmp_path / 'a.raw', 'wb') as file:
        file.truncate(2040 << 30)
    vhdx.ok('convert', '-q', '-O', 'vhd', '--azure', tmp_path / 'a.raw', tmp_path / 'b.vhd')
    with open(tmp_path / 'b.vhd', 'rb') as file:
        file.seek(2040 << 30)
        check_footer(file.read(), 2040 << 30)


def test_vhd_larger_than_azure_takes_it(vhdx, tmp_path):
    """A disk of Azure ends at 4095 GiB of a generation 2 machine, or at 32767 GiB as data."""
    vhdx.ok('create', '-q', tmp_path / 'a.vhdx', '64T')
    assert vhdx.fails('convert', '-q', '-O', 'vhd', '--azure', tmp_path / 'a.vhdx',
                      tmp_path / 'b.vhd')
    assert not (tmp_path / 'b.vhd').exists()
