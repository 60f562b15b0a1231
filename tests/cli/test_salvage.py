# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx convert --salvage: what is left of damaged images, and what is told of the rest.

What is lost is worked out here from how the images were made, or from their tables by the reference
reader; the map file is read back, also by ddrescue.
"""

import json
import os
import shutil
import struct
import subprocess

import pytest

pytest.register_assert_rewrite('salvage_support')

# pylint: disable=wrong-import-position
from cli_support import CHILD_SHA256, MIB, PARENT  # noqa: E402

TRUNCATED = 'MSEdge-Win10_preview_truncated.vhdx'


@pytest.fixture
def lib():
    """The modules of tests/lib, which conftest.py makes known."""
    # pylint: disable=import-outside-toplevel
    import corpus  # noqa: F401  first: the modules below register with it
    import good_chains
    import good_logs
    import salvage_support
    import vhdxdisk
    import vhdximage
    import vhdxref

    assert corpus.GOOD

    class Modules:
        """All of them."""
        disk, image, ref, support = vhdxdisk, vhdximage, vhdxref, salvage_support
        chains, logs = good_chains, good_logs
    return Modules


@pytest.fixture
def salvage(vhdx, tmp_path, lib):
    """Runs it, and judges what it leaves."""
    return lib.support.Salvage(vhdx, tmp_path)


def block(number, size=MIB):
    """The (start, end) of a block of the disk."""
    return number * size, (number + 1) * size


@pytest.fixture
def sample(lib):
    """A function that builds an image with data in blocks 0, 2, 3 and the last."""
    def build(**fields):
        image = lib.image.Image(**fields)
        for number in (0, 2, 3, image.blocks - 1):
            image.mark(number, 'sample')
        return image
    return build


@pytest.fixture
def family(lib):
    """A function that builds a child, whose parent has data in every block. Of the child are block
    3, and a part of blocks 1 and 5."""
    def build(**fields):
        child = lib.chains.child_of(lib.chains.full_base(), **fields)
        child.put_sectors(MIB + 512, lib.image.pattern('one', 1024))
        child.mark(3, 'child')
        child.put_sectors(5 * MIB, lib.image.pattern('five', 512))
        return child
    return build


# ---- Real images ---------------------------------------------------------------------------------

def test_the_truncated_image(salvage, unpacked, lib):
    """Every present block lies past the end of the file; all others are zeros."""
    path = unpacked(TRUNCATED)
    image = lib.ref.Image(path)
    lost = []
    for number in range(image.blocks):
        entry = image.bat.get(number + number // image.ratio, 0)
        start, end = block(number, image.block_size)
        kept = max(image.file.size - (entry >> 20 << 20), 0)
        if entry & 7 == lib.ref.FULL and kept < image.block_size:
            lost.append((start + kept, min(end, image.size)))
    assert sum(end - start for start, end in lost) == 11844714496
    done = salvage.expect(path, lost, lib.image.SparseBytes(image.size))
    image.close()
    first, second = done.stdout.splitlines()[:2]
    assert first == f'{path}: lost: 11844714496 bytes of the disk (11 GiB), which are zeros in ' \
                    f'{salvage.output}'
    assert second == '    disk: offset 0, length 8959033344 (8.34 GiB)'


@pytest.mark.parametrize('name', ['vhdx-log-replay.vhdx', PARENT, 'fattools-dynamic-4096.vhdx'])
def test_whole_images_lose_nothing(vhdx, salvage, unpacked, lib, tmp_path, name):
    path = unpacked(name)
    vhdx.ok('convert', path, tmp_path / 'whole')
    done = salvage.expect(path, [], lib.support.content_of(tmp_path / 'whole'))
    assert done.stdout == f'{path}: nothing is lost\nmap file: {salvage.map}\n'


def test_a_whole_chain(vhdx, salvage, pair, can_hash):
    salvage.expect(pair[0], [], None)
    if can_hash:
        digest = subprocess.run(['sha256sum', salvage.output], stdout=subprocess.PIPE, check=True)
        assert digest.stdout.decode().split()[0] == CHILD_SHA256
    assert vhdx.ok('chain', pair[0])


# ---- Every kind of loss --------------------------------------------------------------------------

def lose(image, number, entry):
    """Another entry for a block."""
    image.bat[image.payload_index(number)] = entry


@pytest.mark.parametrize('fields', [{}, {'sector': 4096}, {'fixed': True}, {'log_length': 2 * MIB},
                                    {'block_size': 2 * MIB, 'size': 16 * MIB}])
def test_a_block_past_the_end(salvage, sample, lib, tmp_path, fields):
    image = sample(**fields)
    lose(image, 2, lib.disk.bat_entry(lib.disk.FULL, 5000))
    done = salvage.expect(image.save(tmp_path), [block(2, image.block_size)], image.content)
    assert 'mended in memory: 1 error of the image' in done.stdout


def test_a_block_that_is_cut_off(salvage, sample, tmp_path):
    """What there is of it is saved."""
    image = sample()
    image.render().resize(image.place_of(7) + 300 * 1024 + 512)
    salvage.expect(image.save(tmp_path), [(7 * MIB + 300 * 1024 + 512, 8 * MIB)], image.content)


def test_the_last_block_of_an_odd_disk(salvage, lib, tmp_path):
    """Lost is what the disk has of it, no more."""
    image = lib.image.Image(size=4 * MIB - 1536)
    image.mark(0, 'odd')
    image.mark(3, 'odd')
    lose(image, 3, lib.disk.bat_entry(lib.disk.FULL, 5000))
    salvage.expect(image.save(tmp_path), [(3 * MIB, 4 * MIB - 1536)], image.content)


def test_a_bad_state(salvage, sample, tmp_path):
    image = sample()
    lose(image, 3, image.place_of(2) | 4)
    salvage.expect(image.save(tmp_path), [block(3)], image.content)


def test_a_bad_state_at_a_good_place(salvage, sample, tmp_path):
    """The block is there."""
    image = sample()
    image.bat[image.payload_index(3)] = image.place_of(3) | 4
    salvage.expect(image.save(tmp_path), [], image.content)


def test_two_blocks_at_one_place(salvage, sample, tmp_path):
    """The first one keeps it."""
    image = sample()
    lose(image, 5, image.bat[image.payload_index(2)])
    salvage.expect(image.save(tmp_path), [block(5)], image.content)


@pytest.mark.parametrize('place', [0, 1, 2, 3])
def test_a_block_on_another_structure(salvage, sample, lib, tmp_path, place):
    """The header section, the log, metadata, the BAT."""
    image = sample()
    lose(image, 5, lib.disk.bat_entry(lib.disk.FULL, place))
    salvage.expect(image.save(tmp_path), [block(5)], image.content)


def test_losses_side_by_side_are_joined(salvage, sample, lib, tmp_path):
    image = sample()
    for number in (2, 3, 5):
        lose(image, number, lib.disk.bat_entry(lib.disk.FULL, 5000 + number))
    done = salvage.expect(image.save(tmp_path), [(2 * MIB, 4 * MIB), block(5)], image.content)
    assert done.stdout.splitlines()[1:3] == [
        '    disk: offset 2097152, length 2097152 (2 MiB)',
        '    disk: offset 5242880, length 1048576 (1 MiB)']


@pytest.mark.parametrize('which', [0, 1])
def test_a_bad_header_loses_nothing(salvage, sample, lib, tmp_path, which):
    image = sample()
    image.render().put(lib.disk.HEADER_AT[which] + 100, b'\xff')
    done = salvage.expect(image.save(tmp_path), [], image.content)
    assert ': nothing is lost\nmended in memory: 1 error' in done.stdout


@pytest.mark.parametrize('which', [0, 1])
def test_a_bad_region_table_loses_nothing(salvage, sample, lib, tmp_path, which):
    image = sample()
    image.render().put(lib.disk.REGION_TABLE_AT[which], b'\xff')
    salvage.expect(image.save(tmp_path), [], image.content)


def test_a_dirty_log_loses_nothing(salvage, lib, tmp_path):
    image = lib.logs.dirty()
    lib.logs.log_bat(image)
    salvage.expect(image.save(tmp_path), [], image.content)


def test_a_dirty_log_of_a_damaged_image(salvage, lib, tmp_path):
    """The entry that is wrong is in the log."""
    image = lib.logs.dirty()
    lose(image, 3, lib.disk.bat_entry(lib.disk.FULL, 5000))
    lib.logs.log_bat(image)
    salvage.expect(image.save(tmp_path), [block(3)], image.content)


# ---- Chains --------------------------------------------------------------------------------------

def test_what_a_child_loses_is_not_the_parents(salvage, family, lib, tmp_path):
    """Block 3 of the child was the child's: what its parent had there is long outdated."""
    child = family()
    lose(child, 3, lib.disk.bat_entry(lib.disk.FULL, 5000))
    salvage.expect(child.save(tmp_path), [block(3)], child.content)


