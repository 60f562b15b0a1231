# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests with a real guest share: its initramfs, QEMU, and file systems seen from outside.

The guest is a Linux kernel of this machine with busybox, the modules it needs, and mke2fs. It has
one virtio disk, an NBD export. The kernel talks to the first serial port, what a test lets run in
the guest has the second one as its terminal, so that no message of the kernel's stands in the
midst of a line that a test waits for.
"""

import fnmatch
import io
import json
import lzma
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / 'nbd'), str(HERE.parent / 'fuse')]

# pylint: disable=wrong-import-position
from environment import missing, program  # noqa: E402

GUEST_SECONDS = 300  # for anything that a guest does, also without KVM on a busy machine
MODULES = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4']
PROGRAMS = ['fstrim', 'mke2fs', 'sha256sum']  # which busybox has not, or slower ones
PATH = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'

INIT = r'''#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
echo ready
for program in /programs/*; do eval "${program##*/}() { $program \"\$@\"; }"; done
content() { seq $(($1 * 1000000)) $(($1 * 1000000 + 999999)) | head -c $2; }
ask() { echo "$1"; read answer; }
( . /script )
echo "end $?"
poweroff -f || echo o >/proc/sysrq-trigger
sleep 60
'''


# ---- The initramfs -------------------------------------------------------------------------------

def find_kernel():
    """(image, folder of modules) of the newest kernel that has both."""
    if platform.machine() != 'x86_64':
        pytest.skip('the kernels of this machine are not for x86-64')
    for image in sorted(pathlib.Path('/boot').glob('vmlinuz-*'), key=version_of, reverse=True):
        modules = pathlib.Path('/lib/modules') / image.name.removeprefix('vmlinuz-')
        if os.access(image, os.R_OK) and (modules / 'modules.dep').exists():
            return image, modules
    return missing('no kernel in /boot that we may read, with modules in /lib/modules')


def version_of(path):
    """For sorting."""
    return [int(number) for number in re.findall(r'\d+', path.name)]


def modules_in_order(folder):
    """Paths of the modules, each behind those that it needs; what is built in is left out."""
    needs = {}
    for line in (folder / 'modules.dep').read_text(encoding='ascii').splitlines():
        path, others = line.split(':')
        needs[path] = others.split()
    found = []
    for name in MODULES:
        for path in fnmatch.filter(needs, '*/%s.ko*' % name):
            # In modules.dep what is needed first stands last.
            found += [one for one in [*reversed(needs[path]), path] if one not in found]
    return [folder / path for path in found]


def unpack_module(path):
    """The content of a module, which may be packed."""
    if path.suffix == '.ko':
        return path.read_bytes()
    if path.suffix == '.xz':
        return lzma.decompress(path.read_bytes())
    return missing('modules packed like %s cannot be unpacked' % path.name)


class Archive:
    """A cpio archive as the kernel takes it."""

    def __init__(self):
        self.out, self.folders, self.count = io.BytesIO(), {''}, 0

    def _entry(self, name, mode, data):
        self.count += 1
        fields = [self.count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        self._padded(b'070701' + b''.join(b'%08X' % field for field in fields) +
                     name.encode() + b'\0')
        self._padded(data)

    def _padded(self, data):
        self.out.write(data + bytes(-len(data) % 4))

    def folder(self, name):
        """With those above it."""
        name = name.strip('/')
        if name not in self.folders:
            self.folder(os.path.dirname(name))
            self.folders.add(name)
            self._entry(name, 0o040755, b'')

    def file(self, name, data):
        """An executable file."""
        self.folder(os.path.dirname(name))
        self._entry(name.strip('/'), 0o100755, data)

    def program(self, name, folder):
        """A program of this machine's, with its libraries."""
        path = program(name)
        self.file(folder + '/' + name, pathlib.Path(path).read_bytes())
        listing = subprocess.run(['ldd', path], stdout=subprocess.PIPE, text=True, check=False,
                                 stderr=subprocess.DEVNULL,  # "not a dynamic executable"
                                 timeout=GUEST_SECONDS).stdout
        for library in re.findall(r'(/\S+) \(0x', listing):
            self.file(library, pathlib.Path(library).read_bytes())

    def content(self):
        """All of it; archives may follow one another."""
        self._entry('TRAILER!!!', 0, b'')
        self.out.write(bytes(-self.out.tell() % 512))
        return self.out.getvalue()


