# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The manual pages say what is true: every option is described, the examples compile."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'


def pod(name):
    return (DOCS / name).read_text(encoding='utf-8')


VERBS = ['info', 'chain', 'map', 'hash', 'convert', 'cat', 'compare', 'diff', 'measure', 'create',
         'check', 'replay', 'recover', 'serve', 'mount', 'umount']


@pytest.mark.parametrize('verb', VERBS)
def test_every_option_is_described(vhdx, verb):
    page = pod('vhdx.pod')
    section = page[page.index(f'=head2 {verb}\n'):]
    section = section[:section.index('\n=head', 1)]
    common = page[page.index('=head1 OPTIONS OF ALL VERBS'):page.index('=head2 Sizes')]
    text = vhdx.ok(verb, '--help')
    own, _, shared = text.partition('Options of all verbs:')
    for option in re.findall(r'(?<![\w-])--?[A-Za-z][\w-]*', own.partition('Options:')[2]):
        assert f'B<{option}>' in section, option
    for option in re.findall(r'^ +(?:(-\w), )?(--[\w-]+)', shared, re.M):
        for spelling in filter(None, option):
            assert f'B<{spelling}>' in common, spelling


@pytest.mark.parametrize('name', ['vhdx.pod', 'libvhdx.pod', 'nbdkit-vhdx-plugin.pod'])
def test_pages_are_clean(name):
    if not shutil.which('podchecker'):
        pytest.skip('no podchecker')
    done = subprocess.run(['podchecker', DOCS / name], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    assert b'WARNING' not in done.stdout, done.stdout


@pytest.mark.parametrize('standard', ['c99', 'gnu11'])
def test_examples_compile(tmp_path, standard):
    compiler = shutil.which(os.environ.get('CC', 'cc'))
    if not compiler:
        pytest.skip('no compiler')
    page = pod('libvhdx.pod')
    examples = page[page.index('=head1 EXAMPLES'):page.index('=head1 FUNCTIONS')]
    lines = [line[4:] if line.startswith('    ') else '' for line in examples.splitlines()]
    programs = '\n'.join(lines).split('#include <stdio.h>')[1:]
    assert len(programs) == 2
    for program in programs:
        source = tmp_path / 'example.c'
        source.write_text('#include <inttypes.h>\n#include <stdio.h>' + program + '\n',
                          encoding='utf-8')
        subprocess.run([compiler, f'-std={standard}', '-Wall', '-Wextra', '-Werror',
                        '-fsyntax-only', '-I', ROOT / 'include', source], check=True)


def test_every_function_of_the_header_is_named():
    header = (ROOT / 'include' / 'vhdx.h').read_text(encoding='utf-8')
    page = pod('libvhdx.pod')
    functions = re.findall(r'^VHDX_PUBLIC [^(;]*?(vhdx_\w+)\(', header, re.M)
    assert 'vhdx_open' in functions and 'vhdx_convert' in functions
    for function in functions:
        assert f'B<{function}>()' in page, function


def problems():
    """(number, name, severity, repair, effect, remedy) of everything that a check can find."""
    header = (ROOT / 'include' / 'vhdx.h').read_text(encoding='utf-8')
    numbers = dict(re.findall(r'(VHDX_P_\w+) = (\d+)', header))
    table = (ROOT / 'lib' / 'ops' / 'problem.c').read_text(encoding='utf-8')
    rows = re.findall(r'\{ (VHDX_P_\w+), ([A-Z]+), ([A-Z]+),((?:\s*"[^"]*",?)+)\s*\}', table)
    assert sorted(row[0] for row in rows) == sorted(numbers)
    for constant, severity, repair, texts in rows:
        name, effect, remedy = re.findall(r'"([^"]*)"', re.sub(r'"\s+"', '', texts))
        yield numbers[constant], name, severity.lower(), repair.lower(), effect, remedy


def test_every_finding_is_described():
    """If this fails: the manual page has to say what the table in problem.c says."""
    page = pod('vhdx.pod')
    page = page[page.index('=head1 FINDINGS'):page.index('=head1 JSON')]
    for number, name, severity, repair, effect, remedy in problems():
        item = f'=item {number} B<{name}> ({severity}; {repair})\n'
        assert item in page, item
        text = page[page.index(item) + len(item):]
        text = ' '.join(text[:text.index('\n=')].split())
        about, _, rest = text.partition(' Effect: ')
        assert about, item
        assert rest == f'{effect}.' + (f' Repair: {remedy}.' if remedy else ''), (item, text)
    assert page.count('\n=item ') == len(list(problems()))