def test_a_partial_block_past_the_end(salvage, family, lib, tmp_path):
    """Which of its sectors were the parent's is known, but not what the others held."""
    child = family()
    lose(child, 1, lib.disk.bat_entry(lib.disk.PARTIAL, 5000))
    path = child.save(tmp_path)
    done = salvage.run(path)
    assert done.returncode == lib.support.LOST
    (start, end), = lib.support.read_map(salvage.map, child.size)
    assert MIB <= start <= MIB + 512 and MIB + 1536 <= end <= 2 * MIB
    salvage.judge_content(child.content, [(start, end)])


def test_a_missing_bitmap(salvage, family, tmp_path):
    """Nobody knows which sectors are the child's."""
    child = family()
    child.bat.pop(child.bitmap_index(0))
    salvage.expect(child.save(tmp_path), [block(1), block(5)], child.content)


def test_a_bitmap_past_the_end(salvage, family, lib, tmp_path):
    child = family()
    child.bat[child.bitmap_index(0)] = lib.disk.bat_entry(lib.disk.BITMAP_PRESENT, 5000)
    salvage.expect(child.save(tmp_path), [block(1), block(5)], child.content)


HOLES = [(0, MIB + 512), (MIB + 1536, 3 * MIB), (4 * MIB, 5 * MIB), (5 * MIB + 512, 8 * MIB)]


