# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Every good image of the corpus reads as its builder intended: by the reference reader, through
the library (vhdx-probe), and through each reading verb of the tool."""

import hashlib
import json
import os

import pytest

from corpus_support import EMULATED, EMULATED_HASH_LIMIT, Made
from corpus_support import read_dump, same_pages, scratch_folder
from corpus_support import vhdxref
import corpus
from sparsebytes import Ranges, pages_of_file

CAT_LIMIT = 64 << 20
CONVERT_LIMIT = 8 << 40  # file systems end at 16 TiB
TYPE_NAMES = {(True, False): 'fixed', (False, False): 'dynamic', (False, True): 'differencing'}


@pytest.fixture(scope='module', params=list(corpus.GOOD))
def made(request, tmp_path_factory):
    """An image of the corpus. Tests run image by image, so that few exist at a time."""
    image = Made(corpus.GOOD[request.param], scratch_folder(tmp_path_factory, request.param))
    image.before = image.snapshot()
    yield image
    image.remove()


@pytest.fixture
def reads_right(probe, tmp_path):
    """A function that demands of a named image that the library reads it right."""
    def check(name):
        image = Made(corpus.GOOD[name], tmp_path / name)
        probe_reads(image, probe)
    return check


def probe_reads(made, probe, *options, content=None):
    """The library's content of an image is the intended one."""
    dump = os.path.join(made.folder, 'dump')
    options = [*made.options(probe=True), *options]
    out = probe.ok(*options, '--dump', dump, made.path, cwd=made.folder)
    assert out == b'ok\n'
    content = content or made.image.content
    same_pages(read_dump(dump, made.image.size).pages(), content.pages())
    os.remove(dump)


# ---- One image, every way of reading ------------------------------------------------------------

def test_model_agrees_with_intent(made):
    """The reference reader, which knows nothing of the builder, finds the intended content."""
    model = vhdxref.open_image(made.path, made.resolver)
    try:
        assert model.size == made.image.size
        same_pages(model.content().pages(), made.image.content.pages())
        assert known(model.data_ranges(), made) == known(made.image.data, made)
    finally:
        model.close()


def known(ranges, made):
    """The ranges without those in which the kind of an extent is the reader's choice."""
    ranges = ranges.copy()
    for start, end in made.image.unsure.pairs():
        ranges.remove(start, end)
    return ranges.pairs()


def test_probe(made, probe):
    """The library reads the intended content, within bounds."""
    probe_reads(made, probe)


def test_info(made, vhdx):
    """The facts."""
    info = json.loads(vhdx.ok('info', '--output=json', *made.options(), made.path,
                              cwd=made.folder))
    data, image = info['format-specific']['data'], made.image
    assert info['virtual-size'] == image.size
    assert data['block-size'] == image.block_size
    assert data['logical-sector-size'] == image.sector
    assert data['type'] == TYPE_NAMES[image.fixed, image.parent is not None]
    assert data['bat']['entries'] == image.bat_entries()


def test_map(made, vhdx):
    """The map is without gaps and tells data from zeros; where data lies agrees with the model."""
    out = vhdx.ok('map', '--output=json', *made.options(), made.path, cwd=made.folder)
    entries = json.loads(out)
    position, data = 0, Ranges()
    for entry in entries:
        assert entry['start'] == position and entry['length'] > 0
        position += entry['length']
        assert entry['data'] != entry['zero']
        if entry['data']:
            assert entry['present']
            data.add(entry['start'], position)
    assert position == made.image.size
    assert known(data, made) == known(made.image.data, made)
    if not made.image.unsure.edges:
        model = vhdxref.open_image(made.path, made.resolver)
        assert places_of_map(entries) == places_of_model(model)
        model.close()


def places_of_map(entries):
    """(start, length, depth, file offset) of what is data, joined."""
    return joined((entry['start'], entry['length'], entry['depth'], entry['offset'])
                  for entry in entries if entry['data'])


def places_of_model(model):
    """The same from the reference reader."""
    return joined((extent.offset, extent.length, extent.depth, extent.file_offset)
                  for extent in model.extents() if extent.kind == 'data')


