# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The plugin as nbdkit sees it: parameters, starting in the foreground and in the background, and
errors, each as one line in the log and as the right errno at the client."""

import errno
import os
import re
import signal
import subprocess

import pytest

from nbd_support import KIB, MIB, STOP_SECONDS, log_state, nbd, ok, run
from environment import missing, program
from nbd_support import server_program, sha256_of, wait_for
# pylint: disable=wrong-import-order
import vhdxref

pytestmark = pytest.mark.skipif(nbd is None and os.environ.get('CI') != 'true',
                                reason='the Python module nbd is not installed')


def refused(plugin, *parameters):
    """Starts a server that must not start; returns its one line."""
    done = run('nbdkit', '-f', '-U', '-', plugin, *parameters, '--run', 'true')
    assert done.returncode == 1, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith('nbdkit: error: '), done.stderr
    return lines[0][len('nbdkit: error: '):]


# ---- Parameters ----------------------------------------------------------------------------------

def test_dump_plugin(plugin, vhdx):
    lines = ok('nbdkit', plugin, '--dump-plugin').splitlines()
    version = vhdx.ok('--version').split()[1]
    for line in ('name=vhdx', 'thread_model=parallel', 'magic_config_key=file',
                 'version=' + version, 'vhdx_version=' + version):
        assert line in lines


def test_help_names_every_parameter(plugin):
    text = ok('nbdkit', plugin, '--help')
    for key in ('[file=]FILE', 'parent=', 'search-dir=', 'map-path=', 'no-parent=', 'any-parent=',
                'force-share='):
        assert re.search('^' + re.escape(key), text, re.M), key


@pytest.mark.parametrize('parameters, message', [
    ([], 'the image is missing: nbdkit vhdx FILE'),
    (['file=a', 'file=b'], "file: given twice, as 'FOLDER/a' and as 'b'"),
    (['a', 'map-path=C:'], "map-path: 'C:' is not of the form WINDOWS-FOLDER=LOCAL-FOLDER"),
    (['a', 'map-path==/x'], "map-path: '=/x' is not of the form WINDOWS-FOLDER=LOCAL-FOLDER"),
    (['a', 'map-path=C:\\='], "map-path: 'C:\\=' is not of the form WINDOWS-FOLDER=LOCAL-FOLDER"),
    (['a', 'no-parent=perhaps'], 'could not decipher boolean (perhaps)'),
    (['a', 'color=blue'], "'color' is not a parameter of this plugin; 'nbdkit vhdx --help' lists "
                          "them"),
])
def test_mistakes(plugin, parameters, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert refused(plugin, *parameters) == message.replace('FOLDER/', '%s/' % tmp_path)


# ---- Starting ------------------------------------------------------------------------------------

def test_file_that_is_not_there(plugin, tmp_path):
    path = tmp_path / 'nothing.vhdx'
    assert refused(plugin, path) == '%s: opening: No such file or directory' % path


def test_file_that_is_no_image(plugin, tmp_path):
    path = tmp_path / 'text.vhdx'
    path.write_text('This is no image.\n' * 100000)
    assert 'not a VHDX image' in refused(plugin, path)


def test_missing_parent(plugin, image, child):
    base = image()
    path = child(base)
    base.unlink()
    message = refused(plugin, path)
    assert message.startswith('%s: parent' % path), message
    assert str(base) in message


@pytest.mark.parametrize('bad', [False, True])
def test_background(plugin, filled, vhdx, tmp_path, monkeypatch, bad):
    """Without -f an error is seen before the server leaves; a good one serves from there on,
    although it has left the folder that its paths were relative to."""
    path = filled()
    wanted = sha256_of(vhdx, path)
    if bad:
        path.write_bytes(b'no image')
    monkeypatch.chdir(tmp_path)
    # Not through a pipe: the server in the background would hold it open.
    with open('errors', 'wb') as errors:
        code = subprocess.run([*server_program(), '-r', '-U', tmp_path / 'socket',
                               '-P', tmp_path / 'pid',
                               plugin, 'disk.vhdx'], stdin=subprocess.DEVNULL, stdout=errors,
                              stderr=errors, timeout=STOP_SECONDS, check=False).returncode
    text = (tmp_path / 'errors').read_text()
    if bad:
        assert code == 1 and text.count('\n') == 1 and 'nbdkit: error: ' in text, text
        return
    assert (code, text) == (0, '')
    wait_for(lambda: os.path.exists('pid') and os.path.getsize('pid'), 'the server starts')
    pid = int((tmp_path / 'pid').read_text())
    try:
        ok('nbdcopy', 'nbd+unix:///?socket=%s' % (tmp_path / 'socket'), 'copy.img')
    finally:
        os.kill(pid, signal.SIGTERM)
    assert ok('sha256sum', 'copy.img').split()[0] == wanted


def test_run(plugin, image, vhdx, tmp_path):
    """With --run the process that waits for the command must not keep the image locked."""
    path = image()
    command = "/usr/bin/python3 -m nbd -u $uri -c 'h.pwrite(b\"x\" * 512, 0)'"
    done = run('nbdkit', '-U', '-', plugin, path, '--run', command, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    wait_for(lambda: log_state(vhdx, path) == 'clean', 'the server ends')
    assert vhdx.ok('cat', '--length', '512', path) == 'x' * 512


# ---- Files that cannot be written to -------------------------------------------------------------

@pytest.fixture
def protected():
    """A function that takes away the right to write to a file, from root too."""
    paths = []

    def protect(path):
        path.chmod(0o444)
        if os.geteuid() == 0:
            if run('chattr', '+i', path).returncode:
                missing('chattr +i does not work here')
            paths.append(path)
    yield protect
    for path in paths:
        run('chattr', '-i', path)


def test_protected_file_is_served_read_only(filled, protected, serve):
    path = filled()
    protected(path)
    server = serve(path)
    handle = server.connect(unaligned=True)
    assert handle.is_read_only()
    assert handle.pread(512, 5 * MIB) != bytes(512)
    with pytest.raises(nbd.Error) as caught:
        handle.pwrite(b'x' * 512, 0)
    assert caught.value.errnum == errno.EPERM


# ---- A full disk ---------------------------------------------------------------------------------

def test_full_disk(filled, serve, file_system, tmp_path, vhdx):
    """ENOSPC at the client, one line in the log; what was flushed is there, and what is mapped can
    still be written to; room made by trimming is used again."""
    path = filled('disk.vhdx', '64M', '-o', 'block_size=1M')
    folder = tmp_path / 'small'
    server = serve(folder / 'disk.vhdx', wrapper=file_system('tmpfs', 'size=14M', folder, path))
    handle = server.connect()
    handle.pwrite(b'a' * MIB, 5 * MIB)
    handle.flush()
    with pytest.raises(nbd.Error) as caught:
        for block in range(40, 60):
            handle.pwrite(b'b' * MIB, block * MIB)
    assert caught.value.errnum == errno.ENOSPC
    assert len(server.errors()) == 1
    assert re.search(r'disk\.vhdx: .*[Nn]o space left', server.errors()[0]), server.errors()
    assert handle.pread(MIB, 5 * MIB) == b'a' * MIB
    handle.pwrite(b'c' * MIB, 5 * MIB)
    handle.flush()
    handle.trim(MIB, 9 * MIB)
    handle.flush()
    handle.pwrite(b'd' * 512 * KIB, 9 * MIB, nbd.CMD_FLAG_FUA)
    handle.shutdown()
    server.stop()
    after = tmp_path / 'after' / 'disk.vhdx'
    model = vhdxref.open_image(str(after))
    assert model.content().get(5 * MIB, MIB) == b'c' * MIB
    assert model.content().get(9 * MIB, MIB) == b'd' * 512 * KIB + bytes(512 * KIB)
    assert model.content().sha256() == sha256_of(vhdx, after)
    model.close()


def test_file_size_limit(image, serve):
    """It fails the request that needs more, and does not end the server."""
    server = serve(image(), wrapper=['prlimit', '--fsize=%d' % (20 * MIB)])
    handle = server.connect()
    handle.pwrite(b'a' * MIB, 0)
    with pytest.raises(nbd.Error) as caught:
        for block in range(60):
            handle.pwrite(b'b' * MIB, block * MIB)
    assert caught.value.errnum == errno.ENOSPC
    assert handle.pread(MIB, 0) == b'b' * MIB
    handle.shutdown()
    server.stop()


# ---- A disk that fails ---------------------------------------------------------------------------

def test_failed_flush(image, serve, vhdx):
    """EIO for the flush and for all changes after it; reading goes on. For the next client the
    image is opened anew, with what was flushed before."""
    path = image()
    program('strace')
    # strace counts by thread; with -t 1 there is one for each connection.
    server = serve(path, options=['-t', '1'], wrapper=[
        'strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=fdatasync',
        '-e', 'inject=fdatasync:error=EIO:when=16'])
    handle = server.connect()
    failed = None
    for number in range(1, 31):
        handle.pwrite(b'%c' % number * 4096, number * 2 * MIB)
        try:
            handle.flush()
        except nbd.Error as error:
            failed = number
            assert error.errnum == errno.EIO
            break
    assert failed and failed > 1, 'the failure comes in the midst of it'
    assert len(server.errors()) == 1, server.errors()
    for change in (lambda: handle.pwrite(bytes(512), 0), lambda: handle.zero(512, 0), handle.flush,
                   lambda: handle.trim(512, 0)):
        with pytest.raises(nbd.Error) as caught:
            change()
        assert caught.value.errnum == errno.EIO
    assert handle.pread(4096, 2 * MIB) == b'\1' * 4096
    said = len(server.errors())
    handle.shutdown()
    wait_for(lambda: len(server.errors()) > said, 'the image cannot be finished')

    handle = server.connect()
    for number in range(1, failed):
        assert handle.pread(4096, number * 2 * MIB) == b'%c' % number * 4096
    handle.pwrite(b'new' + bytes(509), 0)
    handle.flush()
    handle.shutdown()
    server.stop()
    assert log_state(vhdx, path) == 'clean'
    assert vhdx.ok('cat', '--length', '3', path) == 'new'


# ---- Coming to an end ----------------------------------------------------------------------------

def test_clean_end(image, serve, vhdx):
    """SIGTERM while a client is connected, for which nbdkit waits: then everything is stable, also
    what was not flushed, and the log is clean."""
    path = image()
    server = serve(path)
    handle = server.connect()
    handle.pwrite(b'x' * 4096, 10 * MIB)
    os.kill(server.pid(), signal.SIGTERM)
    handle.shutdown()
    assert server.process.wait(STOP_SECONDS) == 0
    assert log_state(vhdx, path) == 'clean'
    assert vhdx.ok('cat', '--offset', '10M', '--length', '4096', path) == 'x' * 4096


def test_image_is_at_rest_without_clients(image, serve, vhdx):
    """When the last client has left the log is clean, whatever happens to the server then."""
    path = image()
    server = serve(path)
    one, other = server.connect(), server.connect()
    one.pwrite(b'x' * 4096, 10 * MIB)
    one.flush()
    one.shutdown()
    assert other.pread(4096, 10 * MIB) == b'x' * 4096
    assert log_state_unlocked(vhdx, path) == 'dirty'
    other.shutdown()
    wait_for(lambda: log_state_unlocked(vhdx, path) == 'clean', 'the image is finished')
    server.kill()
    assert log_state(vhdx, path) == 'clean'


def log_state_unlocked(vhdx, path):
    """While the server has it."""
    return re.search(r'^ *log: (\w+)', vhdx.ok('info', '-U', path), re.M).group(1)
