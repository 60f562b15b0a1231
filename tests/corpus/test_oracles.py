# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Other programs read the good images as intended, too: qemu-img, and libvhdi through pyvhdi. They
share nothing with the corpus, the reference reader or the library. Where one of them cannot read
an image, or reads it wrong, that is named here with the reason."""

import os
import re
import shutil
import subprocess

import pytest

from corpus_support import Made, same_pages, scratch_folder
from environment import missing
import corpus
import vhdxdisk as disk
from sparsebytes import SparseBytes, nonzero_pages, pages_of_file

try:
    import pyvhdi
except ImportError:
    pyvhdi = None

STEP = 1 << 20
QEMU_LIMIT = 8 << 40
VHDI_LIMIT = 1 << 30


@pytest.fixture(scope='module')
def qemu_img(launcher):
    """A function that runs qemu-img; returns its exit code and what it complains of."""
    program = shutil.which('qemu-img') or missing('qemu-img is not installed')

    def run(*args):
        done = launcher.run([program, *args], '.', 600)
        return done.code, done.err
    return run


@pytest.fixture
def image(request, tmp_path_factory):
    """The image that the test's parameter names."""
    made = Made(corpus.GOOD[request.param], scratch_folder(tmp_path_factory, request.param))
    yield made
    made.remove()


def has_log(image):
    """Whether the current header says that there is a log to replay."""
    current = max(image.headers, key=lambda header: header.sequence)
    return current.log_guid != disk.ZERO_GUID


def readable():
    """The good cases that qemu-img can read, and those that libvhdi can. Neither reads what a log
    would have to be replayed for (qemu-img does so for writing only, libvhdi not at all), and
    qemu-img has no differencing images."""
    qemu, vhdi = [], []
    for name, case in corpus.GOOD.items():
        image = case.build()
        if not has_log(image):
            if not image.parent and image.size <= QEMU_LIMIT:
                qemu.append(name)
            if image.size <= VHDI_LIMIT:
                vhdi.append(name)
    return qemu, vhdi


QEMU_READS, VHDI_READS = readable()

# ---- qemu-img -----------------------------------------------------------------------------------

QEMU_REFUSES = {
    '^(matrix|chunks|size)_.*_4096': 'it has 512-byte sectors only',
    'physical_sectors_smaller_than_logical': 'it has 512-byte sectors only',
    'last_block_cut_off': 'since 2013 it takes such a file for truncated',
    'clean_log_of_unknown_version': 'it looks at LogVersion also when there is no log',
    'region_table_1_': 'it never reads region table 2',
    'user_metadata_with_system_ids': 'it does not look at IsUser',
}


def reason(table, name):
    """Why a program cannot read an image, or None."""
    return next((why for part, why in table.items() if re.search(part, name)), None)


@pytest.mark.parametrize('image', QEMU_READS, indirect=True)
def test_qemu_reads_the_same(image, qemu_img):
    """qemu-img convert gives the intended content."""
    raw = os.path.join(image.folder, 'disk.raw')
    code, errors = qemu_img('convert', '-f', 'vhdx', '-O', 'raw', image.path, raw)
    why = reason(QEMU_REFUSES, image.case.name)
    if why:
        assert code == 1, 'no longer true: ' + why
        pytest.skip('qemu-img refuses it: ' + why)
    assert code == 0, errors
    assert os.path.getsize(raw) == image.image.size
    same_pages(pages_of_file(raw), image.image.content.pages())


# Dirty logs that QEMU replays as the specification says; what it does with others:
#   it knows nothing of Tail (replays what lies before it, takes sequences that are not complete),
#   it reads entries of more than one descriptor sector as if data began in the second,
#   it does not look at the sequence numbers and signatures of data sectors before it replays.
QEMU_REPLAYS = (
    'log_one_entry', 'log_in_the_middle', 'log_sequence_number_beyond_32_bits',
    'log_sequence_number_1', 'log_empty_entry', 'log_wrapped_entry', 'log_wrapped_sequence',
    'log_replays_in_order', 'log_highest_sequence_wins', 'log_longest_sequence_does_not_win',
    'log_head_torn', 'log_stale_guid_adjacent', 'log_stale_guid_elsewhere',
    'log_second_entry_bad_signature', 'log_second_entry_bad_checksum',
    'log_second_entry_bad_length_zero', 'log_second_entry_bad_length_odd',
    'log_second_entry_bad_length_huge', 'log_second_entry_bad_sequence_zero',
    'log_second_entry_bad_count_huge', 'log_entry_of_126_descriptors',
    'log_leading_and_trailing_bytes', 'log_zero_descriptor')


