# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx recover: images with parts wiped."""

import os
import shutil
import signal
import struct
import subprocess
import time

import pytest

from recover_support import (HEAD, HEADERS, IDENTIFIER, KIB, MIB, TABLES, Image, bat_bytes, disk,
                             pattern, put_gpt, read_image, same, wipe)


def dynamic(**more):
    """An image of a few blocks, out of order, with a partition table."""
    image = Image(**{'size': 24 * MIB, **more})
    put_gpt(image)
    for block in (5, 2, 9):
        if block < image.blocks:
            image.mark(block, 'x')
    return image


def metadata_of(image):
    """The range of the metadata's table and items."""
    return image.metadata_at, MIB


# ---- Parts wiped, with the metadata there -------------------------------------------------------

@pytest.mark.parametrize('ranges', [
    (), (IDENTIFIER,), (HEADERS,), (TABLES,), (HEADERS, TABLES), (HEAD,)],
    ids=['nothing', 'identifier', 'headers', 'tables', 'headers-tables', 'first-mib'])
def test_head(recover, ranges):
    """What is lost of the header section does not matter to the content."""
    outcome = recover.whole(dynamic(), *ranges)
    assert (outcome.fact('headers')['source'] == 'lost') == (HEADERS in ranges or HEAD in ranges)
    assert outcome.fact('bat')['file-offset'] == 3 * MIB


@pytest.mark.parametrize('shape', [
    {'sector': 4096}, {'block_size': 8 * MIB}, {'block_size': 32 * MIB, 'size': 100 * MIB},
    {'fixed': True}, {'metadata_at': 9 * MIB, 'bat_at': 5 * MIB}, {'log_length': 4 * MIB},
    {'bat_at': 2 * MIB, 'metadata_at': 3 * MIB}],
    ids=['4k', '8m', '32m', 'fixed', 'places', 'log', 'bat-first'])
def test_shapes(recover, shape):
    """Sizes and places of all kinds."""
    image = dynamic(**shape)
    if image.fixed:
        image.fill('x')
    recover.whole(image, HEAD)


def test_chunks(recover):
    """Blocks behind the first sector bitmap's entry."""
    image = Image(size=(5 << 30), block_size=MIB)
    for block in (0, 1, 4095, 4096, 4097, 5000):
        image.mark(block, 'x')
    recover.whole(image, HEAD)


def test_dirty_log(recover):
    """A BAT that only the log holds, with and without a header that tells of it."""
    from vhdximage import LogRing
    for ranges in ((TABLES,), (HEAD,)):
        image = Image('log%d.vhdx' % len(ranges[0]) + str(ranges[0][0]) + '.vhdx', size=8 * MIB)
        image.mark(0, 'x')
        image.mark(3, 'x')
        image.both(log_guid=disk.guid_of(77))
        page = bat_bytes(image).ljust(4096, b'\0')
        image.render().zero(image.bat_at, 4096)
        LogRing(image).add(disk.LogEntry(9, [disk.Data(image.bat_at, page)]))
        outcome = recover.whole(image, *ranges, args=['-y'])
        assert 'replayed' in outcome.fact('log')['evidence']


def test_clean_log_is_not_replayed(recover):
    """Of two sessions in a log without a header, the last of which has reached its place, neither
    is replayed."""
    from vhdximage import LogRing
    image = Image(size=8 * MIB)
    image.mark(0, 'x')
    image.mark(3, 'x')
    image.both(log_guid=disk.guid_of(77))
    page = bat_bytes(image).ljust(4096, b'\0')
    ring = LogRing(image)
    ring.add(disk.LogEntry(9, [disk.Data(image.bat_at, page)]))
    ring.guid = disk.guid_of(78)
    ring.begin(ring.next)
    ring.add(disk.LogEntry(5000, [disk.Data(image.bat_at, bytes(4096))]))
    outcome = recover.whole(image, HEAD)
    assert 'clean' in outcome.fact('log')['evidence']


# ---- Metadata gone ------------------------------------------------------------------------------

@pytest.mark.parametrize('block_size', [MIB, 2 * MIB, 32 * MIB])
@pytest.mark.parametrize('sector', [512, 4096])
def test_no_metadata(recover, block_size, sector):
    """Sizes are concluded from the BAT and the GPT."""
    image = Image(size=6 * block_size + 3 * MIB, block_size=block_size, sector=sector)
    put_gpt(image)
    image.mark(3, 'x')
    image.mark(1, 'x')
    outcome = recover.whole(image, HEAD, metadata_of(image))
    assert outcome.report['block-size'] == block_size
    assert outcome.report['logical-sector-size'] == sector
    assert outcome.fact('metadata')['source'] == 'lost'
    assert outcome.fact('virtual-size')['confidence'] >= 95


