# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx serve runs nbdkit, says where it listens, and ends it."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest

from nbd_support import MIB, STOP_SECONDS, log_state, nbd, ok, run, sha256_of
from environment import missing, program
from nbd_support import wait_for


@pytest.fixture
def serving(vhdx, plugin, tmp_path): # pylint: disable=unused-argument
    """A function that starts `vhdx serve` and gives (process, URI)."""
    started = []

    def start(*arguments, **more):
        environment = dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path), **more.pop('env', {}))
        started.append(vhdx.start('serve', *arguments, env=environment, text=True, **more))
        return started[-1], started[-1].stdout.readline().rstrip('\n')
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        # Not read to their end: nbdkit, waiting for a client, may still have them open.
        process.stdout.close()
        process.stderr.close()
        process.wait(STOP_SECONDS)


def ends(process, number=signal.SIGINT):
    """Ends it by a signal; returns (exit code, what it said)."""
    process.send_signal(number)
    _, said = process.communicate(timeout=STOP_SECONDS)
    return process.returncode, said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_private_socket(filled, serving, vhdx, tmp_path, number):
    """The default: nobody else reaches it, and nothing is left of it."""
    path = filled()
    wanted = sha256_of(vhdx, path)
    process, uri = serving(path)
    match = re.fullmatch(r'nbd\+unix:///\?socket=(%s/vhdx-\w{6})/socket' % tmp_path, uri)
    assert match, uri
    assert os.stat(match.group(1)).st_mode & 0o777 == 0o700
    ok('nbdcopy', uri, tmp_path / 'copy.img')
    assert ok('sha256sum', tmp_path / 'copy.img').split()[0] == wanted
    assert ends(process, number) == (0, '')
    assert not os.path.exists(match.group(1))


def test_socket(filled, serving, tmp_path):
    """-k; characters that mean something in a URI."""
    process, uri = serving(filled(), '-k', 'a b&c%.sock', cwd=tmp_path)
    assert uri == 'nbd+unix:///?socket=%s/a%%20b%%26c%%25.sock' % tmp_path
    assert ok('nbdinfo', '--size', uri) == '%d\n' % (64 * MIB)
    assert ends(process) == (0, '')
    assert not os.path.exists(tmp_path / 'a b&c%.sock')


def test_socket_that_exists(filled, serving, vhdx, tmp_path):
    path = filled()
    process, _ = serving(path, '-k', tmp_path / 'sock')
    lines = vhdx.fails('serve', path, '-r', '-U', '-k', tmp_path / 'sock').splitlines()
    assert lines[0] == 'vhdx: %s: exists already' % (tmp_path / 'sock')
    assert ends(process)[0] == 0


def test_socket_with_a_long_name(filled, vhdx, plugin, tmp_path): # pylint: disable=unused-argument
    name = tmp_path / ('x' * 120)
    assert 'a socket\'s path has at most 107 bytes' in vhdx.fails('serve', filled(), '-k', name)


def free_port():
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_port(filled, serving):
    port = free_port()
    process, uri = serving(filled(), '-p', str(port))
    assert uri == 'nbd://localhost:%d' % port
    assert ok('nbdinfo', '--size', uri) == '%d\n' % (64 * MIB)
    # This machine only, unless -b says otherwise.
    listening = ok('ss', '-Hltn', 'sport = :%d' % port) if program('ss') else ''
    assert listening and not re.search(r'(0\.0\.0\.0|\*|\[::\]):%d' % port, listening), listening
    assert ends(process) == (0, '')


def test_port_on_an_address(filled, serving):
    port = free_port()
    process, uri = serving(filled(), '-p', str(port), '-b', '127.0.0.1')
    assert uri == 'nbd://127.0.0.1:%d' % port
    assert ok('nbdinfo', '--size', uri) == '%d\n' % (64 * MIB)
    assert ends(process) == (0, '')


def test_port_in_use(filled, vhdx, plugin): # pylint: disable=unused-argument
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        done = vhdx('serve', filled(), '-p', str(other.getsockname()[1]), '-b', '127.0.0.1')
    assert done.returncode == 1 and done.stdout == ''
    lines = done.stderr.splitlines()
    assert lines[0].startswith('nbdkit: ') and 'bind' in lines[0]
    assert lines[-1] == 'vhdx: nbdkit ended with exit code 1'


def test_an_idle_client_does_not_keep_it(image, serving, vhdx):
    """nbdkit would wait for clients to leave; Ctrl-C is to end it, with the image at rest."""
    if nbd is None:
        missing('the Python module nbd is not installed')
    path = image()
    process, uri = serving(path)
    handle = nbd.NBD()
    handle.connect_uri(uri)
    handle.pwrite(b'x' * 4096, 10 * MIB)
    start = time.monotonic()
    assert ends(process) == (0, '')
    assert time.monotonic() - start < 10
    assert log_state(vhdx, path) == 'clean'
    assert vhdx.ok('cat', '--offset', '10M', '--length', '4096', path) == 'x' * 4096


