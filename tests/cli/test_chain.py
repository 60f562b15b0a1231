# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx chain, for people and as JSON."""

import json
import os
import re

import pytest

from cli_support import CHILD, PARENT, change_locator

OTHER_GUID = '{00000000-1111-2222-3333-444444444444}'
FACTS = {'data-write-guid', 'type', 'virtual-size', 'file-size', 'block-size',
         'logical-sector-size', 'log-state'}


@pytest.fixture
def chain(vhdx):
    """A function that gives (exit code, parsed output of `vhdx chain --output=json`)."""
    def run(*args, **more):
        done = vhdx('chain', '--output=json', *args, **more)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        return done.returncode, json.loads(done.stdout)
    return run


@pytest.fixture
def three(tmp_path):
    """Names of an image, its parent and its grandparent, made by the generator."""
    from vhdximage import MIB, Image # pylint: disable=import-outside-toplevel
    base = Image('base.vhdx', size=4 * MIB)
    base.put(0, b'base')
    middle = Image('middle.avhdx', size=4 * MIB, parent=base)
    middle.put(MIB, b'middle')
    top = Image('top.avhdx', size=4 * MIB, parent=middle)
    top.put(2 * MIB, b'top')
    top.save(str(tmp_path))
    return 'top.avhdx', 'middle.avhdx', 'base.vhdx'


def test_whole(vhdx, golden, pair, tmp_path):
    golden('chain-whole.txt', vhdx.ok('chain', CHILD, cwd=tmp_path))


def test_whole_json(golden, vhdx, chain, pair, tmp_path):
    code, found = chain(CHILD, cwd=tmp_path)
    assert code == 0
    assert found['whole'] is True
    child, parent = found['chain']
    assert set(child) == FACTS | {'depth', 'status', 'filename', 'steps'}
    assert set(parent) == FACTS | {'depth', 'status', 'filename', 'found-by', 'wanted-guid',
                                   'steps'}
    assert (child['depth'], parent['depth']) == (0, 1)
    assert parent['wanted-guid'] == parent['data-write-guid']
    golden('chain-whole.json', vhdx.ok('chain', '--output=json', CHILD, cwd=tmp_path))


def test_without_a_parent(vhdx, chain, unpacked):
    code, found = chain(unpacked('btrfs.vhdx'))
    assert (code, found['whole'], len(found['chain'])) == (0, True, 1)
    assert vhdx.ok('chain', unpacked('btrfs.vhdx')).startswith('0: ')


def test_missing(vhdx, golden, chain, image, tmp_path):
    image(CHILD)
    done = vhdx('chain', CHILD, cwd=tmp_path)
    assert done.returncode == 1
    golden('chain-missing.txt', done.stdout)
    first, second = done.stderr.splitlines()
    assert first == f'vhdx: {CHILD}: the chain is not whole'
    assert second.startswith('vhdx: hint: name the parent with --parent FILE')
    code, found = chain(CHILD, cwd=tmp_path)
    assert (code, found['whole']) == (1, False)
    parent = found['chain'][1]
    assert parent['status'] == 'missing'
    assert parent['found-by'] == 'not-found'
    assert not FACTS & set(parent)
    assert parent['problem'] and parent['steps']
    assert 'filename' not in parent


def test_mismatch(vhdx, chain, pair):
    child, parent = pair
    change_locator(child, parent_linkage=OTHER_GUID)
    code, found = chain(child)
    assert (code, found['whole']) == (1, False)
    link = found['chain'][1]
    assert (link['status'], link['wanted-guid']) == ('mismatch', OTHER_GUID.strip('{}'))
    assert any(parent.name in step for step in link['steps'])
    done = vhdx('chain', child)
    assert 'status: mismatch\n' in done.stdout
    assert 'tried: ' in done.stdout
    assert 'hint: the parent was changed' in done.stderr