def test_a_missing_parent(salvage, family, tmp_path):
    """What it should supply is lost, not zero."""
    child = family()
    path = child.save(tmp_path)
    os.unlink(tmp_path / 'base.vhdx')

    def is_fine(text):
        lines = text.splitlines()
        assert lines[0].startswith(f'vhdx: warning: {path}: what a parent should supply is lost: ')
        assert any('base.vhdx' in line for line in lines)
        assert lines[-1].startswith('vhdx: hint: name the parent with --parent FILE')
        return True
    salvage.expect(path, HOLES, child.content, stderr=is_fine)


def test_a_parent_that_does_not_match(salvage, family, tmp_path):
    child = family()
    path = child.save(tmp_path)
    with open(tmp_path / 'base.vhdx', 'r+b') as file:
        header = bytearray(os.pread(file.fileno(), 4096, 128 << 10))
        header[40] ^= 1
        header[4:8] = bytes(4)
        from crc32c import crc32c # pylint: disable=import-outside-toplevel
        header[4:8] = struct.pack('<I', crc32c(bytes(header)))
        os.pwrite(file.fileno(), header, 128 << 10)
    salvage.expect(path, HOLES, child.content, stderr=lambda text: 'warning: ' in text)


def test_a_parent_elsewhere(salvage, family, tmp_path):
    child = family()
    path = child.save(tmp_path)
    (tmp_path / 'far').mkdir()
    os.rename(tmp_path / 'base.vhdx', tmp_path / 'far' / 'other.vhdx')
    salvage.expect(path, [], child.content, '--search-dir', tmp_path / 'far')
    salvage.expect(path, [], child.content, '--parent', tmp_path / 'far' / 'other.vhdx', '-y')


