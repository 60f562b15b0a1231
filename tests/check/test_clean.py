# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx check is clean where nothing is wrong: on the good corpus, on real images, on what qemu-img
and vhdx create. What is there all the same, by definition, is named image by image."""

import re
import shutil

import pytest

from check_support import ids_of, scratch_folder
import corpus

# Good images are strange on purpose. Those that read well and yet are not clean:
EXPECTED = (
    (r'matrix_.*_(1|2|32)m', {615}), (r'soft_anchors', {615}),
    (r'child_unmapped_old(_with_offset)?_hides_parent', {615}),
    # Garbage behind an offset without meaning, at the end of the file.
    (r'zero_state_with_offset|child_zero_with_offset_hides_parent', {104, 611}),
    (r'child_not_present_with_offset_reads_parent', {612}),
    (r'not_present_with_offset', {104, 612}),
    (r'soft_anchor_past_end_of_file', {614}),
    (r'last_block_cut_off', {102, 606}),
    # The disk ends where the file does: nothing of the block is missing.
    (r'file_not_multiple_of_mib', {102}),
    (r'bitmap_bits_behind_the_end', {702}),
    (r'header_[12]_bad', {202}), (r'header_[12]_zero', {201}),
    (r'headers_identical', {207}), (r'header_sequence_at_its_end', {208}),
    (r'header_reserved_not_zero', {204}),
    (r'region_table_[12]_bad', {302}), (r'region_table_1_zero', {301}),
    (r'regions_not_required', {310}), (r'region_table_reserved_not_zero', {311}),
    (r'optional_unknown_region|region_table_full', {309}),
    (r'metadata_at_the_end_of_the_file', {102, 315}),
    (r'metadata_flags_of_early_windows', {512}),
    (r'optional_unknown_metadata|metadata_table_full', {508}),
    (r'log_guid_set_but_log_all_zeros|log_of_1_gib_all_zeros', {402}),
    (r'log_full_of_zero_descriptors', {102, 104, 401}),
    # Beside the log there is garbage, to which a wrong replay would lead.
    (r'log_stale_with_clean_guid', {104, 406}),
    (r'log_(tail_(in_the_middle|of_the_head)|(highest|longest)_sequence|newer_sequence|stale_).*',
     {104, 401}),
    (r'log_second_entry_bad_(signature|sequence_gap|sequence_zero)', {104, 401}),
    (r'log_(zero_descriptor|huge_zero_descriptor|moves_the_bat)', {104, 401}),
    (r'log_(head_torn|second_entry_bad_.*)', {104, 401, 405}),
    (r'log_.*', {401}))

REAL = {
    'iotest-dynamic-1G.vhdx.bz2': {406}, 'test-disk2vhd.vhdx.bz2': {102, 207},
    'vhdx-log-replay.vhdx.gz': {401}, 'btrfs.vhdx.gz': {406}, 'ntfs-fixed.vhdx.xz': {406},
    'ntfs-parent.vhdx.xz': {406}, 'ntfs-differential.vhdx.xz': {406, 702},
    'config2_base.vhdx.bz2': {406}, 'fattools-dynamic-4096.vhdx.gz': set(),
    'fattools-multichunk-512.vhdx.gz': set()}
TRUNCATED = 'MSEdge-Win10_preview_truncated.vhdx.xz'


def expected_of(name):
    """What there is to be found in a good image."""
    return next((ids for pattern, ids in EXPECTED if re.fullmatch(pattern, name)), set())


@pytest.mark.parametrize('name', list(corpus.GOOD))
def test_good(name, tmp_path_factory, vhdx, check):
    """The good corpus."""
    case = corpus.GOOD[name]
    folder = scratch_folder(tmp_path_factory, name)
    path = case.build().save(str(folder))
    options = [{'--map': '--map-path'}.get(word, word.replace('=.', '=%s' % folder))
               for word in case.options]
    assert vhdx
    assert check.ids(path, *options) == expected_of(name)
    shutil.rmtree(folder)


@pytest.mark.parametrize('name', list(REAL))
def test_real(name, unpacked, check):
    """Images that Windows and others wrote."""
    unpacked('ntfs-parent.vhdx.xz')
    code, report = check.run(unpacked(name))
    assert (code, set(ids_of(report)), report['complete']) == (0, REAL[name], True)
    assert report['image-end-offset'] <= report['file-size']
    assert (report['lost-bytes'], report['leaked-bytes']) == (0, 0)


def test_truncated(unpacked, check):
    """The image that was cut off behind its BAT: exactly what is lost."""
    code, report = check.run(unpacked(TRUNCATED))
    assert code == 2 and report['complete']
    # 353 blocks, 178 kept places; the BAT's region ends in the MiB that was cut.
    assert ids_of(report) == {605: 353, 614: 178, 315: 1, 102: 1, 406: 1}
    assert report['lost-bytes'] == 353 * 32 << 20
    assert report['total-clusters'] == 1280


def test_truncated_repair(unpacked, check, tmp_path):
    """Repaired, it is an empty disk, and every lost block was named."""
    path = tmp_path / 'image.vhdx'
    shutil.copyfile(unpacked(TRUNCATED), path)
    code, report = check.run(path, '--repair=all')
    assert code == 0 and check.ids(path) <= {406}
    repair = report['repair']
    assert repair['lost-bytes'] == 353 * 32 << 20
    assert sum(one.get('lost-length', 0) for one in repair['actions']) == 353 * 32 << 20


# ---- What other programs make -------------------------------------------------------------------

OPTIONS = 'subformat=%s,block_size=%s,log_size=%s,block_state_zero=%s'
QEMU = [(OPTIONS % (kind, block, log, zero), size)
        for kind in ('dynamic', 'fixed') for block in ('1M', '32M', '256M')
        for log in ('1M', '3M') for zero in ('on', 'off') for size in ('64M', '4097M')
        if (kind, size) != ('fixed', '4097M')]


@pytest.mark.parametrize('options,size', QEMU + [('subformat=dynamic', '64T'),
                                                 ('subformat=dynamic', '1M'),
                                                 ('subformat=fixed', '100M')])
def test_qemu_creates(options, size, tmp_path, qemu_img, check):
    """Regions that are not marked as required are all there is to say."""
    path = tmp_path / 'image.vhdx'
    code, text = qemu_img('create', '-f', 'vhdx', '-o', options, path, size)
    assert code == 0, text
    assert check.ids(path) <= {310, 406}


@pytest.mark.parametrize('options', ['subformat=%s,block_size=%s' % (kind, block)
                                     for kind in ('dynamic', 'fixed') for block in ('1M', '8M')])
def test_qemu_converts(options, tmp_path, qemu_img, check):
    """A disk with data in some places."""
    raw, path = tmp_path / 'disk.raw', tmp_path / 'image.vhdx'
    with open(raw, 'wb') as file:
        for place in (0, 5 << 20, (33 << 20) - 512):
            file.seek(place)
            file.write(b'data' * 128)
        file.truncate(50 << 20)
    code, text = qemu_img('convert', '-f', 'raw', '-O', 'vhdx', '-o', options, raw, path)
    assert code == 0, text
    assert check.ids(path) <= {310, 406}


@pytest.mark.parametrize('options', [
    (), ('-o', 'subformat=fixed'), ('-o', 'block_size=1M'), ('-o', 'block_size=256M'),
    ('-o', 'logical_sector_size=4096')], ids=' '.join)
def test_vhdx_creates(options, tmp_path, vhdx, check):
    """Our own images have nothing to say at all."""
    path = tmp_path / 'image.vhdx'
    done = vhdx('create', *options, path, '64M')
    assert done.code == 0, done
    assert check.ids(path) <= {406}