def test_mismatch_accepted(vhdx, chain, pair):
    child, parent = pair
    change_locator(child, parent_linkage=OTHER_GUID)
    code, found = chain('--any-parent', child)
    assert (code, found['whole']) == (0, True)
    link = found['chain'][1]
    assert link['status'] == 'mismatch'
    assert os.path.samefile(link['filename'], parent)
    assert FACTS < set(link)
    vhdx.ok('chain', '--any-parent', child)


def test_child_as_its_own_parent(chain, pair):
    """A loop of names is no chain."""
    child, parent = pair
    os.remove(parent)
    os.link(child, parent)
    code, found = chain(child)
    assert (code, found['whole']) == (1, False)
    assert found['chain'][1]['status'] != 'ok'


def test_no_parent(vhdx, pair):
    child, _ = pair
    done = vhdx('chain', '--no-parent', child)
    assert done.returncode == 1
    assert done.stderr == \
        f'vhdx: {child}: the chain is not whole: no parent was looked for (--no-parent)\n'
    assert done.stdout.count('status: ') == 1


def test_steps_are_shown_with_names_escaped(vhdx, image):
    child = image(CHILD)
    change_locator(child, relative_path='.\\a\x1b[31m\n.vhdx', volume_path=None)
    done = vhdx('chain', child)
    assert done.returncode == 1
    assert '\x1b' not in done.stdout + done.stderr
    assert all(line.startswith(('0: ', '   ')) for line in done.stdout.splitlines())
    assert PARENT in done.stdout # of the absolute path


# ---- Three images --------------------------------------------------------------------------------

def test_three(vhdx, chain, three, tmp_path):
    code, found = chain(three[0], cwd=tmp_path)
    assert (code, found['whole']) == (0, True)
    assert [os.path.basename(link['filename']) for link in found['chain']] == list(three)
    assert [link['depth'] for link in found['chain']] == [0, 1, 2]
    text = vhdx.ok('chain', three[0], cwd=tmp_path)
    assert re.findall(r'^( *)(?:`- )?(\d): (?:\./)?(\S+)', text, re.M) == \
        [('', '0', three[0]), (3 * ' ', '1', three[1]), (9 * ' ', '2', three[2])]
    assert re.findall(r'^( *)status: ok$', text, re.M) == [3 * ' ', 9 * ' ', 15 * ' ']


def test_grandparent_missing(vhdx, chain, three, tmp_path):
    """What is missing is the parent's parent; the parent itself is fine."""
    os.remove(tmp_path / three[2])
    code, found = chain(three[0], cwd=tmp_path)
    assert (code, found['whole']) == (1, False)
    assert [link['status'] for link in found['chain']] == ['ok', 'ok', 'missing']
    done = vhdx('chain', three[0], cwd=tmp_path)
    assert done.returncode == 1
    assert '\n         `- 2: no file (not found)\n               status: missing\n' in done.stdout
    info = vhdx.ok('info', three[0], cwd=tmp_path)
    assert '\n    images in the chain: 2\n    next parent: missing' in info
    message = vhdx.fails('cat', three[0], cwd=tmp_path)
    steps = message.partition('tried: ')[2].splitlines()[0].split('; ')
    assert steps and all('middle.avhdx' not in step for step in steps), 'steps of another link'


def test_backing_chain_of_three(vhdx, three, tmp_path):
    text = vhdx.ok('info', '--backing-chain', three[0], cwd=tmp_path)
    assert [os.path.basename(name) for name in re.findall(r'^image: (.*)$', text, re.M)] == \
        list(three)
    os.remove(tmp_path / three[2])
    text = vhdx.ok('info', '--backing-chain', three[0], cwd=tmp_path)
    assert text.count('image: ') == 2


def test_a_file_in_the_chain_twice(chain, three, tmp_path):
    """base.vhdx is replaced by the image on top: GUIDs do not match, nothing loops."""
    os.remove(tmp_path / three[2])
    os.link(tmp_path / three[0], tmp_path / three[2])
    code, found = chain(three[0], cwd=tmp_path)
    assert (code, found['whole']) == (1, False)
    code, found = chain('--any-parent', three[0], cwd=tmp_path)
    assert len(found['chain']) <= 257