def test_no_metadata_with_region_table(recover):
    """The region table still tells where the BAT is."""
    image = dynamic()
    outcome = recover.whole(image, metadata_of(image))
    assert outcome.fact('bat')['source'] == 'intact'


def test_no_metadata_size_by_hint(recover):
    """Without a partition table the end of the disk is a guess, which a hint replaces."""
    image = Image(size=20 * MIB)
    for block in (3, 0, 7):
        image.mark(block, 'x')
    path = recover.save(image, HEAD, metadata_of(image))
    outcome = recover.run(path)
    assert outcome.code == 0 and outcome.report['virtual-size'] == 8 * MIB
    assert outcome.report['confidence'] <= 50
    recover.whole(image, args=['--virtual-size', '20M', '-y'], path=path)


@pytest.mark.parametrize('item', [disk.FILE_PARAMETERS, disk.VIRTUAL_DISK_SIZE,
                                  disk.LOGICAL_SECTOR_SIZE], ids=['parameters', 'size', 'sector'])
def test_damaged_item(recover, item):
    """One item is unreadable: the others are used, and it is concluded."""
    image = dynamic()
    image.metadata.item(item).length = 99
    outcome = recover.whole(image, HEAD)
    assert 'lost' in outcome.fact('metadata')['evidence']


def test_damaged_table(recover):
    """Items are recognised by their GUIDs although the table's header is gone."""
    image = Image(size=20 * MIB)
    image.mark(3, 'x')
    outcome = recover.whole(image, HEAD, (image.metadata_at, 32))
    assert outcome.report['virtual-size'] == 20 * MIB


def test_first_four_mib(recover):
    """Header section, log and metadata gone; the BAT is elsewhere."""
    image = dynamic(bat_at=7 * MIB)
    outcome = recover.whole(image, (0, 4 * MIB))
    assert outcome.report['bat-offset'] == 7 * MIB


# ---- BAT gone -----------------------------------------------------------------------------------

@pytest.mark.parametrize('ranges, args', [
    ((HEAD,), ()), ((), ()), ((HEAD, (2 * MIB, MIB)), ('--fixed',))],
    ids=['head', 'bat', 'metadata'])
def test_fixed_without_bat(recover, ranges, args):
    """The payload of a fixed image is contiguous."""
    image = Image(size=12 * MIB, block_size=2 * MIB, fixed=True)
    image.fill('x')
    put_gpt(image)
    outcome = recover.whole(image, (image.bat_at, MIB), *ranges, args=args)
    assert outcome.fact('payload')['file-offset'] == 4 * MIB


def test_payload_offset(recover):
    """A hint decides where two places are possible."""
    image = Image(size=12 * MIB, block_size=2 * MIB, fixed=True, free_at=6 * MIB)
    image.fill('x')
    image.file.put(4 * MIB + 510, b'\x55\xaa')  # something like a disk before it
    path = recover.save(image, HEAD, (image.bat_at, MIB))
    assert 'payload_offset must be given' in recover.refused(path)
    recover.whole(image, args=['--fixed', '--payload-offset', '6M'], path=path)


def test_dynamic_without_bat(recover):
    """Nothing tells where the blocks belong."""
    image = dynamic()
    assert 'no BAT is found' in recover.refused(recover.save(image, (image.bat_at, MIB)))


def test_empty(recover):
    """An image without a block has no BAT that could be recognised; nor is there anything in it."""
    recover.whole(Image(size=20 * MIB), HEAD)


# ---- What must not be taken for the real thing --------------------------------------------------

def nested():
    """A disk that holds a whole image, at a multiple of 1 MiB, of the same shape."""
    inner = Image('inner.vhdx', size=24 * MIB)
    for block in (0, 4, 2, 7):
        inner.mark(block, 'inner')
    file = inner.render()
    outer = Image('outer.vhdx', size=32 * MIB)
    put_gpt(outer)
    for offset, page in file.pages():
        outer.put(8 * MIB + offset, page)
    outer.mark(3, 'outer')
    return outer


@pytest.mark.parametrize('metadata', [False, True], ids=['with-metadata', 'without'])
def test_image_in_image(recover, metadata):
    """Headers, metadata and BAT of an image within the disk do not win."""
    image = nested()
    ranges = [metadata_of(image)] if metadata else []
    outcome = recover.whole(image, HEAD, *ranges)
    assert outcome.report['bat-offset'] == image.bat_at


@pytest.mark.parametrize('change', ['copy', 'shuffled', 'without-itself'])
def test_bat_in_payload(recover, change):
    """A block whose content is a BAT."""
    image = dynamic()
    image.make_full(6)
    entries = [image.bat.get(i, 0) for i in range(image.bat_entries())]
    if change != 'copy':
        used = [e for e in entries if e]
        entries = [used.pop() if e else 0 for e in entries]
    if change == 'without-itself':
        entries = [0 if e >> 20 == image.place_of(6) >> 20 else e for e in entries]
    image.put(6 * MIB, b''.join(struct.pack('<Q', e) for e in entries))
    outcome = recover.whole(image, HEAD)
    assert outcome.report['bat-offset'] == image.bat_at
    outcome = recover.whole(image, metadata_of(image), args=['-y'],
                            path=os.path.join(recover.folder, image.name))