def test_read_only(image, serving):
    path = image()
    before = path.read_bytes()
    process, uri = serving(path, '-r')
    assert 'is_read_only: true' in ok('nbdinfo', uri)
    assert ends(process) == (0, '')
    assert path.read_bytes() == before


def test_number_of_clients(image, serving):
    """-e counts programs: multi-conn, by which one program connects several times, is off."""
    if nbd is None:
        missing('the Python module nbd is not installed')
    process, uri = serving(image(), '-e', '2')
    handles = [nbd.NBD() for _ in range(3)]
    for handle in handles[:2]:
        handle.connect_uri(uri)
        assert not handle.can_multi_conn()
    with pytest.raises(nbd.Error):
        handles[2].connect_uri(uri)
    handles[0].shutdown()

    def connects():
        return run('nbdinfo', '--size', uri).returncode == 0
    wait_for(connects, 'a place is free again')
    handles[1].shutdown()
    assert ends(process)[0] == 0


def test_any_number_of_clients(image, serving):
    process, uri = serving(image())
    assert 'can_multi_conn: true' in ok('nbdinfo', uri)
    assert ends(process) == (0, '')


@pytest.mark.parametrize('command, code', [('exit 7', 7), ('true', 0), ('kill -9 $$', 137)])
def test_run_passes_the_exit_code_on(image, vhdx, plugin, command, code): # pylint: disable=W0613
    assert vhdx('serve', image(), '--run', command).returncode == code


def test_run(filled, vhdx, plugin, tmp_path): # pylint: disable=unused-argument
    """The URI is in $uri, standard output is the command's, and all is at rest when it ends."""
    path = filled()
    out = vhdx.ok('serve', path, '--run', 'nbdinfo --size "$uri"; test -S "$unixsocket" && '
                  'test -z "$port" && echo fine', cwd=tmp_path)
    assert out == '%d\nfine\n' % (64 * MIB)
    assert log_state(vhdx, path) == 'clean'


def test_run_with_a_signal(image, serving, tmp_path):
    """SIGTERM goes to the command, whose exit code counts."""
    script = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done'
    process, said = serving(image(), '--run', script, cwd=tmp_path)
    assert said == 'ready'
    assert ends(process, signal.SIGTERM) == (9, '')


def test_parents(filled, child, serving, vhdx, tmp_path):
    """The common options reach the server."""
    base = filled()
    path = child(base)
    wanted = sha256_of(vhdx, path)
    away = tmp_path / 'away'
    away.mkdir()
    base.rename(away / 'other.vhdx')
    for options in (['--parent', 'away/other.vhdx'], ['--search-dir', 'away']):
        process, uri = serving(path, '-r', *options, cwd=tmp_path)
        ok('nbdcopy', uri, tmp_path / 'copy.img')
        assert ok('sha256sum', tmp_path / 'copy.img').split()[0] == wanted
        assert ends(process) == (0, '')


def test_tls_with_a_shared_key(filled, serving, tmp_path):
    """--tls=require: a client without the key is refused."""
    (tmp_path / 'keys').write_text('guest:' + '0123456789abcdef' * 4 + '\n')
    process, uri = serving(filled(), '--tls', 'require', '--tls-psk', 'keys', cwd=tmp_path)
    assert uri.startswith('nbds+unix:///?socket=') and uri.endswith(
        '&tls-psk-file=%s/keys' % tmp_path)
    assert ok('nbdinfo', '--size', uri.replace(':///', '://guest@/')) == '%d\n' % (64 * MIB)
    plain = uri.replace('nbds', 'nbd').split('&', maxsplit=1)[0]
    assert run('nbdinfo', plain).returncode != 0
    assert ends(process)[0] == 0


def test_tls_without_certificates(filled, vhdx, plugin, tmp_path): # pylint: disable=W0613
    done = vhdx('serve', filled(), '--tls', 'require', '--tls-certificates', tmp_path)
    assert done.returncode == 1 and done.stdout == ''
    assert 'TLS' in done.stderr


def test_server_ends_with_the_tool(filled, serving, tmp_path):
    """Killed, the tool takes nbdkit with it."""
    process, uri = serving(filled(), '-k', tmp_path / 'sock')
    process.kill()
    process.communicate(timeout=STOP_SECONDS)
    wait_for(lambda: run('nbdinfo', uri).returncode != 0, 'the server ends', STOP_SECONDS)


def test_server_that_dies(filled, serving, tmp_path):
    """Is noticed."""
    process, _ = serving(filled())
    children = subprocess.run(['pgrep', '-P', str(process.pid), 'nbdkit'], check=True,
                              stdout=subprocess.PIPE, text=True).stdout.split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 1
    assert said == 'vhdx: nbdkit was ended by signal 9 (Killed)\n'
    assert not [name for name in os.listdir(tmp_path) if name.startswith('vhdx-')]