class Kit:
    """What all guests have in common. folder: for the guests that are tried."""

    def __init__(self, folder):
        self.qemu = program('qemu-system-x86_64')
        self.kernel, modules_folder = find_kernel()
        archive = Archive()
        for name in ('proc', 'sys', 'dev', 'mnt'):
            archive.folder(name)
        archive.program('busybox', '/bin')
        for name in PROGRAMS:
            archive.program(name, '/programs')
        modules = modules_in_order(modules_folder)
        for path in modules:
            archive.file('/modules/' + path.name, unpack_module(path))
        archive.file('/modules/order', '\n'.join(path.name for path in modules).encode())
        if os.path.exists('/etc/mke2fs.conf'):
            archive.file('/etc/mke2fs.conf', pathlib.Path('/etc/mke2fs.conf').read_bytes())
        archive.file('/init', INIT.encode())
        self.initramfs = archive.content()
        self.accelerator = self._choose(folder)

    def _choose(self, folder):
        """KVM, or emulation where there is no KVM, or one that is slower: in virtual machines it
        can be there and get nowhere. The guest that is ready first tells."""
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            return 'tcg'
        guests = {name: Guest(self, folder / name, None, '', accelerator=name)
                  for name in ('kvm', 'tcg')}
        try:
            deadline = time.monotonic() + GUEST_SECONDS
            while time.monotonic() < deadline:
                for name, guest in guests.items():
                    if 'ready' in guest.said():
                        return name
                time.sleep(0.01)
            return pytest.fail('no guest starts:' + ''.join(g.logs() for g in guests.values()))
        finally:
            for guest in guests.values():
                guest.kill()


# ---- The guest -----------------------------------------------------------------------------------

def disk_options(socket, sector_size=512, read_only=False):
    """QEMU's options for a virtio disk; its cache is one that wants to be flushed."""
    common = {'read-only': read_only, 'discard': 'unmap',
              'cache': {'direct': True, 'no-flush': False}}
    export = {'driver': 'nbd', 'server': {'type': 'unix', 'path': str(socket)}, **common}
    return ['-blockdev', json.dumps({'driver': 'raw', 'node-name': 'disk', 'file': export,
                                     **common}),
            '-device', 'virtio-blk-pci,drive=disk,write-cache=on,logical_block_size=%d,'
                       'physical_block_size=4096' % sector_size]


