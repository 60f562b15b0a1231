# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The server is killed in the midst of a guest's writes, several times on one image. Each time what
the guest had synced before is there, the image is sound, and so is the file system, once its
journal is replayed."""

import random
import time

import pytest

from fuse_support import sha256
from guest_support import content, dump, expect_clean, expect_right, expect_sound
from guest_support import make_file_system, recover
from nbd_support import log_state

ROUNDS = 4
STEPS = 300  # of a round, at most: the guest is killed before
SLOTS, SLOT = 16, 65536
OLD = 2000  # the first slot's content in the beginning

# Each step writes a new file and one slot of an old one, in place; three of four remove a file.
# What was deleted is trimmed with the next commit of the journal.
WORK = '''
mount -t ext4 -o discard /dev/vda /mnt
cd /mnt
n=%(first)d
while [ $n -lt %(end)d ]; do
    content $n $((n * 37 %% 13 * 40000 + 1000)) >f$n
    content $n %(slot)d | dd of=slots bs=%(slot)d seek=$((n %% %(slots)d)) conv=notrunc \
        iflag=fullblock 2>/dev/null
    sync
    echo synced $n
    if [ $((n %% 4)) != 0 ] && [ $((n - 3)) -ge %(first)d ]; then
        rm f$((n - 3))
        sync
        echo removed $((n - 3))
    fi
    n=$((n + 1))
done
'''


def length_of(number):
    """Of a file."""
    return number * 37 % 13 * 40000 + 1000


class Model:
    """What the file system must hold."""

    def __init__(self):
        self.files = {}  # number: True, it must be there; False, it must not
        self.slots = {slot: OLD + slot for slot in range(SLOTS)}  # slot: content

    def take(self, first, before, after):
        """What a guest had said before the server was killed, and until the guest was: of what it
        may have begun in between nothing is known."""
        for line in before:
            word, number = line.split()[0], int(line.split()[1])
            self.files[number] = word == 'synced'
            if word == 'synced':
                self.slots[number % SLOTS] = number
        synced = [int(line.split()[1]) for line in before if line.startswith('synced')]
        begun = [int(line.split()[1]) for line in after if line.startswith('synced')]
        for number in range(max(synced), max(begun) + 2):
            if number not in synced:
                self.slots.pop(number % SLOTS, None)
                self.files.pop(number, None)
            if number - 3 >= first and self.files.get(number - 3):
                self.files.pop(number - 3)

    def check(self, found):
        """found: {path: content}."""
        for number, is_there in self.files.items():
            data = found.get('f%d' % number)
            if not is_there:
                assert data is None, 'f%d was removed, and is there' % number
            else:
                assert data is not None, 'f%d was synced, and is not there' % number
                is_same = data == content(number, length_of(number))
                assert is_same, 'f%d was synced, and has other content' % number
        for slot, number in self.slots.items():
            is_same = found['slots'][slot * SLOT:][:SLOT] == content(number, SLOT)
            assert is_same, 'slot %d was synced, and has not the content %d' % (slot, number)


@pytest.fixture(name='base')
def make_base(new_image, mount, tmp_path):
    """An image with a file system that has the slots in it."""
    path = new_image('base.vhdx')
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'slots').write_bytes(
        b''.join(content(OLD + slot, SLOT) for slot in range(SLOTS)))
    make_file_system(mount, path, tmp_path / 'old')
    return path


def markers(guest):
    """What the guest says it has done."""
    return [line for line in guest.said() if line.startswith(('synced ', 'removed '))]


def one_round(boot, server, image, model, first, pick, at_once):
    """The guest works until the server is killed: at any moment, or at once after something was
    synced, when nothing that comes later can have made up for a flush that did nothing."""
    served = server(image)
    guest = boot(served.socket, WORK % {'first': first, 'end': first + STEPS, 'slot': SLOT,
                                        'slots': SLOTS})
    steps, wait = pick.randrange(4, 16), 0 if at_once else pick.uniform(0, 0.3)
    guest.wait_until(lambda: len(markers(guest)) >= steps, 'has made %d steps' % steps)
    time.sleep(wait)
    before = markers(guest)
    served.kill()
    after = markers(guest)
    assert guest.process.poll() is None, guest.logs()
    guest.kill()
    model.take(first, before, after)
    print('round from %d: %s was the last' % (first, before[-1]))
    return guest


def look(vhdx, mount, image, model, folder, guest, replays):
    """After a round: the image, the file system, the files. Returns whether there was a log."""
    state = log_state(vhdx, image)
    expect_right(vhdx, image)
    if replays:
        vhdx.ok('replay', image)
        assert log_state(vhdx, image) == 'clean'
        if state == 'dirty': # else there was nothing to replay, and nothing was cut off
            expect_clean(vhdx, image)
    mounted = mount(image, '--rw')
    try:
        recovered = recover(mounted / 'disk')
        expect_sound(mounted / 'disk')
        model.check(dump(mounted / 'disk', folder))
        assert 'recovering journal' in recovered, recovered
    except AssertionError as wrong:
        raise AssertionError('%s%s' % (wrong, guest.logs())) from wrong
    mounted.end()
    expect_clean(vhdx, image)
    return state == 'dirty'


def kill_and_look(boot, server, vhdx, mount, image, tmp_path):
    """All rounds."""
    model, pick, logs = Model(), random.Random(image.name), 0
    for number in range(ROUNDS):
        guest = one_round(boot, server, image, model, 1 + number * STEPS, pick,
                          number % 2 == 1)
        logs += look(vhdx, mount, image, model, tmp_path / ('found-%d' % number), guest,
                     number >= 2)
    assert logs > 0, 'the server was never killed in the midst of something'
    assert sum(model.files.values()) > 5 and not all(model.files.values())


def test_kills(boot, server, vhdx, mount, base, tmp_path):
    """On a dynamic image."""
    kill_and_look(boot, server, vhdx, mount, base, tmp_path)


def test_kills_of_a_child(boot, server, vhdx, mount, base, new_child, tmp_path):
    """The file system is in the parent, what the guest does in the child."""
    before = sha256(base)
    kill_and_look(boot, server, vhdx, mount, new_child(base), tmp_path)
    assert sha256(base) == before
