# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What keeps an image from being used at some place is told of when asked for (9xx)."""

import os

import pytest

from check_support import Made, damage_core, scratch_folder
from damage_core import child_sample, sample

MIB = 1 << 20
EXT4 = b'\x53\xef'  # at byte 1080 of the disk


class Case:
    """As much of a case as Made needs."""

    def __init__(self, build):
        self.build = build


def write(image, folder, dense=True):
    """The path of an image that is no sparse file, or one."""
    made = Made(Case(lambda: image), folder)
    if dense:
        with open(made.path, 'r+b') as file:
            content = file.read()
            os.truncate(made.path, 0)
            file.seek(0)
            file.write(content)
    return made.path


@pytest.fixture
def profile(tmp_path_factory, check):
    """A function that gives the findings of an image under a profile."""
    def run(image, name, dense=True):
        folder = scratch_folder(tmp_path_factory, 'profile')
        path = write(image, folder, dense)
        assert not {901, 902, 903, 904, 905} & check.ids(path)
        return check.ids(path, '--profile', name)
    return run


def ext4(image):
    """An image with the mark of ext4."""
    image.put(1024, bytes(56) + EXT4 + bytes(454))
    return image


@pytest.mark.parametrize('kind', ['dynamic', 'fixed', 'child'])
def test_sparse(profile, kind):
    """Windows refuses sparse files."""
    assert profile(sample(kind), 'hyperv', dense=False) == {901}


@pytest.mark.parametrize('kind', ['dynamic', 'fixed', 'child'])
def test_not_sparse(profile, kind):
    """The same content without holes is well."""
    assert profile(sample(kind), 'hyperv') == set()


def test_azure_format(profile):
    """No VHDX is fit for Azure."""
    assert profile(sample(), 'azure') == {902}
    assert profile(sample('fixed'), 'azure') == {902}


@pytest.mark.parametrize('size,found', [(8 * MIB, {902}), (8 * MIB - 512, {902, 903}),
                                        (7 * MIB + 512, {902, 903}), (7 * MIB, {902})])
def test_azure_size(profile, size, found):
    """The size must be whole MiB. That it is no VHD cannot be helped here."""
    assert profile(sample(size=size), 'azure') == found


def test_wsl_file_system(profile):
    """WSL wants ext4 on the whole disk."""
    assert profile(sample(), 'wsl') == {905}
    assert profile(ext4(sample()), 'wsl') == set()


def test_wsl_file_system_elsewhere(profile):
    """The mark must stand where ext4 has it."""
    image = sample()
    image.put(1024, bytes(57) + EXT4 + bytes(453))
    assert profile(image, 'wsl') == {905}


def test_wsl_chain(profile):
    """WSL takes images that stand alone."""
    child = child_sample()
    child.put(0, pattern_with_ext4())
    assert profile(child, 'wsl') == {904}
    # What file system there is no longer matters then.
    assert profile(child_sample(), 'wsl') == {904}


def pattern_with_ext4():
    """The beginning of an ext4 disk."""
    return bytes(1080) + EXT4 + bytes(4096 - 1082)


def test_profile_unknown(vhdx, tmp_path_factory):
    """A profile that does not exist is the caller's mistake."""
    path = write(sample(), scratch_folder(tmp_path_factory, 'profile'))
    done = vhdx('check', '--profile', 'vmware', path)
    assert done.code == 1 and done.out == b'' and 'vmware' in done.err


def test_profiles_are_never_mended(check, tmp_path_factory):
    """A repair under a profile leaves alone what is the profile's."""
    path = write(sample(), scratch_folder(tmp_path_factory, 'profile'), dense=False)
    code, report = check.run(path, '--profile', 'hyperv', '--repair=all')
    assert code == 2 and not report['repair']['changed']
    assert damage_core.repair_of(901) == 'none'