def test_a_damaged_parent(salvage, family, lib, tmp_path):
    """A block that the parent has lost, where the child needs it."""
    child = family()
    base = child.parent
    lose(base, 1, lib.disk.bat_entry(lib.disk.FULL, 5000))
    lose(base, 3, lib.disk.bat_entry(lib.disk.FULL, 6000))
    salvage.expect(child.save(tmp_path), [(MIB, MIB + 512), (MIB + 1536, 2 * MIB)], child.content)


# ---- A failing disk ------------------------------------------------------------------------------

@pytest.fixture(params=['short', 'whole'])
def failing(request):
    """A function that gives the environment in which reads fail: (path, file offset, length)."""
    module = os.environ.get('VHDX_FAIL_READS')
    if not module:
        pytest.skip('reads cannot be made to fail in this build')

    def environment(*bad):
        env = {'LD_PRELOAD': module,
               'FAIL_READS': ':'.join(f'{path}@{offset}+{length}' for path, offset, length in bad)}
        if request.param == 'whole':
            env['FAIL_READS_WHOLE'] = '1'
        return env
    return environment


def test_unreadable_data(salvage, sample, failing, tmp_path):
    """Sector by sector: at the edges of a block, inside it, across two."""
    image = sample()
    path = image.save(tmp_path)
    at = image.place_of
    assert at(3) == at(2) + MIB
    env = failing((path, at(0), 512), (path, at(2) + 4096, 1536), (path, at(3) - 1024, 2048),
                  (path, at(7) + MIB - 512, 512))
    salvage.expect(path, [(0, 512), (2 * MIB + 4096, 2 * MIB + 5632),
                          (3 * MIB - 1024, 3 * MIB + 1024), (8 * MIB - 512, 8 * MIB)],
                   image.content, env=env)


def test_an_unreadable_byte_costs_its_sector(salvage, sample, failing, tmp_path):
    image = sample()
    path = image.save(tmp_path)
    env = failing((path, image.place_of(2) + 8191, 1))
    salvage.expect(path, [(2 * MIB + 7680, 2 * MIB + 8192)], image.content, env=env)


def test_a_wholly_unreadable_block(salvage, sample, failing, tmp_path):
    image = sample()
    path = image.save(tmp_path)
    env = failing((path, image.place_of(2), MIB))
    salvage.expect(path, [block(2)], image.content, env=env)


def test_an_unreadable_bat_sector(salvage, lib, failing, tmp_path):
    """Of 64 entries: also blocks that were no part of the file are lost, as nobody knows that."""
    image = lib.image.Image(size=100 * MIB)
    for number in (0, 63, 64, 70, 99):
        image.mark(number, 'bat')
    path = image.save(tmp_path)
    env = failing((path, image.bat_at + 512, 512))
    salvage.expect(path, [(64 * MIB, 100 * MIB)], image.content, env=env)
    env = failing((path, image.bat_at, 512))
    salvage.expect(path, [(0, 64 * MIB)], image.content, '-y', env=env)


def test_an_unreadable_bat_sector_of_a_child(salvage, lib, failing, tmp_path):
    """The parent must not shine through."""
    base = lib.chains.full_base(size=100 * MIB)
    child = lib.chains.child_of(base)
    child.mark(0, 'child')
    child.mark(70, 'child')
    path = child.save(tmp_path)
    env = failing((path, child.bat_at + 512, 512))
    salvage.expect(path, [(64 * MIB, 100 * MIB)], child.content, env=env)


def test_an_unreadable_bat_is_in_the_log(salvage, lib, failing, tmp_path):
    """What the log holds need not be read from its place."""
    image = lib.logs.dirty()
    lib.logs.log_bat(image)
    path = image.save(tmp_path)
    env = failing((path, image.bat_at, 4096))
    salvage.expect(path, [], image.content, env=env)


