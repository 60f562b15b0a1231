# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The program behind a mount: background, signals, other users, its end."""

import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from fuse_support import (MIB, ZERO_RANGE, ask_pid, fallocate, mounts, need, need_root, pattern,
                          read_at, run, same, sha256, wait_until, write_at)
from environment import missing


@pytest.fixture
def tmp_path():
    """A folder that other users may look into, unlike pytest's own."""
    path = pathlib.Path(tempfile.mkdtemp(prefix='vhdx-test-'))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def is_alive(pid):
    """Whether a process runs."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_background(vhdx, new_image, folder):
    """When mount returns, everything is there; the program has left the terminal, the folder and
    the standard files; when umount returns it has ended."""
    image = new_image('8M')
    vhdx.ok('mount', '-q', '--rw', image, folder)
    assert sorted(os.listdir(folder)) == ['disk', 'info.json']
    pid = ask_pid(folder)
    assert os.readlink(f'/proc/{pid}/cwd') == '/'
    for fd in range(3):
        assert os.readlink(f'/proc/{pid}/fd/{fd}') == '/dev/null'
    assert os.getsid(pid) == pid
    write_at(folder / 'disk', 0, pattern(1, MIB))
    vhdx.ok('umount', folder)
    assert not is_alive(pid)
    assert not json.loads(vhdx.ok('info', '--output=json', image))['dirty-flag']
    assert same(vhdx.ok('cat', '--length', '1M', image, text=False), pattern(1, MIB))


def test_partitions_are_there_at_once(vhdx, unpacked, folder):
    for _ in range(10):
        vhdx.ok('mount', '-q', unpacked('vhdx-log-replay.vhdx'), folder)
        assert (folder / 'p2').stat().st_size == 200 * MIB
        vhdx.ok('umount', folder)


def test_umount_waits_for_the_end(vhdx, new_image, folder):
    """The next program can have the image at once: its lock is gone."""
    image = new_image('64M')
    for number in range(8):
        vhdx.ok('mount', '-q', '--rw', image, folder)
        write_at(folder / 'disk', number * 2 * MIB, pattern(number, 2 * MIB))
        vhdx.ok('umount', folder)
    assert same(vhdx.ok('cat', '--length', '16M', image, text=False),
                b''.join(pattern(number, 2 * MIB) for number in range(8)))


def test_umount_waits_for_a_slow_end(vhdx, new_image, folder):
    """Each flush of the program takes half a second: when umount returns it has ended all the
    same."""
    need('strace')
    vhdx.ok('mount', '-q', '--rw', new_image('8M'), folder)
    pid = ask_pid(folder)
    write_at(folder / 'disk', 0, pattern(1, 1000))
    with subprocess.Popen(['strace', '-f', '-qq', '-o', '/dev/null', '-p', str(pid), '-e',
                           'inject=fdatasync:delay_enter=500000'],
                          stderr=subprocess.DEVNULL) as tracer:
        wait_until(lambda: 'TracerPid:\t0\n' not in
                   pathlib.Path(f'/proc/{pid}/status').read_text(encoding='ascii')
                   or tracer.poll() is not None, 'not traced')
        if tracer.poll() is not None:
            missing('strace may not trace')
        vhdx.ok('umount', folder)
        assert not is_alive(pid)
        tracer.wait(timeout=60)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_unmount(vhdx, mount, new_image, number):
    """What was written is stable, the log clean, the folder free."""
    image = new_image('8M')
    mounted = mount(image, '--rw')
    write_at(mounted / 'disk', 0, pattern(1, MIB))
    mounted.process.send_signal(number)
    assert (mounted.finish(), mounted.err) == (0, '')
    assert str(mounted.folder) not in mounts()
    assert not json.loads(vhdx.ok('info', '--output=json', image))['dirty-flag']
    assert same(vhdx.ok('cat', '--length', '1M', image, text=False), pattern(1, MIB))


def children_of(pid):
    """PIDs."""
    try:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
            return list(map(int, file.read().split()))
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_of(pid):
    """Of what runs there, while it does."""
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b''


def start_slowly(vhdx, call, *arguments, env=None):
    """vhdx under strace, which delays such system calls; the tracer, and the program's PID."""
    need('strace')
    tracer = subprocess.Popen(['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'inject=' + call,
                               *vhdx.command, *map(str, arguments)], env=env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    found = []

    def is_there():
        found[:] = [pid for pid in children_of(tracer.pid)
                    if command_of(pid).startswith(os.fsencode(vhdx.command[0]))]
        return found or tracer.poll() is not None
    wait_until(is_there, 'nothing was started')
    if not found:
        missing('strace may not trace')
    return tracer, found[0]


@pytest.mark.parametrize('options', [[], ['-f'], ['--overlay']], ids=' '.join)
def test_signal_while_mounting(vhdx, new_image, folder, options):
    """No dead mount stays behind: the kernel has mounted, the program does not know it yet."""
    need_root() # whose programs mount by themselves
    tracer, pid = start_slowly(vhdx, 'mount:delay_exit=1000000', 'mount', '-q', *options,
                               new_image('8M'), folder)
    wait_until(lambda: str(folder) in mounts() or tracer.poll() is not None, 'not mounted')
    os.kill((children_of(pid) or [pid])[0], signal.SIGTERM)
    tracer.communicate(timeout=60)
    wait_until(lambda: str(folder) not in mounts(), 'still mounted')
    assert os.listdir(folder) == []


def test_signal_while_an_overlay_is_made(vhdx, new_image, folder, tmp_path):
    """Nothing stays behind."""
    place = tmp_path / 'overlays'
    place.mkdir()
    tracer, pid = start_slowly(vhdx, 'unlink:delay_enter=1000000', 'mount', '-qf', '--overlay',
                               new_image('8M'), folder, env=dict(os.environ, TMPDIR=str(place)))
    wait_until(lambda: list(place.glob('*/overlay.avhdx')) or tracer.poll() is not None,
               'no overlay')
    os.kill(pid, signal.SIGTERM)
    tracer.communicate(timeout=60)
    assert os.listdir(place) == [] and str(folder) not in mounts()


def test_umount_of_what_is_elsewhere_too(vhdx, new_image, folder, tmp_path):
    """It does not wait for ever, and says why."""
    need_root()
    other = tmp_path / 'other'
    other.mkdir()
    vhdx.ok('mount', '-q', new_image('8M'), folder)
    pid = ask_pid(folder)
    run('mount', '--bind', folder, other)
    try:
        message = vhdx.fails('umount', folder)
    finally:
        run('umount', other)
    assert f'{folder}: unmounted here, but the image is still open' in message
    wait_until(lambda: not is_alive(pid), 'still running')


def test_file_size_limit(vhdx, new_image, folder):
    """Of the image's file: no failure of the disk."""
    vhdx.ok('mount', '-q', '--rw', new_image('64M', '-o', 'block_size=1M'), folder,
            restore_signals=False)
    pid = ask_pid(folder)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8 * MIB, resource.prlimit(
        pid, resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(OSError) as caught:
        for number in range(20):
            write_at(folder / 'disk', number * MIB, pattern(1, MIB))
    assert caught.value.errno == errno.ENOSPC
    vhdx.ok('umount', folder)


def test_signal_in_the_background(vhdx, new_image, folder):
    vhdx.ok('mount', '-q', new_image('8M'), folder)
    pid = ask_pid(folder)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), 'still running')
    assert str(folder) not in mounts()


