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


VERBS = ['info', 'chain', 'map', 'hash', 'convert', 'cat', 'create', 'mount', 'umount']


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


@pytest.mark.parametrize('name', ['vhdx.pod', 'libvhdx.pod'])
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