def test_an_unreadable_bitmap(salvage, lib, failing, tmp_path):
    """512 bytes of it tell of 4096 sectors, in a block of 65536."""
    base = lib.image.Image('base.vhdx', size=64 * MIB, block_size=32 * MIB)
    base.mark(0, 'base', 8 * MIB)
    base.mark(1, 'base')
    child = lib.image.Image('child.vhdx', size=64 * MIB, block_size=32 * MIB, parent=base)
    child.put_sectors(0, lib.image.pattern('first', 1024))
    child.put_sectors(3 * MIB, lib.image.pattern('hurt', 1024))
    child.put_sectors(30 * MIB, lib.image.pattern('last', 1024))
    path = child.save(tmp_path)
    bitmap = child.bat[child.bitmap_index(0)] >> 20 << 20
    env = failing((path, bitmap + 512, 512))
    salvage.expect(path, [(2 * MIB, 4 * MIB)], child.content, env=env)


def test_unreadable_bits_of_blocks_that_need_none(salvage, family, failing, tmp_path):
    """The first sector of the bitmap tells of blocks 0 and 1; 0 is not in the child."""
    child = family()
    path = child.save(tmp_path)
    bitmap = child.bat[child.bitmap_index(0)] >> 20 << 20
    env = failing((path, bitmap, 512))
    salvage.expect(path, [block(1)], child.content, env=env)
    env = failing((path, bitmap + 3 * 512, 512 * 2045)) # blocks 6 and 7, and beyond the disk
    salvage.expect(path, [], child.content, '-y', env=env)


def test_unreadable_sectors_that_are_the_parents(salvage, family, failing, tmp_path):
    """In the child's file there is nothing of value at their place."""
    child = family()
    path = child.save(tmp_path)
    place = child.place_of(1)
    env = failing((path, place, 1024), (path, place + 1024, 5120))
    salvage.expect(path, [(MIB + 512, MIB + 1536)], child.content, env=env)


@pytest.mark.parametrize('name, offset, length', [
    ('identifier', 8, 512), ('header 1', 64 << 10, 4096), ('header 2', 128 << 10, 512),
    ('region table 1', 192 << 10, 65536), ('region table 2', 256 << 10, 512),
    ('a clean log', MIB, MIB), ('between the structures', 400 << 10, 4096)])
def test_unreadable_structures_with_a_twin(salvage, sample, failing, tmp_path, name, offset,
                                           length):
    image = sample()
    path = image.save(tmp_path)
    env = failing((path, offset, length))
    salvage.expect(path, [], image.content, env=env)
    assert name


@pytest.mark.parametrize('name, bad', [
    ('metadata', [(2 * MIB, 512)]), ('metadata items', [(2 * MIB + (64 << 10), 512)]),
    ('region tables', [(192 << 10, 512), (256 << 10, 512)])])
def test_unreadable_structures_without_one(salvage, sample, failing, tmp_path, name, bad):
    image = sample()
    path = image.save(tmp_path)
    env = failing(*((path, offset, length) for offset, length in bad))
    message = salvage.refuses(path, env=env)
    assert message.startswith(f'vhdx: {path}: '), name
    assert "'vhdx recover' searches the file for what is left" in message


def test_unreadable_data_of_a_parent(salvage, family, failing, tmp_path):
    """Lost is what the child does not have itself."""
    child = family()
    path = child.save(tmp_path)
    base, place = str(tmp_path / 'base.vhdx'), child.parent.place_of
    env = failing((base, place(1), 1024), (base, place(3), MIB), (base, place(6) + 1000, 1000))
    salvage.expect(path, [(MIB, MIB + 512), (6 * MIB + 512, 6 * MIB + 2048)], child.content,
                   env=env)


def test_an_unreadable_bat_sector_of_a_parent(salvage, lib, failing, tmp_path):
    base = lib.chains.full_base(size=100 * MIB)
    child = lib.chains.child_of(base)
    child.mark(0, 'child')
    child.mark(70, 'child')
    path = child.save(tmp_path)
    env = failing((tmp_path / 'base.vhdx', base.bat_at + 512, 512))
    salvage.expect(path, [(64 * MIB, 70 * MIB), (71 * MIB, 100 * MIB)], child.content, env=env)


@pytest.mark.parametrize('name, offset', [('header', 128 << 10), ('region table', 192 << 10),
                                          ('metadata', 2 * MIB)])