def test_signal_while_in_use(vhdx, mount, new_image):
    """Open files do not keep it; what was written through them is there."""
    image = new_image('32M')
    mounted = mount(image, '--rw')
    fd = os.open(mounted / 'disk', os.O_RDWR)
    os.pwrite(fd, pattern(1, 3 * MIB), 0)
    mounted.process.send_signal(signal.SIGTERM)
    assert mounted.finish() == 0
    with pytest.raises(OSError):
        os.pread(fd, 10, 0)
    os.close(fd)
    assert str(mounted.folder) not in mounts()
    assert same(vhdx.ok('cat', '--length', '3M', image, text=False), pattern(1, 3 * MIB))


def test_signal_under_load(mount, unpacked):
    """Readers get an error, and the program ends in order."""
    mounted = mount(unpacked('btrfs.vhdx'))
    readers = [subprocess.Popen(['dd', f'if={mounted.folder}/disk', 'of=/dev/null', 'bs=64k',
                                 'iflag=direct'], stderr=subprocess.DEVNULL) for _ in range(4)]
    time.sleep(0.2)
    mounted.process.send_signal(signal.SIGTERM)
    assert mounted.finish() == 0
    for reader in readers:
        reader.wait(timeout=60)


def break_writing(pid):
    """Lets no write of a process past the beginning of a file succeed any more. The process must
    ignore SIGXFSZ, as Python does."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.prlimit(pid,
                                                                      resource.RLIMIT_FSIZE)[1]))


def test_failed_flush_is_told_by_umount(vhdx, new_image, folder):
    """When the last changes cannot be made stable umount fails, aloud; but it does unmount."""
    image = new_image('64M')
    vhdx.ok('mount', '-q', '--rw', image, folder, restore_signals=False)
    write_at(folder / 'disk', 0, pattern(1, 1000))
    break_writing(ask_pid(folder))
    assert vhdx.fails('umount', folder) == \
        f'vhdx: {folder}: what was written last may be lost: Input/output error\n'
    assert str(folder) not in mounts()
    assert vhdx.ok('info', image) # it opens


def test_failed_flush_reaches_the_client(vhdx, new_image, folder):
    """EIO for fsync, and for all writes from then on; reading goes on. One line each second at
    most, and exit code 1 in the end."""
    server = vhdx.start('mount', '-f', '--rw', new_image('64M'), folder, restore_signals=False)
    server.stdout.readline()
    fd = os.open(folder / 'disk', os.O_RDWR)
    os.pwrite(fd, pattern(1, 1000), 0)
    break_writing(server.pid)
    for change in (lambda: os.fsync(fd), lambda: os.pwrite(fd, b'x', 4 * MIB),
                   lambda: fallocate(fd, ZERO_RANGE, 0, 100), lambda: os.fsync(fd)):
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EIO
    assert same(os.pread(fd, 1000, 0), pattern(1, 1000))
    os.close(fd)
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=60)
    assert server.returncode == 1
    lines = err.decode().splitlines()
    assert 1 <= len(lines) <= 5 and all(line.startswith('vhdx: ') for line in lines), lines


def test_dialects(vhdx, new_image, folder):
    """PowerShell's words."""
    vhdx.ok('Mount-VHD', '-q', new_image('8M'), folder)
    vhdx.ok('Dismount-VHD', folder)


