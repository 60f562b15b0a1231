# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of check, repair, undo and replay share."""

import hashlib
import json
import os
import pathlib
import shutil
from collections import Counter

import pytest

import damage_core
import vhdxref
from corpus_support import scratch_folder  # noqa: F401
from damage_core import BY_PRODUCT, KINDS, ERROR, FATAL, LEAK, NOTE  # noqa: F401
from damage_core import repair_of, severity_of
from sparsebytes import Ranges, pages_of_file

HERE = pathlib.Path(__file__).resolve().parent
DAMAGE = damage_core.load()
LEVELS = ('safe', 'all')
MIB = 1 << 20
SHOWN = 1000          # findings of one problem that are told of
TOP_KEYS = {'filename', 'format', 'check-errors', 'corruptions', 'leaks', 'notes', 'errors',
            'fatals', 'complete', 'total-clusters', 'allocated-clusters', 'fragmented-clusters',
            'image-end-offset', 'file-size', 'lost-bytes', 'leaked-bytes', 'findings'}
FINDING_KEYS = {'id', 'name', 'severity', 'repair', 'message', 'effect', 'remedy'}

# Stable, as is everything that scripts may look for. Independent of the library's own table.
NAMES = {
    101: 'ident-signature', 102: 'file-size-unaligned', 103: 'file-too-short',
    104: 'file-trailing', 105: 'space-leaked', 201: 'header-signature', 202: 'header-checksum',
    203: 'header-version', 204: 'header-reserved', 205: 'headers-lost', 206: 'headers-ambiguous',
    207: 'headers-identical', 208: 'header-sequence', 209: 'header-guid',
    210: 'header-log-version', 211: 'header-log-place', 212: 'header-no-log',
    301: 'region-table-signature', 302: 'region-table-checksum', 303: 'region-count',
    304: 'region-place',
    305: 'region-duplicate', 306: 'region-overlap', 307: 'region-missing',
    308: 'region-unknown-required', 309: 'region-unknown', 310: 'region-not-required',
    311: 'region-reserved', 312: 'region-tables-differ', 313: 'region-tables-lost',
    314: 'region-on-log', 315: 'region-cut', 316: 'region-lost', 401: 'log-dirty',
    402: 'log-empty', 403: 'log-stale', 404: 'log-broken', 405: 'log-torn', 406: 'log-leftover',
    407: 'log-file-truncated', 408: 'log-forbidden', 409: 'log-cut', 410: 'log-lost',
    501: 'metadata-signature', 502: 'metadata-reserved', 503: 'metadata-count',
    504: 'metadata-entry', 505: 'metadata-duplicate', 506: 'metadata-overlap',
    507: 'metadata-unknown-required', 508: 'metadata-unknown', 509: 'metadata-missing',
    510: 'metadata-incomplete', 511: 'metadata-value', 512: 'metadata-flags',
    513: 'locator-content', 514: 'locator-reserved', 515: 'locator-missing',
    516: 'locator-unexpected', 601: 'bat-small', 602: 'bat-state', 603: 'bat-reserved',
    604: 'bat-header-section', 605: 'bat-past-end', 606: 'bat-cut', 607: 'bat-on-region',
    608: 'bat-overlap', 609: 'bat-shifted', 610: 'bat-slot', 611: 'bat-zero-offset',
    612: 'bat-idle-offset', 613: 'bat-anchor-overlap', 614: 'bat-anchor-past-end',
    615: 'bat-old-state', 701: 'bitmap-missing', 702: 'bitmap-beyond', 801: 'parent-missing',
    802: 'parent-other', 803: 'parent-written', 804: 'parent-cycle', 805: 'parent-sector-size',
    806: 'parent-broken', 901: 'profile-sparse', 902: 'profile-azure-format',
    903: 'profile-azure-size', 904: 'profile-wsl-chain', 905: 'profile-wsl-file-system'}


def digest(path):
    """The size of a file, and the digest of all of its pages that are not zeros."""
    size = os.path.getsize(path)
    digester = hashlib.sha256()
    for offset, page in pages_of_file(path):
        digester.update(b'%d ' % offset + page)
    return size, digester.hexdigest()


def bad(ids):
    """Those of a set of problems that are errors or fatal."""
    return {number for number in ids if severity_of(number) in (ERROR, FATAL)}


def exit_code(ids):
    """What the tool must exit with if it found these."""
    if bad(ids):
        return 2
    return 3 if any(severity_of(number) == LEAK for number in ids) else 0


def ids_of(report):
    """How often each problem was found, as far as it was told of."""
    return Counter(one['id'] for one in report['findings'])


def demand(parts, *args):
    """Runs all of some checks, and fails with what failed of them: a test for each of them apart
    would take longer than the program that is under test."""
    failed = []
    for part in parts:
        try:
            part(*args)
        except (AssertionError, vhdxref.RefError) as error:
            failed.append('%s\n%s: %s' % (part.__doc__, part.__name__, error))
    if failed:
        pytest.fail('\n\n'.join(failed), pytrace=False)


