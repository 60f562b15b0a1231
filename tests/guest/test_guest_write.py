# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""A guest makes a file system, writes, deletes, trims and powers off: the image is sound, its file
has shrunk, and the files are there from outside."""

import hashlib

import pytest

from fuse_support import MIB, same, sha256
from guest_support import content, dump, expect_clean, expect_sound, make_file_system
from nbd_support import log_state, used

FILES = range(1, 13)
LEFT = [number for number in FILES if number % 3 == 0]
LENGTH = MIB + 12345
OLD_LENGTH = 28000000  # of what is in the parent's file system

WORK = '''
cd /sys/block/vda/queue
echo cache $(tr -d ' ' <write_cache)
echo discard $(cat discard_max_bytes)
cd /
mke2fs -q -F -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda
mount -t ext4 /dev/vda /mnt
mkdir /mnt/files
for n in $(seq 1 %d); do
    content $n %d >/mnt/files/f$n
    sync
done
cd /mnt/files
sha256sum *
for n in *; do
    case $n in f3|f6|f9|f12) ;; *) rm $n ;; esac
done
cd /
sync
ask written
fstrim /mnt
echo done >/mnt/trimmed
sync
ask trimmed
umount /mnt
''' % (len(FILES), LENGTH)


@pytest.fixture(name='parent')
def make_parent(new_image, mount, tmp_path):
    """An image with a file system that is to be overwritten."""
    path = new_image('parent.vhdx')
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'file').write_bytes(content(1000, 7000000) * (OLD_LENGTH // 7000000))
    make_file_system(mount, path, tmp_path / 'old')
    return path


def test_writes_and_trims(boot, serving, mount, vhdx, tmp_path, new_image):
    """On a dynamic image."""
    write_and_look(boot, serving, mount, vhdx, tmp_path, new_image())


def test_writes_and_trims_a_child(boot, serving, mount, vhdx, tmp_path, new_child, parent):
    """On a child whose parent has another file system."""
    before = sha256(parent)
    write_and_look(boot, serving, mount, vhdx, tmp_path, new_child(parent))
    assert sha256(parent) == before


def write_and_look(boot, serving, mount, vhdx, tmp_path, image):
    """One guest, and what is there afterwards."""
    socket, stop = serving(image)
    guest = boot(socket, WORK)
    guest.wait_for('written')
    before = used(image)
    guest.answer()
    guest.wait_for('trimmed')
    after = used(image)
    guest.answer()
    guest.end()
    stop()
    assert guest.value('cache') == 'writeback' and int(guest.value('discard')) > 0, guest.logs()
    hashes = dict(reversed(line.split()) for line in guest.said() if len(line.split()[0]) == 64)
    assert hashes == {'f%d' % number: hashlib.sha256(content(number, LENGTH)).hexdigest()
                      for number in FILES}, guest.logs()

    removed = (len(FILES) - len(LEFT)) * LENGTH
    print('used: %d before the trim, %d after it; %d were deleted' % (before, after, removed))
    assert before >= len(FILES) * LENGTH, guest.logs()
    assert before - after >= removed * 9 // 10, guest.logs()
    assert used(image) <= after + MIB

    assert log_state(vhdx, image) == 'clean'
    expect_clean(vhdx, image)
    mounted = mount(image)
    expect_sound(mounted / 'disk')
    found = dump(mounted / 'disk', tmp_path / 'found')
    assert found.pop('trimmed') == b'done\n'
    assert sorted(found) == sorted('files/f%d' % number for number in LEFT)
    assert all(same(found['files/f%d' % number], content(number, LENGTH)) for number in LEFT)
    mounted.end()
