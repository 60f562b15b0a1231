# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Sizes and offsets on the command line.

Small ones are observed as the number of bytes that cat writes, large ones in the message that says
they are past the end of the disk, which is 4 MiB.
"""

import re

import pytest

DISK = 4 << 20
K, M, G, T, P, E = (1 << 10 * i for i in range(1, 7))


@pytest.fixture
def parse(vhdx, unpacked):
    """A function that gives the number of bytes the tool takes a text for."""
    path = unpacked('ntfs-parent.vhdx')

    def run(text):
        done = vhdx('cat', f'--length={text}', path, text=False)
        if done.returncode == 0:
            return len(done.stdout)
        found = re.search(r'--length (\d+) from offset 0 is past the end', done.stderr)
        assert found, done.stderr
        assert int(found[1]) > DISK
        return int(found[1])
    return run


@pytest.mark.parametrize('text, size', [
    ('0', 0), ('1', 1), ('512', 512), ('00', 0), ('010', 10), ('0000000000000000000000000001', 1),
    ('512b', 512), ('512B', 512), ('1k', K), ('1K', K), ('1M', M), ('1m', M), ('4M', DISK),
    ('1G', G), ('1T', T), ('1P', P), ('1E', E), ('64T', 64 * T), ('15E', 15 * E), ('0E', 0),
    ('1.5k', 1536), ('1.5M', M + M // 2), ('0.5k', 512), ('1.k', K), ('1.M', M), ('1.0k', K),
    ('1.3k', 1331), ('0.001k', 1), ('0.0009k', 0), ('1.9999k', 2047), ('0.0000001k', 0),
    ('15.999999999999999999E', 18446744073709551614), ('15.9999999999999999999999E', 2**64 - 1),
    ('0.' + '9' * 200 + 'k', 1023), ('0.' + '0' * 200 + '1E', 0), ('1.500000000000000k', 1536),
    ('0x0', 0), ('0x10', 16), ('0X10', 16), ('0xff', 255), ('0xFF', 255), ('0x1b', 27),
    ('0x1E', 30), ('0xffffffffffffffff', 2**64 - 1), ('18446744073709551615', 2**64 - 1),
    ('18446744073709551615b', 2**64 - 1), ('18014398509481983k', (2**54 - 1) * K),
])
def test_accepted(parse, text, size):
    assert parse(text) == size


@pytest.mark.parametrize('text', [
    '', ' ', 'k', 'M', 'x', '-1', '+1', ' 1', '1 ', '1 k', '1\n', '1kB', '1KiB', '1kk', '1Z', '1y',
    '.5M', '.', '1.', '1.5', '1.5b', '1.0b', '1.5.5k', '1.5 k', '1e3', '1e3k', '1,5k', '1_000',
    '0x', '0xg', '0x1k', '0x1.8', '0x-1', '0x 1', 'x10', '00x10', 'inf', 'nan', '1.-5k', '1.+5k',
    '18446744073709551616', '99999999999999999999999999', '16E', '16.0E', '15.5.E', '99E',
    '18014398509481984k', '0x10000000000000000', '\uff11', '1\u00a0k', '--length',
])
def test_refused(vhdx, unpacked, text):
    message = vhdx.fails('cat', f'--length={text}', unpacked('ntfs-parent.vhdx'))
    assert "is not a size\nvhdx: hint: a size is a number" in message
    assert message.startswith("vhdx: --length: '")


@pytest.mark.parametrize('verb, option, name', [
    ('cat', '--offset', '--offset'), ('cat', '--length', '--length'),
    ('map', '--start', '--start'), ('map', '--start-offset', '--start'),
    ('map', '--length', '--length'), ('map', '--max-length', '--length')])
def test_the_message_names_the_option(vhdx, unpacked, verb, option, name):
    message = vhdx.fails(verb, option, '1x', unpacked('ntfs-parent.vhdx'))
    assert message.startswith(f"vhdx: {name}: '1x' is not a size\n")