# ---- Other users ---------------------------------------------------------------------------------

def as_nobody(tmp_path, script, *words):
    """Runs a shell script as the user nobody, with a /dev/fuse for everybody."""
    need_root()
    need('unshare', 'runuser')
    device = tmp_path / 'fuse'
    if not device.exists():
        try:
            os.mknod(device, stat.S_IFCHR | 0o666, os.stat('/dev/fuse').st_rdev)
        except PermissionError:
            missing('no device files can be made here')
        device.chmod(0o666)
    prepare = 'mount --bind "$1" /dev/fuse && shift && exec runuser -u nobody -- sh -euc "$@"'
    return run('unshare', '--mount', 'sh', '-euc', prepare, 'sh', device, script, 'sh', *words,
               check=False)


def copy_of_tool(vhdx, tmp_path):
    """The tool and its library where everybody may run it: the build may be private."""
    place = tmp_path / 'tool'
    if not place.exists():
        place.mkdir()
        shutil.copy(vhdx.command[0], place / 'vhdx')
        text = run('ldd', vhdx.command[0]).stdout
        for line in text.splitlines():
            if 'libvhdx' in line:
                shutil.copy(line.split()[2], place)
        place.chmod(0o755)
    return ['env', f'LD_LIBRARY_PATH={place}', str(place / 'vhdx')]