@pytest.mark.parametrize('image', QEMU_REPLAYS, indirect=True)
def test_qemu_replays_the_same(image, qemu_img):
    """qemu-img check -r replays the log into the file; then it reads the intended content."""
    raw = os.path.join(image.folder, 'disk.raw')
    qemu_img('check', '-r', 'all', '-f', 'vhdx', image.path)
    code, errors = qemu_img('convert', '-f', 'vhdx', '-O', 'raw', image.path, raw)
    assert code == 0, errors
    same_pages(pages_of_file(raw), image.image.content.pages())


# ---- libvhdi ------------------------------------------------------------------------------------

NO_BITMAP = 'in a child, it reads a block without sector bitmap from offset 0 of the file'
READ_THROUGH = 'in a child, it reads ZERO, UNMAPPED and UNDEFINED through to the parent'
ONE_BAD = 'it demands both headers and both region tables'
VHDI_WRONG = {
    r'hides_parent|matrix_differencing|zero_over_data|^chain_of_([345]|256)': READ_THROUGH,
    r'^(differencing_empty|bitmap_absent_without|not_present_ignores)': NO_BITMAP,
    r'^(child_not_present|locator_in_another|parent_in_another)': NO_BITMAP,
    r'^(parent_linkage2_absent|parent_by_|parent_with_a_name)': NO_BITMAP,
    r'^parent_(linkage2_matches|linkage_upper_case)': 'it compares parent_linkage as text',
    r'^(child_larger|sizes_up_and_down)': 'it fails past the end of the parent',
    r'^last_block_cut_off': 'it fails where the file ends',
    r'^(header|region_table)_[12]_(bad|zero)': ONE_BAD,
    r'^user_metadata_with_system_ids': 'it does not look at IsUser',
    r'^metadata_empty_item': 'it has no items without content',
    r'^differencing_with_leave_blocks': 'it has no children with LeaveBlocksAllocated',
    r'^parent_with_dirty_log': 'it knows nothing of the log',
}


def open_vhdi(image, folder, kept):
    """Opens an image and its parents; kept keeps them alive, for pyvhdi does not."""
    file = pyvhdi.file()
    kept.append(file)
    file.open(os.path.join(folder, image.name))
    if image.parent:
        file.set_parent(open_vhdi(image.parent, folder, kept))
    return file


def read_vhdi(made):
    """The whole disk."""
    kept = []
    file = open_vhdi(made.image, made.folder, kept)
    content = SparseBytes(file.get_media_size())
    for offset in range(0, content.size, STEP):
        file.seek(offset)
        data = file.read(min(STEP, content.size - offset))
        for place, page in nonzero_pages(offset, data):
            content.put(place, page[:content.size - place])
    return content


@pytest.mark.parametrize('image', VHDI_READS, indirect=True)
def test_libvhdi_reads_the_same(image):
    """libvhdi gives the intended content."""
    if pyvhdi is None:
        missing('pyvhdi (python3-libvhdi) is not installed')
    why = reason(VHDI_WRONG, image.case.name)
    if why:
        pytest.skip('libvhdi is wrong: ' + why)
    content = read_vhdi(image)
    assert content.size == image.image.size
    same_pages(content.pages(), image.image.content.pages())


# ---- The library against them -------------------------------------------------------------------

@pytest.mark.parametrize('image', ['plain_dynamic', 'matrix_fixed_512_2m', 'soft_anchors'],
                         indirect=True)
def test_converted_files_are_identical(image, qemu_img, vhdx):
    """Our raw file and qemu-img's are the same, byte by byte."""
    ours, theirs = (os.path.join(image.folder, name) for name in ('ours.raw', 'theirs.raw'))
    vhdx.ok('convert', '-q', '-O', 'raw', image.path, ours)
    code, errors = qemu_img('convert', '-f', 'vhdx', '-O', 'raw', image.path, theirs)
    assert code == 0, errors
    assert subprocess.run(['cmp', ours, theirs], check=False).returncode == 0