class Guest:
    """A machine that runs a script with an NBD export as /dev/vda, and ends with it."""

    def __init__(self, kit, folder, socket, script, accelerator=None, **options):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        archive = Archive()
        archive.file('/script', ('set -e\n' + script).encode())
        initramfs = self.folder / 'initramfs'
        initramfs.write_bytes(kit.initramfs + archive.content())
        command = [
            kit.qemu, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
            '-accel', accelerator or kit.accelerator, '-cpu', 'max,arch-capabilities=off',
            '-smp', '1', '-m', '256', '-kernel', kit.kernel, '-initrd', initramfs,
            '-append', 'console=ttyS0 loglevel=5 panic=-1',
            '-serial', 'file:%s' % (self.folder / 'kernel.log'), '-serial', 'stdio',
            *(disk_options(socket, **options) if socket else [])]
        with open(self.folder / 'qemu.log', 'wb') as errors, \
                open(self.folder / 'script.log', 'wb') as output:
            self.process = subprocess.Popen(list(map(os.fspath, command)), stdin=subprocess.PIPE,
                                            stdout=output, stderr=errors)

    def said(self):
        """The lines of the script that are complete."""
        text = (self.folder / 'script.log').read_text(encoding='utf-8', errors='replace')
        return text.replace('\r', '').split('\n')[:-1]

    def logs(self):
        """All that it has said, for people."""
        text = ''
        for name in ('kernel.log', 'script.log', 'qemu.log'):
            path = self.folder / name
            tail = path.read_text(encoding='utf-8', errors='replace')[-6000:] \
                if path.exists() else ''
            text += '\n---- %s ----\n%s' % (name, tail)
        return text

    def wait_until(self, condition, what, alive=True):
        """Waits until something is true; alive: which it cannot become once QEMU has ended."""
        deadline = time.monotonic() + GUEST_SECONDS
        while not condition():
            has_ended = alive and self.process.poll() is not None
            if (has_ended and not condition()) or time.monotonic() > deadline:
                self.kill()
                pytest.fail('the guest: %s: %s%s' % (
                    what, 'QEMU has ended' if has_ended else 'timeout', self.logs()))
            time.sleep(0.002)

    def wait_for(self, line):
        """Waits for a line from the script."""
        self.wait_until(lambda: line in self.said(), 'says "%s"' % line)

    def answer(self):
        """Lets the script go on that has called `ask`."""
        self.process.stdin.write(b'\n')
        self.process.stdin.flush()

    def end(self):
        """Waits for the script's end, and demands that all its commands have worked."""
        self.wait_until(lambda: self.process.poll() is not None, 'powers off', alive=False)
        lines = self.said()
        if self.process.returncode != 0 or lines[-1:] != ['end 0']:
            pytest.fail('the guest: exit code %d%s' % (self.process.returncode, self.logs()))
        self.process.stdin.close()
        return lines

    def value(self, name):
        """What the script said in a line "NAME VALUE"."""
        values = [line.split()[1] for line in self.said() if line.split()[:1] == [name]]
        if len(values) != 1:
            pytest.fail('the guest: no, or more than one, "%s"%s' % (name, self.logs()))
        return values[0]

    def kill(self):
        """No end at all."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(GUEST_SECONDS)
        if not self.process.stdin.closed:
            self.process.stdin.close()


def content(number, length):
    """What the function of this name in the guest writes: nowhere zero and nowhere the same.
    number is not 0."""
    lines = b''.join(b'%d\n' % i for i in range(number * 1000000,
                                                number * 1000000 + length // 7 + 1))
    return lines[:length]


# ---- File systems, seen from outside -------------------------------------------------------------

# What e2fsck -fy may say of a file system that was in use. Replaying the journal, putting away what
# was deleted while it was open, and the superblock's sums, which the kernel writes when it unmounts
# and otherwise reckons anew, are no repair; a wrong count of a single group would be one.
RECOVERY = re.compile(r'''
    e2fsck\ .* | .*:\ recovering\ journal | Clearing\ orphaned\ inode\ .* |
    Pass\ [1-5]:\ .* | .*:\ \*+\ FILE\ SYSTEM\ WAS\ MODIFIED\ \*+ |
    .*:\ \d+/\d+\ files\ .*\ blocks | Setting\ free\ (?:inodes|blocks)\ count\ to\ .* |
    Free\ (?:inodes|blocks)\ count\ wrong\ \(\d+,\ counted=\d+\)\. | Fix\?\ yes |
    ''', re.X)


def run(name, *arguments):
    """Runs a program of e2fsprogs' to its end."""
    return subprocess.run([program(name), *map(os.fspath, arguments)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors='replace', timeout=GUEST_SECONDS, check=False)


def make_file_system(mount, image, folder):
    """ext4 with the content of a folder, on an empty image."""
    mounted = mount(image, '--rw')
    done = run('mke2fs', '-q', '-F', '-t', 'ext4', '-d', folder, mounted / 'disk')
    assert done.returncode == 0, done
    mounted.end()


def recover(disk):
    """e2fsck replays the journal, and has nothing else to do."""
    done = run('e2fsck', '-fy', disk)
    strange = [line for line in done.stdout.splitlines() if not RECOVERY.fullmatch(line)]
    assert done.returncode in (0, 1) and not strange, done.stdout
    return done.stdout


def expect_sound(disk):
    """e2fsck finds nothing."""
    done = run('e2fsck', '-fn', disk)
    assert done.returncode == 0, done.stdout


def expect_clean(vhdx, image):
    """`vhdx check` finds nothing worse than notes."""
    done = vhdx('check', '--output=json', image)
    assert (done.returncode, done.stderr) == (0, ''), done
    report = json.loads(done.stdout)
    assert [report[word] for word in ('leaks', 'errors', 'fatals', 'check-errors')] == [0] * 4, done


def expect_right(vhdx, image):
    """The same, but the file may be larger than needed: until the first session that writes again
    cuts off what the one that was killed had taken ahead."""
    done = vhdx('check', '--output=json', image)
    assert done.returncode in (0, 3) and done.stderr == '', done
    report = json.loads(done.stdout)
    assert [report[word] for word in ('errors', 'fatals', 'check-errors')] == [0] * 3, done
    leaks = {finding['name'] for finding in report['findings'] if finding['severity'] == 'leak'}
    assert leaks <= {'file-trailing', 'space-leaked'}, done


def dump(disk, folder):
    """{path: content} of all files in a file system."""
    folder.mkdir()
    done = run('debugfs', '-R', 'rdump / %s' % folder, disk)
    assert done.returncode == 0, done.stdout
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}
