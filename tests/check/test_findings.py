# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx check finds in every damaged image what is wrong with it, and nothing else; in near misses
it finds nothing. It changes nothing."""

import re

import pytest

from check_support import (DAMAGE, NAMES, SHOWN, HERE, Made, Ranges, bad, demand, exit_code, ids_of,
                           scratch_folder, severity_of)

HEADER = HERE.parents[1] / 'include' / 'vhdx.h'
# There is no torn entry without an active sequence beside it, which is log-dirty.
NEVER_ALONE = {405: {401, 405}}
# What only a profile asks for is tested in test_profiles.py.
PROFILES = {901, 902, 903, 904, 905}


# ---- The corpus itself --------------------------------------------------------------------------

def public_problems():
    """{number} of enum vhdx_problem."""
    return set(map(int, re.findall(r'VHDX_P_\w+ = (\d+)', HEADER.read_text(encoding='utf-8'))))


def test_every_problem_has_an_image_that_has_it_alone():
    """And those that cannot stand alone are named here."""
    alone = {frozenset(case.found) for case in DAMAGE.values() if not case.args}
    for number in public_problems() - PROFILES:
        assert frozenset(NEVER_ALONE.get(number, {number})) in alone, NAMES[number]


def test_every_problem_has_a_near_miss():
    """An image that is close to having it."""
    missed = {number for case in DAMAGE.values() for number in case.near}
    assert public_problems() - PROFILES <= missed


def test_problems_are_stable():
    """Numbers and names are for scripts: new ones may come, none may change or go."""
    assert public_problems() == set(NAMES)
    text = HEADER.read_text(encoding='utf-8')
    for name, number in re.findall(r'VHDX_P_(\w+) = (\d+)', text):
        assert NAMES[int(number)] == name.lower().replace('_', '-')


# ---- Each image ---------------------------------------------------------------------------------

def finds_this_and_nothing_else(made, code, report):
    """The set of problems is exact, and so are their numbers where they are given."""
    found = ids_of(report)
    expected = set(made.case.found)
    assert set(found) - made.case.may == expected - made.case.may
    for number, count in made.case.found.items():
        if count is not None:
            assert found[number] == min(count, SHOWN), NAMES[number]
            if expected == {number}:
                key = severity_of(number) + 's'
                assert report[key] == count


def exit_code_is_right(made, code, report):
    """0 with notes only, 3 with leaks, 2 with errors."""
    assert code == exit_code(ids_of(report))
    assert code == exit_code(made.case.found)


def complete(made, code, report):
    """Whether the check got to the end of the image."""
    expected = made.case.reached
    if expected is None and not any(severity_of(i) == 'fatal' for i in made.case.found):
        expected = True
    assert expected is None or report['complete'] == expected


def totals(made, code, report):
    """Sizes, and what is lost."""
    sizes = report
    assert sizes['file-size'] == made.before[made.image.name][0]
    kinds = {severity_of(number) for number in made.case.found}
    if not kinds & {'fatal'}:
        assert sizes['total-clusters'] == made.image.blocks
    if kinds <= {'note', 'leak'}:
        assert sizes['lost-bytes'] == 0
    if set(made.case.found) in ({605}, {606}):
        assert sizes['lost-bytes'] == sum(end - start for start, end in made.lost())
    if not {104, 105} & set(made.case.found) and not bad(made.case.found):
        assert sizes['leaked-bytes'] == 0
    if not made.case.found:
        states = [entry & 7 for index, entry in made.image.bat.items()
                  if index % (made.image.chunk_ratio + 1) != made.image.chunk_ratio
                  and index < made.image.bat_entries()]
        assert sizes['allocated-clusters'] == sum(state in (6, 7) for state in states)
        assert sizes['image-end-offset'] <= sizes['file-size']
        assert made.image.fixed or sizes['image-end-offset'] == sizes['file-size']


def virtual_ranges(made, code, report):
    """Findings of blocks that cannot be read say which part of the disk they concern."""
    found = set(made.case.found)
    if not found or not found <= {602, 604, 605, 606, 607} or made.case.may:
        return
    lost = report['findings']
    if len(lost) < SHOWN and made.lost():
        assert Ranges((one['virtual-offset'], one['virtual-offset'] + one['virtual-length'])
                      for one in lost).pairs() == made.lost()


def changes_nothing(made, code, report):
    """The image and its parents are as they were, to the time of their last change."""
    assert report and code in (0, 2, 3)
    assert made.snapshot() == made.before
    assert made.times() == made.old_times


@pytest.mark.parametrize('name', list(DAMAGE))
def test_finds(name, tmp_path_factory, check):
    """All of this, of every image."""
    made = Made(DAMAGE[name], scratch_folder(tmp_path_factory, name))
    made.old_times = made.times()
    code, report = check.run(made.path, *made.case.args)
    demand((finds_this_and_nothing_else, exit_code_is_right, complete, totals, virtual_ranges,
            changes_nothing), made, code, report)
    made.remove()