@pytest.fixture
def for_nobody(vhdx, unpacked, tmp_path):
    """(command of the tool, image, folder) that nobody may use."""
    need_root()
    image = tmp_path / 'image.vhdx'
    shutil.copyfile(unpacked('ntfs-parent.vhdx'), image)
    place = tmp_path / 'theirs'
    place.mkdir()
    for path in (image, place):
        shutil.chown(path, 'nobody')
    return ' '.join(copy_of_tool(vhdx, tmp_path)), image, place


def test_ordinary_user(vhdx, for_nobody, tmp_path):
    """Mounts, reads, writes and unmounts without root; owns what is in the folder."""
    tool, image, place = for_nobody
    wanted = vhdx.ok('hash', image).split()[0]
    done = as_nobody(tmp_path, f'''
        {tool} mount -q "$1" "$2"
        sha256sum <"$2/disk"; stat -c %U "$2/disk" "$2/p1"
        {tool} umount "$2"
        {tool} mount -q --rw "$1" "$2"
        printf hello | dd of="$2/disk" conv=notrunc,fsync status=none
        {tool} umount "$2"
        ls -A "$2"''', image, place)
    assert (done.returncode, done.stderr) == (0, ''), done
    assert done.stdout.split() == [wanted, '-', 'nobody', 'nobody']
    assert vhdx.ok('cat', '--length', '5', image) == 'hello'


def test_ordinary_user_is_told_what_is_wrong(for_nobody, tmp_path):
    """fusermount3's complaints, as one line of ours."""
    tool, image, _ = for_nobody
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    done = as_nobody(tmp_path, f'{tool} mount "$1" "$2"', image, foreign)
    assert done.returncode == 1
    assert done.stderr.startswith(f'vhdx: {foreign}: cannot mount: ')
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_read_only_file(for_nobody, tmp_path):
    """--rw needs a file that may be written; --overlay does not."""
    tool, image, place = for_nobody
    image.chmod(0o444)
    done = as_nobody(tmp_path, f'{tool} mount --rw "$1" "$2"', image, place)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f'vhdx: {image}: opening: Permission denied'
    done = as_nobody(tmp_path, f'''
        {tool} mount -q --overlay "$1" "$2"
        printf hello | dd of="$2/disk" conv=notrunc,fsync status=none; head -c 5 "$2/disk"
        {tool} umount "$2"''', image, place)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'hello', '')


def test_allow_other_needs_permission(for_nobody, tmp_path):
    """Without user_allow_other in /etc/fuse.conf."""
    tool, image, place = for_nobody
    conf = pathlib.Path('/etc/fuse.conf')
    if conf.exists() and '\nuser_allow_other' in '\n' + conf.read_text(encoding='utf-8'):
        pytest.skip('user_allow_other is set')
    done = as_nobody(tmp_path, f'{tool} mount --allow-other "$1" "$2"', image, place)
    assert done.returncode == 1
    assert 'allow_other' in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize('options', [[], ['--allow-other']])
def test_others_look_inside(vhdx, mount, for_nobody, tmp_path, options):
    """Only with --allow-other, and then they may not write."""
    _, image, _ = for_nobody
    mounted = mount(image, '--rw', *options)
    done = as_nobody(tmp_path, 'sha256sum <"$1" && echo x >"$1"', mounted / 'disk')
    assert done.returncode != 0 and 'Permission denied' in done.stderr
    assert done.stdout == (f'{sha256(mounted / "disk")}  -\n' if options else '')


def test_dead_mount_of_an_ordinary_user(for_nobody, tmp_path):
    tool, image, place = for_nobody
    done = as_nobody(tmp_path, f'''
        {tool} mount -f -q "$1" "$2" & server=$!
        until [ -e "$2/disk" ]; do sleep 0.05; done
        kill -9 $server; wait $server || true
        {tool} umount "$2"; ls -A "$2"''', image, place)
    assert (done.returncode, done.stdout) == (0, ''), done


def test_fuse_read_of_root(mount, unpacked):
    """The folder itself cannot be read as a file."""
    mounted = mount(unpacked('ntfs-parent.vhdx'))
    with pytest.raises(IsADirectoryError):
        read_at(mounted.folder, 0, 1)
