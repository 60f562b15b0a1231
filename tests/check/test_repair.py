# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx check --repair leaves of every damaged image what its level cannot mend, and nothing else:
a second check says so, the content is the expected one by the reference reader, what was given up
is listed exactly, a dry run says the same and changes nothing, undo restores every byte."""

import os

import pytest

from check_support import (BY_PRODUCT, DAMAGE, KINDS, NAMES, Made, Ranges, bad, demand, exit_code,
                           ids_of, read_leniently, read_strictly, same_content, scratch_folder,
                           severity_of)
from damage_core import logged
from good_logs import move_to_log
from vhdxdisk import HEADER_AT, MIB, LogEntry, Zero

ACTION_KEYS = {'id', 'name', 'message'}
# qemu-img reads larger ones as well, but takes its time.
QEMU_LIMIT = 1 << 40


class Repaired:
    """A damaged image after a repair, and what the repair said."""

    def __init__(self, made, check, level):
        self.made, self.level, self.case = made, level, made.case
        option = '--repair=' + level
        self.dry_code, self.dry = check.run(made.path, option, '--dry-run', *self.case.args)
        self.after_dry = made.snapshot()
        self.code, self.report = check.run(made.path, option, *self.case.args)
        self.repair = self.report['repair']
        self.first = set(ids_of(self.report))
        self.after = made.snapshot()
        self.second = check.ids(made.path, *self.case.args)
        self.expected = getattr(self.case, level)

    def lost(self):
        """The ranges that are listed as given up; of the actions themselves, the first 1000 of each
        problem are."""
        listed = [(one['offset'], one['offset'] + one['length'])
                  for one in self.repair['lost-ranges']]
        told = Ranges((one['lost-offset'], one['lost-offset'] + one['lost-length'])
                      for one in self.repair['actions'] if 'lost-length' in one).pairs()
        if self.repair['actions-total'] == len(self.repair['actions']):
            assert listed == told
        return listed


def second_check(repaired, *_):
    """A check of its own finds what this level cannot mend, and nothing else; so said the repair,
    whose findings are those from before."""
    open_ids = repaired.case.may | BY_PRODUCT - set(repaired.case.found)
    assert repaired.second - open_ids == repaired.expected - open_ids
    assert repaired.code == exit_code(repaired.second)
    open_ids = repaired.case.may
    assert repaired.first - open_ids == set(repaired.case.found) - open_ids


def report(repaired, *_):
    """What the repair says of itself."""
    repair, report = repaired.repair, repaired.report
    assert (repair['level'], repair['dry-run']) == (repaired.level, False)
    assert repair['changed'] == (repaired.after != repaired.made.before)
    assert set(report['before']) >= {'errors', 'fatals', 'leaks', 'notes'}
    assert bool(repair['actions']) == repair['changed']
    # What comes to light on the way is mended too: behind what kept the check from its end, and
    # space that belonged to what was given up.
    if not report['before']['fatals'] and not repair['lost-bytes']:
        assert {one['id'] for one in repair['actions']} <= repaired.first | BY_PRODUCT
    for one in repair['actions']:
        assert ACTION_KEYS <= set(one), one
        assert one['name'] == NAMES[one['id']] and one['message'].isprintable(), one
        assert one.get('lost-length', 1) > 0, one


def nothing_to_do(repaired, *_):
    """Where the level mends nothing, nothing is written, and there is nothing to undo."""
    if repaired.first != repaired.expected:
        return
    assert repaired.after == repaired.made.before
    assert 'undo-file' not in repaired.repair


def lost(repaired, *_):
    """What was given up is listed exactly; a safe repair gives nothing up, but says what the file
    does not have."""
    lost = repaired.made.lost() if repaired.level == 'all' else repaired.made.missing()
    assert repaired.lost() == lost
    assert repaired.repair['lost-bytes'] == sum(end - start for start, end in lost)


def content(repaired, *_):
    """The disk is what the generator knows that it is."""
    made, case = repaired.made, repaired.case
    # Without the parent, with entries that still are elsewhere, or with a header that the reader
    # takes for the current one, there is nothing to compare.
    if not case.reads or case.args or {203, 609} & repaired.expected:
        return
    if not bad(repaired.expected):
        content = read_strictly(made.path)
        same_content(content, made.image.content)
    elif not any(severity_of(i) == 'fatal' or i > 800 for i in bad(repaired.expected)):
        same_content(read_leniently(made.path), made.image.content, made.unread())


def dry_run(repaired, *_):
    """A dry run does the same in thought."""
    assert repaired.after_dry == repaired.made.before
    dry, real = repaired.dry['repair'], repaired.repair
    assert dry['dry-run'] and 'undo-file' not in dry
    for key in ('level', 'changed', 'lost-bytes', 'actions'):
        assert dry[key] == real[key], key
    assert repaired.dry_code == repaired.code


def others_untouched(repaired, *_):
    """Nothing but the image and its undo file has changed."""
    made = repaired.made
    undo = os.path.basename(made.undo)
    others = {name: value for name, value in repaired.after.items() if name != undo}
    before = dict(made.before)
    assert others.keys() == before.keys()
    name = os.path.basename(made.path)
    others.pop(name), before.pop(name)
    assert others == before
    assert (undo in repaired.after) == repaired.repair['changed']
    if repaired.repair['changed']:
        assert os.path.samefile(repaired.repair['undo-file'], made.undo)


def qemu(repaired, _, qemu_img):
    """qemu-img check accepts what is mended, if it knows such images at all."""
    image, case = repaired.made.image, repaired.case
    if image.parent or image.sector != 512 or bad(repaired.expected) or not case.qemu \
            or image.size > QEMU_LIMIT or not repaired.repair['changed']:
        return
    code, text = qemu_img('check', '-f', 'vhdx', repaired.made.path)
    assert code == 0, text


def undo(repaired, vhdx, _):
    """Every byte comes back, and the undo file goes."""
    if not repaired.repair['changed']:
        return
    done = vhdx('check', '--undo', repaired.made.path)
    assert done.code == 0, done
    assert repaired.made.snapshot() == repaired.made.before


def runs():
    """(image, level) for all that can differ: a case that is another only in the kind of image is
    repaired at one level, and so is what the levels treat alike and what they both leave alone."""
    found = []
    for name, case in DAMAGE.items():
        again = name.endswith(tuple('_' + kind for kind in KINDS))
        if case.safe != case.all and not again:
            found.append((name, 'safe'))
        found.append((name, 'safe' if case.found and case.safe == case.all else 'all'))
    return found


@pytest.mark.parametrize('name,level', runs())
def test_repair(name, level, tmp_path_factory, check, vhdx, qemu_img):
    """All of this, of every image."""
    made = Made(DAMAGE[name], scratch_folder(tmp_path_factory, name))
    repaired = Repaired(made, check, level)
    demand((second_check, report, nothing_to_do, lost, content, dry_run, others_untouched, qemu,
            undo), repaired, vhdx, qemu_img)
    made.remove()


def test_found_log_that_makes_the_file_long(tmp_path, check):
    """Both headers are gone, and the log that is found sets space aside far behind the file's end:
    the repair takes no longer for it."""
    image, ring = logged()
    ring.add(LogEntry(5, [move_to_log(image, image.bat_at), Zero(200 << 40, MIB)]))
    for at in HEADER_AT:
        image.render().zero(at, 4096)
    image.render().save(tmp_path / 'long.vhdx')
    code, report = check.run(tmp_path / 'long.vhdx', '--repair=all', '--dry-run')
    assert code == 0 and report['repair']['changed'], report
    assert 'replayed' in report['repair']['actions'][0]['message']