def test_signature_in_payload(recover):
    """The word at the beginning of a block is no metadata."""
    image = dynamic()
    image.put(7 * MIB, b'metadata\0\0\5\0' + pattern('x', 4084))
    recover.whole(image, HEAD)


def test_two_bats(recover):
    """Two equally good BATs: none is chosen, a hint decides."""
    image = Image(size=8 * MIB, bat_at=4 * MIB, free_at=5 * MIB)
    for block in (1, 3, 4):
        image.mark(block, 'x')
    used = [e for e in image.bat.values() if e]
    other = {1: used[2], 3: used[0], 4: used[1]}
    for index, entry in other.items():
        image.file.put(3 * MIB + 8 * index, struct.pack('<Q', entry))
    path = recover.save(image, HEAD)
    text = recover.refused(path)
    assert '0x300000' in text and '0x400000' in text and '--bat-offset' in text
    recover.whole(image, args=['--bat-offset', '4M'], path=path)


def test_two_block_sizes(recover):
    """Blocks far apart: their size is not to be told."""
    image = Image(size=64 * MIB, block_size=2 * MIB)
    image.make_full(0, 8 * MIB)
    image.make_full(9, 16 * MIB)
    image.put(0, pattern('x', 4096))
    image.put(18 * MIB, pattern('y', 4096))
    image.file.size = 32 * MIB
    path = recover.save(image, HEAD, metadata_of(image))
    assert 'block_size must be given' in recover.refused(path)
    recover.whole(image, args=['--block-size', '2M', '--virtual-size', '64M'], path=path)


def test_metadata_beats_guesses(recover):
    """The same with metadata that says how large they are: nothing is to be guessed."""
    image = Image(size=64 * MIB, block_size=2 * MIB)
    image.make_full(0, 8 * MIB)
    image.put(0, pattern('x', 4096))
    image.file.size = 400 * MIB
    recover.whole(image, HEAD)


# ---- Losses -------------------------------------------------------------------------------------

def test_truncated(recover):
    """Blocks past the end of the file are lost, and nothing else; what is made up does not pass for
    them."""
    image = Image(size=24 * MIB)
    for block in (0, 1, 8, 5):
        image.mark(block, 'x', 1 << 20)
    path = recover.save(image, HEAD)
    cut = image.place_of(8) + 300 * KIB
    os.truncate(path, cut)
    outcome = recover.run(path)
    lost = [(5 * MIB, 6 * MIB), (8 * MIB + 300 * KIB, 9 * MIB)]
    assert (outcome.code, outcome.lost()) == (3, lost)
    assert outcome.report['lost-bytes'] == 2 * MIB - 300 * KIB
    assert same(outcome.out, image.content, lost)


def family():
    """A parent and a child."""
    parent = Image('base.vhdx', size=8 * MIB)
    for block in (0, 2, 3):
        parent.mark(block, 'parent')
    child = Image('child.vhdx', size=8 * MIB, parent=parent)
    child.put_sectors(2 * MIB, pattern('child', 8192))
    child.put(5 * MIB, pattern('child', 4096))
    return parent, child


def test_child(recover):
    """The parent is found by the locator."""
    _, child = family()
    outcome = recover.whole(child, HEAD)
    assert outcome.report['type'] == 'differencing'


def test_child_without_parent(recover):
    """What the parent should supply is lost."""
    _, child = family()
    path = recover.save(child, HEAD)
    os.rename(os.path.join(recover.folder, 'base.vhdx'),
              os.path.join(recover.folder, 'elsewhere'))
    outcome = recover.run(path)
    lost = [(0, 2 * MIB), (2 * MIB + 8192, 5 * MIB), (6 * MIB, 8 * MIB)]
    assert (outcome.code, outcome.lost()) == (3, lost)
    assert same(outcome.out, child.content, lost)


def test_child_without_metadata(recover):
    """A partially present block tells that there was a parent; a given one is taken."""
    _, child = family()
    path = recover.save(child, HEAD, metadata_of(child))
    outcome = recover.run(path, '--virtual-size', '8M')
    assert outcome.code == 3 and outcome.fact('parent')['source'] == 'lost'
    assert outcome.lost() == [(0, 2 * MIB), (2 * MIB + 8192, 5 * MIB), (6 * MIB, 8 * MIB)]
    recover.whole(child, path=path, args=[
        '-y', '--virtual-size', '8M', '--any-parent', '--parent',
        os.path.join(recover.folder, 'base.vhdx')])


