# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Help, the version, and words that are not verbs."""

import re

import pytest

VERBS = ['info', 'chain', 'map', 'hash', 'convert', 'cat', 'compare', 'diff', 'measure', 'create',
         'check', 'replay', 'recover', 'serve', 'mount', 'umount']


def test_help_lists_the_verbs(vhdx, golden):
    text = vhdx.ok('--help')
    golden('help.txt', text)
    assert re.findall(r'^  (\w+) ', text, re.M) == VERBS
    assert vhdx.ok('-h') == vhdx.ok('help') == text


@pytest.mark.parametrize('verb', VERBS)
def test_each_verb_has_help(vhdx, golden, verb):
    text = vhdx.ok(verb, '--help')
    golden(f'help-{verb}.txt', text)
    assert text == vhdx.ok('help', verb) == vhdx.ok(verb, '-h')
    assert max(map(len, text.splitlines())) <= 100


def test_help_wins_over_missing_files(vhdx):
    assert vhdx.ok('info', '--stats', '--help').startswith('Usage: vhdx info')


def test_version(vhdx):
    assert re.fullmatch(r'vhdx \d+\.\d+\.\d+\n', vhdx.ok('--version'))
    assert vhdx.ok('-V') == vhdx.ok('--version')


def test_no_verb_shows_help_on_standard_error(vhdx):
    done = vhdx()
    assert done.returncode == 1
    assert done.stdout == ''
    assert done.stderr == vhdx.ok('--help')


def test_powershells_word_for_info(vhdx, image):
    path = image('ntfs-parent.vhdx')
    assert vhdx.ok('get', path) == vhdx.ok('info', path)
    assert vhdx.ok('help', 'get') == vhdx.ok('help', 'Get') == vhdx.ok('help', 'info')


@pytest.mark.parametrize('typed, meant', [
    ('inof', 'info'), ('nfo', 'info'), ('informations', None), ('infos', 'info'), ('in', 'info'),
    ('conv', 'convert'), ('covnert', 'convert'), ('chian', 'chain'), ('mpa', 'map'), ('amp', 'map'),
    ('hsah', 'hash'), ('hahs', 'hash'), ('ca', 'cat'), ('cta', 'cat'), ('hepl', 'help'),
    ('craete', 'create'), ('delete', None), ('xyzzy', None), ('x', None), ('', None),
    ('x' * 1000, None), ('INFO', None),
])
def test_typing_mistakes(vhdx, typed, meant):
    first, second = vhdx.fails(typed, 'x.vhdx').splitlines()
    ending = f"; did you mean '{meant}'?" if meant else ''
    assert first == f"vhdx: '{typed}' is not a verb{ending}"
    assert second == "vhdx: hint: 'vhdx --help' lists the verbs"
    assert vhdx.fails('help', typed).splitlines()[0] == first


def test_options_before_the_verb_are_refused(vhdx):
    assert "options stand after the verb" in vhdx.fails('-U', 'info', 'x.vhdx')


def test_unknown_option(vhdx):
    message = vhdx.fails('info', '--frobnicate', 'x.vhdx')
    assert 'frobnicate' in message
    assert "hint: 'vhdx info --help' lists the options" in message


def test_options_may_be_shortened_and_follow_files(vhdx, image):
    path = image('ntfs-parent.vhdx')
    whole = vhdx.ok('info', '--stats', '--force-share', path)
    assert vhdx.ok('info', path, '--sta', '--force') == whole
    assert vhdx.ok('map', '--start=1M', '--length=1M', path) == \
        vhdx.ok('map', path, '--star', '1M', '--len', '1M')


def test_ambiguous_prefix_is_refused(vhdx):
    assert 'ambiguous' in vhdx.fails('map', '--s', '1M', 'x.vhdx')


def test_names_that_begin_with_a_dash(vhdx, image, tmp_path):
    image('ntfs-parent.vhdx', to='-U')
    assert vhdx.ok('info', '--', '-U', cwd=tmp_path).startswith('image: -U\n')
    vhdx.ok('convert', '--', '-U', '-O', cwd=tmp_path)
    assert (tmp_path / '-O').stat().st_size == 4 << 20


@pytest.mark.parametrize('verb, files', [
    ('info', []), ('hash', []), ('chain', []), ('map', []), ('cat', []), ('convert', ['a']),
    ('create', []), ('check', []), ('replay', []), ('serve', []), ('mount', ['a'])])
def test_a_file_name_is_missing(vhdx, verb, files):
    first, second = vhdx.fails(verb, *files).splitlines()
    assert first == f'vhdx: {verb}: a file name is missing'
    assert second.startswith(f'vhdx: hint: usage: vhdx {verb} [OPTION]... FILE')


@pytest.mark.parametrize('verb, files', [
    ('chain', ['a', 'b']), ('map', ['a', 'b']), ('cat', ['a', 'b']),
    ('convert', ['a', 'b', 'c']), ('create', ['a', '1M', 'c']), ('serve', ['a', 'b']),
    ('replay', ['a', 'b']), ('mount', ['a', 'b', 'c'])])
def test_too_many_file_names(vhdx, verb, files):
    assert vhdx.fails(verb, *files).startswith(f'vhdx: {verb}: too many file names\n')


def test_format_option(vhdx, image):
    path = image('ntfs-parent.vhdx')
    assert vhdx.ok('info', '-f', 'vhdx', path) == vhdx.ok('info', path)
    assert vhdx.fails('info', '-f', 'qcow2', path) == \
        "vhdx: --format: 'qcow2' is not supported: there is vhdx only\n"


def test_output_option(vhdx, image):
    path = image('ntfs-parent.vhdx')
    assert vhdx.ok('info', '--output=human', path) == vhdx.ok('info', path)
    assert vhdx.fails('map', '--output=xml', path) == \
        "vhdx: --output: 'xml' is neither human nor json\n"