def test_unreadable_structures_of_a_parent(salvage, family, failing, tmp_path, name, offset):
    """With a twin nothing is lost; without one, everything that the parent should supply."""
    child = family()
    path = child.save(tmp_path)
    env = failing((tmp_path / 'base.vhdx', offset, 512))
    salvage.expect(path, HOLES if name == 'metadata' else [], child.content, env=env,
                   stderr=lambda text: ('warning: ' in text) == (name == 'metadata'))


# ---- The map file, and the list ------------------------------------------------------------------

@pytest.fixture
def damaged(sample, lib, tmp_path):
    """The path of an image that has lost block 2."""
    image = sample()
    lose(image, 2, lib.disk.bat_entry(lib.disk.FULL, 5000))
    return image.save(tmp_path)


def test_map_file_elsewhere(salvage, damaged, tmp_path):
    salvage.map = tmp_path / 'elsewhere'
    done = salvage.expect(damaged, [block(2)], None, '--map-file', salvage.map)
    assert done.stdout.endswith(f'\nmap file: {salvage.map}\n')
    assert salvage.files() == ['elsewhere', 'image.vhdx', 'out.raw']
    mask = os.umask(0)
    os.umask(mask)
    assert salvage.map.stat().st_mode & 0o777 == 0o666 & ~mask


def test_json(salvage, damaged):
    done = salvage.run(damaged, '--output=json')
    if 'without JSON' in done.stderr:
        pytest.skip('built without JSON')
    assert (done.returncode, done.stderr) == (3, '')
    assert json.loads(done.stdout) == {
        'filename': damaged, 'format': 'vhdx', 'output': str(salvage.output),
        'virtual-size': 8 * MIB, 'lost-bytes': MIB, 'mended': 1,
        'lost': [{'offset': 2 * MIB, 'length': MIB}], 'map-file': str(salvage.map)}


def test_quiet(salvage, damaged, image):
    done = salvage.expect(damaged, [block(2)], None, '-q')
    assert done.stdout == ''
    assert salvage.expect(image(PARENT), [], None, '-qy').stdout == ''


def test_progress(salvage, damaged):
    done = salvage.expect(damaged, [block(2)], None, '-p', stderr=lambda text: '100.0%' in text)
    assert '\r' not in done.stderr


def test_many_losses_are_listed_in_the_map_only(salvage, lib, tmp_path):
    image = lib.image.Image(size=400 * MIB)
    for number in range(0, 300, 2):
        lose(image, number, lib.disk.bat_entry(lib.disk.FULL, 5000 + number))
    done = salvage.expect(image.save(tmp_path), map(block, range(0, 300, 2)), image.content)
    assert done.stdout.count('    disk: offset ') == 100
    assert '\n    ... and 50 more\n' in done.stdout


# ---- What stands in the way ----------------------------------------------------------------------

@pytest.mark.parametrize('options, what', [
    (['--salvage', '--no-parent'], '--salvage and --no-parent exclude each other'),
    (['--salvage', '--any-parent'], '--salvage and --any-parent exclude each other'),
    (['--salvage', '-U'], '--salvage and -U exclude each other'),
    (['--map-file', 'm'], '--map-file needs --salvage'),
    (['--output=human'], '--output needs --salvage'),
    (['--salvage', '--map-file=-'], '--map-file needs the name of a file'),
    (['--salvage', '--map-file='], '--map-file needs the name of a file')])
def test_options_that_do_not_go_together(vhdx, tmp_path, options, what):
    first, second = vhdx.fails('convert', *options, 'a.vhdx', 'b.raw', cwd=tmp_path).splitlines()
    assert first == f'vhdx: convert: {what}'
    assert second.startswith('vhdx: hint: ')
    assert os.listdir(tmp_path) == []


def test_standard_output_is_no_target(vhdx, damaged, tmp_path):
    assert 'cannot write to standard output' in vhdx.fails('convert', '--salvage', damaged, '-')
    assert os.listdir(tmp_path) == ['image.vhdx']