# ---- Output, and what is no image ---------------------------------------------------------------

@pytest.mark.parametrize('sector', [512, 4096])
def test_vhdx_output(recover, sector):
    """A new image, valid to a strict reader, without what is zero."""
    image = dynamic(sector=sector)
    image.make_full(7)
    path = recover.save(image, HEAD)
    outcome = recover.run(path, '-O', 'vhdx', out='new.vhdx')
    assert outcome.code == 0
    content = read_image(outcome.out)
    assert content.size == image.size
    assert dict(content.pages()) == dict(image.content.pages())
    assert os.path.getsize(outcome.out) < os.path.getsize(path)


def test_dry_run(recover):
    """Nothing is written."""
    assert recover.run(recover.save(dynamic(), HEAD), '-n').code == 0


def test_onto_itself(recover, vhdx):
    """The image is no output, and what exists is not replaced unasked."""
    path = recover.save(dynamic(), HEAD)
    with open(path, 'rb') as file:
        before = file.read()
    done = vhdx('recover', '-y', path, path)
    assert done.code == 1 and 'input' in done.err
    with open(path, 'rb') as file:
        assert file.read() == before
    other = os.path.join(recover.folder, 'other')
    with open(other, 'w', encoding='utf-8') as file:
        file.write('mine')
    done = vhdx('recover', path, other)
    assert done.code == 1 and '-y replaces' in done.err
    with open(other, encoding='utf-8') as file:
        assert file.read() == 'mine'


@pytest.mark.parametrize('content', [b'', b'x', bytes(MIB), bytes(5 * MIB),
                                     pattern('noise', 6 * MIB),
                                     b'A VHDX image is what this text is not.\n' * 100000],
                         ids=['empty', 'byte', 'mib', 'zeros', 'noise', 'text'])
def test_no_image(recover, content):
    """Files that hold nothing of an image."""
    path = os.path.join(recover.folder, 'file')
    with open(path, 'wb') as file:
        file.write(content)
    text = recover.refused(path)
    assert 'VHDX image' in text
    assert recover.refused(path, '--block-size', '3M').startswith('vhdx: invalid argument')


def test_only_the_identifier(recover):
    """An image of which nothing but the identifier is left."""
    path = recover.save(dynamic())
    size = os.path.getsize(path)
    wipe(path, (512, size - 512))
    assert 'no BAT is found' in recover.refused(path)


# ---- Real images --------------------------------------------------------------------------------

REAL = {
    'iotest-dynamic-1G.vhdx.bz2': 'd3d112d8dab7fd36', 'vhdx-log-replay.vhdx.gz': '3ba3b309425b7ff5',
    'btrfs.vhdx.gz': '0b959f9cb4e18348', 'ntfs-fixed.vhdx.xz': '5237dd895f380523',
    'config2_base.vhdx.bz2': 'afce9cca367ebfa9',
    'fattools-dynamic-4096.vhdx.gz': '2f59d9a72d9d2779',
    'ntfs-differential.vhdx.xz': '1ef1fb5360247aa7', 'test-disk2vhd.vhdx.bz2': '96d964042be9b58d'}


@pytest.mark.parametrize('name', REAL)
def test_real(recover, unpacked, vhdx, name):
    """Real images without their first MiB."""
    if 'differential' in name:
        shutil.copy(unpacked('ntfs-parent.vhdx.xz'), recover.folder)
    path = shutil.copy(unpacked(name), recover.folder)
    os.chmod(path, 0o600)
    wipe(path, HEAD)
    outcome = recover.run(path, '-O', 'vhdx', out='new.vhdx')
    assert outcome.code == 0, outcome.err
    assert vhdx.ok('hash', outcome.out, bounded=False).decode().startswith(REAL[name])


# ---- Interrupted --------------------------------------------------------------------------------

@pytest.mark.parametrize('form', ['raw', 'vhdx'])
def test_interrupted(recover, vhdx, form):
    """A signal ends it, and leaves neither an output nor a temporary file."""
    if len(vhdx.command) > 1:
        pytest.skip('the signal would hit the emulator')
    image = Image(size=1 << 30, block_size=32 * MIB)
    image.fill('x')
    path = recover.save(image, HEAD)
    with open(path, 'r+b') as file:  # enough of it is data to take a while
        for at in range(40 * MIB, 1000 * MIB, 8192):
            file.seek(at)
            file.write(b'x')
    before = sorted(os.listdir(recover.folder))
    out = os.path.join(recover.folder, 'out')
    with subprocess.Popen([*vhdx.command, 'recover', '-p', '-O', form, path, out],
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while sorted(os.listdir(recover.folder)) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == -signal.SIGINT
    assert sorted(os.listdir(recover.folder)) == before