def joined(places):
    """Joins what lies together in the disk and in one file."""
    result = []
    for start, length, depth, offset in places:
        if result:
            last = result[-1]
            if (last[0] + last[1], last[2], last[3] + last[1]) == (start, depth, offset):
                result[-1] = (last[0], last[1] + length, depth, last[3])
                continue
        result.append((start, length, depth, offset))
    return result


def test_hash(made, vhdx):
    """The digest, of those disks that can be hashed in reasonable time."""
    if made.image.size > corpus.HASH_LIMIT and not made.case.hashed:
        pytest.skip('too large to hash')
    if EMULATED and made.image.size > EMULATED_HASH_LIMIT:
        pytest.skip('too large to hash in an emulator')
    out = vhdx.ok('hash', *made.options(), made.path, cwd=made.folder, bounded=False)
    assert out.split()[0].decode() == made.image.content.sha256()


def test_cat(made, vhdx):
    """The whole disk on standard output."""
    if made.image.size > CAT_LIMIT:
        pytest.skip('too large to write out')
    out = vhdx.ok('cat', *made.options(), made.path, cwd=made.folder)
    assert len(out) == made.image.size
    assert hashlib.sha256(out).hexdigest() == made.image.content.sha256()


def test_convert(made, vhdx):
    """A raw file."""
    if made.image.size > CONVERT_LIMIT:
        pytest.skip('larger than a file may be')
    raw = os.path.join(made.folder, 'disk.raw')
    vhdx.ok('convert', '-q', '-O', 'raw', *made.options(), made.path, raw, cwd=made.folder,
            bounded=False)
    assert os.path.getsize(raw) == made.image.size
    same_pages(pages_of_file(raw), made.image.content.pages())
    os.remove(raw)


def test_reading_changed_nothing(made):
    """After all of the above every file is what it was, bit by bit."""
    assert made.snapshot() == made.before


# ---- Ways to the parent -------------------------------------------------------------------------

@pytest.fixture
def child(tmp_path):
    """A child and its parent base.vhdx in one folder, and an empty folder "elsewhere"."""
    made = Made(corpus.GOOD['bitmap_bit_order'], tmp_path / 'child')
    (tmp_path / 'elsewhere').mkdir()
    return made


def test_without_parent(child, probe):
    """What the parent would supply reads as zeros."""
    model = vhdxref.open_image(child.path, None)
    probe_reads(child, probe, '--no-parent', content=model.content())
    model.close()


def test_parent_given(child, probe, tmp_path):
    """The parent's file has another name and place, and is named by the caller."""
    target = tmp_path / 'elsewhere' / 'renamed.img'
    os.rename(tmp_path / 'child' / 'base.vhdx', target)
    probe_reads(child, probe, '--parent', target)


@pytest.mark.parametrize('name', ['base.vhdx', 'BASE.AVHDX', 'renamed.vhdx'])
def test_parent_in_a_search_folder(child, probe, tmp_path, name):
    """The parent is found by its name, whatever case and suffix, or by its GUID."""
    os.rename(tmp_path / 'child' / 'base.vhdx', tmp_path / 'elsewhere' / name)
    probe_reads(child, probe, '--search-dir', tmp_path / 'elsewhere')


def test_any_parent(probe, tmp_path):
    """A parent with another GUID is taken when the caller says so."""
    probe_reads(Made(corpus.BAD['parent_with_another_guid'], tmp_path), probe, '--any-parent')


def test_wrong_parent_beside_the_right_one(child, probe, tmp_path):
    """A file of the right name that is not the parent does not hide the one that is."""
    os.rename(tmp_path / 'child' / 'base.vhdx', tmp_path / 'elsewhere' / 'base.vhdx')
    corpus.GOOD['plain_dynamic'].build().render().save(tmp_path / 'child' / 'base.vhdx')
    probe_reads(child, probe, '--search-dir', tmp_path / 'elsewhere')


# ---- Mistakes found in real programs ------------------------------------------------------------