def test_existing_output_is_kept(salvage, damaged):
    salvage.output.write_text('precious')
    message = salvage.refuses(damaged)
    assert 'out.raw: output exists and is not empty\n' in message
    assert message.endswith('vhdx: hint: -y replaces an existing file\n')


def test_existing_map_is_kept(salvage, damaged):
    salvage.map.write_text('precious')
    first, second = salvage.refuses(damaged).splitlines()
    assert first == f'vhdx: {salvage.map}: the map file exists and is not empty'
    assert second == 'vhdx: hint: -y replaces existing files; --map-file names another place'


def test_both_are_replaced(vhdx, salvage, damaged, tmp_path):
    salvage.output.write_text('old')
    salvage.map.write_text('old')
    salvage.map.chmod(0o600)
    done = vhdx('convert', '--salvage', '-y', damaged, salvage.output)
    assert done.returncode == 3
    assert salvage.map.stat().st_mode & 0o777 == 0o600
    assert salvage.files() == ['image.vhdx', 'out.raw', 'out.raw.map']
    assert salvage.output.stat().st_size == 8 * MIB
    assert salvage.map.read_text(encoding='utf-8').startswith('# Mapfile')
    assert tmp_path


def test_empty_files_need_no_permission(vhdx, salvage, damaged):
    salvage.output.touch()
    salvage.map.touch()
    assert vhdx('convert', '--salvage', damaged, salvage.output).returncode == 3
    assert salvage.map.stat().st_size > 0


@pytest.mark.parametrize('target', ['image.vhdx', 'out.raw', 'other', 'base.vhdx', '.', 'none/map',
                                    './/out.raw'])
def test_impossible_map_files(salvage, family, tmp_path, target):
    path = family(name='image.vhdx').save(tmp_path)
    os.link(path, tmp_path / 'other')
    message = salvage.refuses(path, '-y', '--map-file', f'{tmp_path}/{target}')
    assert message.startswith(f'vhdx: {tmp_path}/{target}: ')
    what = {'base.vhdx': 'a parent of the image', 'image.vhdx': 'the image', 'other': 'the image',
            'out.raw': 'the output', './/out.raw': 'the output'}.get(target)
    assert not what or f'the map file is {what} itself\n' in message


@pytest.mark.parametrize('how', ['name', 'hard link', 'symbolic link'])
def test_the_image_is_no_output(vhdx, salvage, damaged, tmp_path, how):
    salvage.output = {'name': damaged}.get(how, tmp_path / 'other')
    if how == 'hard link':
        os.link(damaged, salvage.output)
    elif how == 'symbolic link':
        os.symlink(damaged, salvage.output)
    message = salvage.refuses(damaged, '-y')
    assert 'output is the input itself' in message
    assert 'hint: -y' not in message
    assert 'hint: -y' not in salvage.refuses(damaged)
    assert vhdx.ok('info', damaged)


def test_a_parent_is_no_output(salvage, family, tmp_path):
    path = family().save(tmp_path)
    salvage.output = tmp_path / 'base.vhdx'
    assert 'output is a parent of the input' in salvage.refuses(path, '-y')


@pytest.mark.parametrize('name', ['no image', 'empty', 'nothing'])
def test_other_files(salvage, tmp_path, name):
    path = tmp_path / 'x'
    if name == 'no image':
        path.write_bytes(b'conectix' + bytes(2 * MIB))
    elif name == 'empty':
        path.touch()
    message = salvage.refuses(path)
    assert message.startswith(f'vhdx: {path}: ')
    if name == 'no image':
        assert "if it was a VHDX image once, 'vhdx recover' searches it" in message


def test_an_image_in_use(salvage, damaged):
    """Another program has QEMU's byte 201 locked, as one that writes has."""
    import fcntl # pylint: disable=import-outside-toplevel
    from_start = struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with open(damaged, 'r+b') as file:
        fcntl.fcntl(file, 37, from_start) # F_OFD_SETLK
        message = salvage.refuses(damaged)
    assert "vhdx: hint: stop the program that has the image open" in message
    assert '-U' not in message


