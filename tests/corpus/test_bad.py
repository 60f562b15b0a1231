# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Every bad image of the corpus is refused: with the right code, one line that names object and
field, exit code 1, within bounded time and memory, and never by a signal."""

import errno
import re

import pytest

from corpus_support import Made, error_line, one_line, scratch_folder
from corpus_support import vhdxref
import corpus


def make(name, folder):
    """A bad image, if the host can have such a file."""
    try:
        return Made(corpus.BAD[name], folder)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL):
            raise
        pytest.skip('the file system has no files of this size')


@pytest.fixture(scope='module', params=list(corpus.BAD))
def made(request, tmp_path_factory):
    """An image of the corpus. Tests run image by image, so that few exist at a time."""
    folder = scratch_folder(tmp_path_factory, request.param)
    image = make(request.param, folder)
    yield image
    image.remove()


@pytest.fixture
def refused(probe, tmp_path):
    """A function that demands that a named image is refused."""
    def check(name):
        probe_refuses(make(name, tmp_path), probe)
    return check


def probe_refuses(made, probe):
    """Code and message of the library."""
    done = probe(*made.options(probe=True), made.path, cwd=made.folder)
    line = one_line(done.out.decode())
    if made.case.lenient and line == 'ok':
        pytest.skip('overlooked, which is allowed')
    assert done.code == 1, done
    code, offset, message = line.split(' ', 2)
    assert code in made.case.codes, line
    check_offset(made.case, offset, line)
    assert len(message.encode()) < 496, line
    # The path of the file that is at fault, which may be a parent's; then object and field.
    assert message.startswith((str(made.folder) + '/', '/dev/', 'chain: ')), line
    text = message.replace(str(made.folder) + '/', '')
    assert re.search(made.case.message, text), '%r does not match %r' % (text, made.case.message)


def check_offset(case, offset, line):
    """The offset is a number or none, and lies in the structure that is at fault."""
    if offset == '-':
        return
    assert offset.isdigit(), line
    if case.place:
        assert case.place[0] <= int(offset) < case.place[1], line


# ---- One image, every way of failing ------------------------------------------------------------

def test_model_gives_the_code(made):
    """The reference reader finds the same fault: the image breaks the rule that it claims to."""
    if made.case.name.startswith('place_'):
        pytest.skip('not a regular file')
    with pytest.raises(vhdxref.RefError) as caught:
        model = vhdxref.open_image(made.path)
        model.content()
    assert caught.value.code in made.case.codes


def test_probe(made, probe):
    """The library."""
    probe_refuses(made, probe)


def test_info(made, vhdx):
    """vhdx info fails, or succeeds where only reading or the parent fails."""
    done = vhdx('info', *made.options(), made.path, cwd=made.folder)
    strict = made.case.stage == 'open' and not made.case.lenient
    assert done.code in ((1,) if strict else (0, 1)), done
    if done.code:
        error_line(done.err)


def test_hash(made, vhdx):
    """vhdx hash fails, and prints no digest."""
    done = vhdx('hash', *made.options(), made.path, cwd=made.folder)
    if made.case.lenient and done.code == 0:
        pytest.skip('overlooked, which is allowed')
    assert (done.code, done.out) == (1, b''), done
    error_line(done.err)


# ---- Mistakes found in real programs ------------------------------------------------------------

@pytest.mark.parametrize('name', [
    'bat_block_twice', 'bat_blocks_overlap_by_half', 'bat_overlaps_log', 'bat_overlaps_metadata',
    'bat_overlaps_bat', 'bat_overlaps_end_of_region', 'bat_overlaps_unknown_region',
    'bitmap_overlaps_payload', 'bitmap_overlaps_region'])
def test_mistake_overlapping_bat_entries_accepted(refused, name):
    """No two things may lie at one place."""
    refused(name)


@pytest.mark.parametrize('name', ['bat_region_too_short_for_a_child'])
def test_mistake_differencing_bat_sized_with_the_dynamic_formula(refused, name):
    """A child's BAT reaches to the bitmap entry of its last chunk."""
    refused(name)


@pytest.mark.parametrize('name', ['bat_entries_shifted_by_qemu', 'bitmap_entry_without_parent'])
def test_mistake_shifted_bat_page_read_as_if_right(refused, name):
    """Bitmap entries of images without parent are zero."""
    refused(name)
