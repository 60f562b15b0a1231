# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx serve: what it says before it serves. Serving itself is in tests/nbd."""

import os
import shutil
import subprocess

import pytest

from cli_support import PARENT


@pytest.mark.parametrize('options, message', [
    (['-p', '0'], "-p: '0' is not a number from 1 to 65535"),
    (['-p', '65536'], "-p: '65536' is not a number from 1 to 65535"),
    (['-p', '4294967297'], "-p: '4294967297' is not a number from 1 to 65535"),
    (['-p', '10809x'], "-p: '10809x' is not a number from 1 to 65535"),
    (['-e', ''], "-e: '' is not a number from 0 to 1000000"),
    (['-e', '-1'], "-e: '-1' is not a number from 0 to 1000000"),
    (['-p', '10809', '-k', 'socket'],
     '-k and -p exclude each other: a socket in the file system, or a TCP port'),
    (['-b', 'localhost'], '-b needs a TCP port (-p)'),
    (['--tls', 'maybe'], "--tls: 'maybe' is neither on, off nor require"),
    (['--tls-psk', 'nothing'], '--tls-psk: nothing: No such file or directory'),
])
def test_mistakes(vhdx, image, options, message):
    assert vhdx.fails('serve', *options, image(PARENT)).splitlines()[0] == 'vhdx: ' + message


def test_errors_are_those_of_the_other_verbs(vhdx, image, tmp_path):
    """The image is looked at before a server is started, with the usual hints."""
    missing = tmp_path / 'nothing.vhdx'
    assert vhdx.fails('serve', missing) == vhdx.fails('hash', missing)
    text = tmp_path / 'text.vhdx'
    text.write_text('no image' * 1000000)
    assert 'hint: ' in vhdx.fails('serve', text)
    assert vhdx.fails('serve', text) == vhdx.fails('hash', text)
    child = image('ntfs-differential.vhdx')
    assert vhdx.fails('serve', child) == vhdx.fails('hash', child)


def test_nbdkit_is_not_installed(vhdx, image, tmp_path):
    lines = vhdx.fails('serve', image(PARENT), env={'PATH': str(tmp_path)}).splitlines()
    assert lines == ['vhdx: nbdkit, the server, is not installed',
                     'vhdx: hint: on Debian, Ubuntu and Fedora the package is called nbdkit']


def test_an_image_that_cannot_be_served_stays_as_it_is(vhdx, image, tmp_path):
    """Its log is replayed when there is a server, not before."""
    path = image('vhdx-log-replay.vhdx')
    before = path.read_bytes()
    vhdx.fails('serve', path, env={'PATH': str(tmp_path)})
    (tmp_path / 'there').write_text('')
    vhdx.fails('serve', '-k', tmp_path / 'there', path)
    assert path.read_bytes() == before


def test_plugin_is_not_installed(vhdx, image, tmp_path):
    """A tool away from its build folder, and an nbdkit that does not know the plugin."""
    if vhdx.emulated:
        pytest.skip('an emulator has its own idea of /proc/self/exe')
    (tmp_path / 'bin').mkdir()
    tool = shutil.copy(vhdx.command[-1], tmp_path / 'bin' / 'vhdx')
    nbdkit = tmp_path / 'bin' / 'nbdkit'
    nbdkit.write_text('#!/bin/sh\necho "cannot open plugin" >&2\nexit 1\n')
    nbdkit.chmod(0o755)
    lib = os.path.join(os.path.dirname(os.path.dirname(vhdx.command[-1])), 'lib')
    away = type(vhdx)(str(tool))
    done = away('serve', image(PARENT), env={
        'PATH': '%s:/usr/bin:/bin' % (tmp_path / 'bin'), 'LD_LIBRARY_PATH': lib})
    lines = done.stderr.splitlines()
    if 'is a file' in done.stderr or not lines:
        pytest.skip('the plugin is installed on this system')
    assert done.returncode == 1
    assert lines[0] == 'vhdx: nbdkit has no plugin for VHDX (nbdkit-vhdx-plugin.so)'
    assert lines[1].startswith('vhdx: hint: ') and len(lines) == 2


def test_no_parent_is_read_only(vhdx, image, tmp_path):
    """And says so; the missing server comes after."""
    child = image('ntfs-differential.vhdx')
    lines = vhdx.fails('serve', '--no-parent', child, env={'PATH': str(tmp_path)}).splitlines()
    assert lines[0] == 'vhdx: note: --no-parent: served read-only'


def test_children_are_warned_of(vhdx, image, tmp_path):
    base, child = image(PARENT), tmp_path / 'child.avhdx'
    vhdx.ok('create', '-q', '-b', base, child)
    environment = {'PATH': str(tmp_path)}
    assert 'warning: %s: is the parent of %s' % (base, child) in \
        vhdx.fails('serve', base, env=environment)
    assert 'warning' not in vhdx.fails('serve', '-r', base, env=environment)


@pytest.fixture
def protected():
    """A function that takes away the right to write to a file, from root too."""
    paths = []

    def protect(path):
        path.chmod(0o444)
        if os.access(path, os.W_OK):
            if subprocess.run(['chattr', '+i', path], check=False).returncode:
                pytest.skip('root may write to everything, and chattr +i does not work here')
            paths.append(path)
    yield protect
    for path in paths:
        subprocess.run(['chattr', '-i', path], check=True)


def test_protected_image(vhdx, image, protected, tmp_path):
    """Writing has to be possible, or not be asked for."""
    path = image(PARENT)
    protected(path)
    assert 'hint: -r serves the image read-only' in vhdx.fails('serve', path)
    assert 'hint: -r' not in vhdx.fails('serve', '-r', path, env={'PATH': str(tmp_path)})