def test_full_disk(vhdx, sample, tmp_path):
    if os.geteuid() != 0 or not shutil.which('mount'):
        pytest.skip('only root can mount a small file system')
    image = sample()
    image.put(0, os.urandom(MIB)) # more than there is room for
    image.put(2 * MIB, os.urandom(MIB))
    path = image.save(tmp_path)
    folder = tmp_path / 'small'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1M', 'tmpfs', folder],
                             stderr=subprocess.DEVNULL, check=False)
    if mounted.returncode != 0:
        pytest.skip('mounting is not allowed here')
    try:
        message = vhdx.fails('convert', '--salvage', path, folder / 'out.raw')
        assert 'vhdx: hint: make room or choose another place for the output\n' in message
        assert os.listdir(folder) == []
    finally:
        subprocess.run(['umount', folder], check=True)


def test_no_room_for_the_map(vhdx, sample, tmp_path):
    """The copy is kept: it may have taken hours."""
    if os.geteuid() != 0 or not shutil.which('mount'):
        pytest.skip('only root can mount a small file system')
    path, folder = sample().save(tmp_path), tmp_path / 'small'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder],
                             stderr=subprocess.DEVNULL, check=False)
    if mounted.returncode != 0:
        pytest.skip('mounting is not allowed here')
    try:
        (folder / 'filler').write_bytes(bytes(64 << 10))
        first, second = vhdx.fails('convert', '--salvage', '--map-file', folder / 'm', path,
                                   tmp_path / 'out.raw').splitlines()
        assert first == f'vhdx: {folder}/m: writing the map file: {os.strerror(28)}'
        assert second == f'vhdx: note: {tmp_path}/out.raw is complete; 0 bytes of it are lost, ' \
                         'and zeros'
        assert os.listdir(folder) == ['filler']
    finally:
        subprocess.run(['umount', folder], check=True)


def test_interrupted(vhdx, lib, tmp_path):
    """Neither file is left."""
    import signal # pylint: disable=import-outside-toplevel
    import time # pylint: disable=import-outside-toplevel
    from cli_support import died_by # pylint: disable=import-outside-toplevel
    image = lib.image.Image(size=600 * MIB, block_size=32 * MIB)
    image.fill('much')
    path = image.save(tmp_path)
    process = vhdx.start('convert', '--salvage', path, tmp_path / 'out.raw')
    for _ in range(1000):
        if any(name.startswith('.out.raw.') and not name.startswith('.out.raw.map.')
               for name in os.listdir(tmp_path)):
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip('it was faster')
    assert died_by(process.returncode, signal.SIGTERM)
    assert os.listdir(tmp_path) == ['image.vhdx']


# ---- What convert says without --salvage ---------------------------------------------------------

def test_convert_names_salvage(vhdx, damaged, tmp_path):
    message = vhdx.fails('convert', damaged, tmp_path / 'out.raw')
    assert message.endswith("vhdx: hint: 'vhdx check' tells all that is wrong; "
                            "'vhdx convert --salvage' saves what can still be read\n")
    assert os.listdir(tmp_path) == ['image.vhdx']


def test_convert_names_salvage_for_what_cannot_be_opened(vhdx, sample, lib, tmp_path):
    image = sample()
    for at in lib.disk.REGION_TABLE_AT:
        image.render().put(at + 100, b'\xff')
    message = vhdx.fails('convert', image.save(tmp_path), tmp_path / 'out.raw')
    assert "'vhdx convert --salvage' saves" in message


def test_convert_names_salvage_for_a_failing_disk(vhdx, sample, failing, tmp_path):
    image = sample()
    path = image.save(tmp_path)
    env = failing((path, image.place_of(0), 512))
    message = vhdx.fails('convert', path, tmp_path / 'out.raw', env=env)
    assert "'vhdx convert --salvage' saves" in message


def test_other_mistakes_do_not(vhdx, unpacked, tmp_path):
    for path, out in ((tmp_path / 'none', 'out.raw'), (unpacked(PARENT), 'none/out.raw')):
        message = vhdx.fails('convert', path, tmp_path / out)
        assert '--salvage' not in message, message