def test_mistake_interleaving_beyond_one_chunk(reads_right):
    """Bitmap entries stand in the BAT of every type of disk."""
    for name in ('chunks_dynamic_512_32m', 'chunks_fixed_512_32m', 'chunks_differencing_512_32m',
                 'chunks_dynamic_4096_32m', 'chunks_fixed_4096_32m', 'chunk_boundary_full_blocks',
                 'size_exactly_one_chunk', 'size_one_sector_over_a_chunk'):
        reads_right(name)


def test_mistake_region_table_2_never_read(reads_right):
    """One good region table is enough."""
    for name in ('region_table_1_bad', 'region_table_1_zero', 'region_table_2_bad'):
        reads_right(name)


def test_mistake_both_headers_demanded(reads_right):
    """One good header is enough."""
    for name in ('header_1_bad', 'header_2_bad', 'header_1_zero', 'header_2_zero'):
        reads_right(name)


def test_mistake_wrapped_log_half_dropped(reads_right):
    """Entries and sequences wrap round the end of the ring."""
    for name in ('log_wrapped_entry', 'log_wrapped_sequence', 'log_needs_every_entry',
                 'log_fills_the_ring'):
        reads_right(name)


def test_mistake_entries_before_tail_replayed(reads_right):
    """The active sequence begins at Tail."""
    for name in ('log_tail_in_the_middle', 'log_tail_of_the_head_counts'):
        reads_right(name)


def test_mistake_file_not_extended_to_last_file_offset(reads_right):
    """After replay the file has the head's LastFileOffset."""
    for name in ('log_last_file_offset_grows_the_file', 'log_descriptor_past_the_end'):
        reads_right(name)


def test_mistake_stale_log_replayed(reads_right):
    """Entries of another time are not replayed over a newer BAT."""
    for name in ('log_stale_with_clean_guid', 'log_stale_guid_adjacent', 'log_stale_guid_elsewhere',
                 'log_stale_behind_the_head', 'header_1_is_newer'):
        reads_right(name)


def test_mistake_log_ignored_on_read_only_open(reads_right):
    """A dirty log is replayed in memory, also that of a parent."""
    for name in ('log_one_entry', 'log_changes_metadata', 'log_changes_region_tables',
                 'log_changes_a_sector_bitmap', 'parent_with_dirty_log'):
        reads_right(name)


def test_mistake_bitmap_bit_order(reads_right):
    """The least significant bit comes first."""
    for name in ('bitmap_bit_order', 'bitmap_4096_sectors', 'bitmap_alternating_sectors'):
        reads_right(name)


def test_mistake_differencing_bat_sized_with_the_dynamic_formula(reads_right):
    """A child's BAT ends with a bitmap entry."""
    for name in ('differencing_bat_ends_with_a_bitmap_entry', 'bitmap_in_the_second_chunk_only'):
        reads_right(name)


def test_mistake_not_present_treated_as_zero_in_a_child(reads_right):
    """NOT_PRESENT is the parent's."""
    for name in ('child_not_present_reads_parent', 'child_not_present_with_offset_reads_parent',
                 'not_present_ignores_bitmap', 'differencing_empty'):
        reads_right(name)


def test_mistake_zero_and_unmapped_read_through_to_the_parent(reads_right):
    """ZERO, UNMAPPED and UNDEFINED hide the parent."""
    for name in corpus.GOOD:
        if name.endswith('hides_parent'):
            reads_right(name)
    reads_right('child_zero_over_data_in_the_middle_of_a_chain')


def test_mistake_sequence_number_overflow(reads_right):
    """Sequence numbers have 64 bits, in headers and in the log."""
    for name in ('header_sequence_at_its_end', 'header_2_is_newer',
                 'log_sequence_number_beyond_32_bits'):
        reads_right(name)


def test_mistake_data_visible_from_a_freed_block(reads_right):
    """What still stands in the space of a block that was given up is not shown."""
    for name in ('soft_anchors', 'zero_state_with_offset', 'not_present_with_offset',
                 'log_turns_a_block_into_unmapped'):
        reads_right(name)