class Made:
    """A damaged image, written into a folder of its own."""

    def __init__(self, case, folder):
        self.case, self.folder = case, str(folder)
        self.image = case.build()
        self.path = self.image.save(self.folder)
        self.undo = self.path + '.undo'
        self.before = self.snapshot()

    def snapshot(self):
        """All files of the folder, with their contents."""
        return {name: digest(os.path.join(self.folder, name))
                for name in sorted(os.listdir(self.folder))}

    def times(self):
        """When they were changed."""
        return {name: os.stat(os.path.join(self.folder, name)).st_mtime_ns
                for name in sorted(os.listdir(self.folder))}

    def _ranges(self, *names):
        return Ranges((at, at + length) for name in names
                      for at, length in getattr(self.image, name, [])).pairs()

    def missing(self):
        """The ranges of the disk that the file ends before."""
        return self._ranges('missing')

    def unread(self):
        """The ranges of the disk that cannot be read before they are repaired."""
        return self._ranges('missing', 'lost', 'unread')

    def lost(self):
        """The ranges of the disk that are lost."""
        return self._ranges('missing', 'lost')

    def remove(self):
        """Removes the folder."""
        shutil.rmtree(self.folder)


class Check:
    """Runs vhdx check."""

    def __init__(self, tool):
        self.tool = tool

    def run(self, path, *args):
        """The exit code, and the report."""
        done = self.tool('check', '--output=json', *args, path)
        assert done.code in (0, 2, 3), done
        report = json.loads(done.out)
        verify_report(report)
        return done.code, report

    def ids(self, path, *args):
        """The problems found, with the exit code that goes with them."""
        code, report = self.run(path, *args)
        ids = set(ids_of(report))
        assert code == exit_code(ids), (code, ids)
        return ids


def verify_report(report):
    """What holds for every report."""
    assert TOP_KEYS <= set(report), TOP_KEYS - set(report)
    assert report['format'] == 'vhdx'
    # qemu-img's name for what kept the check from its end.
    assert report['check-errors'] == int(not report['complete'])
    assert report['corruptions'] == report['errors'] + report['fatals']
    assert isinstance(report['complete'], bool)
    for one in report['findings']:
        verify_finding(one)
    counts = report.get('before', report)
    for severity, key in ((NOTE, 'notes'), (LEAK, 'leaks'), (ERROR, 'errors'), (FATAL, 'fatals')):
        ids = Counter(one['id'] for one in report['findings'] if one['severity'] == severity)
        if max(ids.values(), default=0) < SHOWN:
            assert counts[key] == sum(ids.values()), (key, counts[key], ids)
        else:
            assert counts[key] >= sum(ids.values())
            assert max(ids.values()) == SHOWN


def verify_finding(one):
    """What holds for every finding."""
    number = one['id']
    assert FINDING_KEYS <= set(one), one
    assert one['name'] == NAMES[number], one
    assert one['severity'] == severity_of(number), one
    assert one['repair'] == repair_of(number), one
    assert (one['remedy'] == '') == (one['repair'] == 'none'), one
    for key in ('message', 'effect', 'remedy'):
        assert one[key].isprintable() and one[key] == one[key].strip(), one
    assert one['message'] and one['effect'], one
    assert ('virtual-offset' in one) == ('virtual-length' in one), one
    assert one.get('virtual-length', 1) > 0, one
    verify_place(one)


def verify_place(one):
    """Where in the file the offending bytes may stand."""
    number, place = one['id'], one.get('file-offset')
    if 201 <= number <= 212 and place is not None:
        assert 64 << 10 <= place < 192 << 10, one
    if 301 <= number <= 313 and place is not None:
        assert 192 << 10 <= place < 320 << 10, one
    if 602 <= number <= 615:
        assert place is not None and place >= MIB and place % 8 == 0, one


# ---- What a repaired image contains -------------------------------------------------------------

class Lenient(vhdxref.Image):
    """Reads an image of which some blocks are lost: they read as zeros."""

    def verify_bat(self):
        """No rule is demanded."""

    def _load(self, content, extent):
        if extent.file_offset < self.image_at(extent.depth).file.size:
            super()._load(content, extent)

    def _sectors(self, block, start, end, at, depth):
        chunk = block // self.ratio
        entry = self.bat.get(chunk * (self.ratio + 1) + self.ratio, 0)
        if entry & 7 == 6 and (entry >> 20 << 20) + MIB <= self.file.size:
            yield from super()._sectors(block, start, end, at, depth)


def read_strictly(path, parents=True):
    """The content, by a reader that tolerates nothing."""
    image = vhdxref.open_image(path, vhdxref.relative_parent if parents else None)
    try:
        return image.content()
    finally:
        image.close()


def read_leniently(path):
    """The content as far as it can be had."""
    image = Lenient(path)
    if image.metadata.has_parent:
        found = list(vhdxref.relative_parent(image))
        image.parent = vhdxref.open_image(found[0])
    try:
        return image.content()
    finally:
        image.close()


def same_content(one, other, but=()):
    """Compares two disks outside of some ranges."""
    assert one.size == other.size
    one, other = one.copy(), other.copy()
    for start, end in but:
        one.zero(start, end - start)
        other.zero(start, end - start)
    one, other = dict(one.pages()), dict(other.pages())
    differing = sorted(at for at in one.keys() | other.keys() if one.get(at) != other.get(at))
    assert not differing, 'content differs in %d pages, the first at %#x' % (len(differing),
                                                                             differing[0])
