# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The register of named corpus images, good and bad. Importing it loads all of them.

Every case is a function without arguments that builds an Image (or something else with a method
save(folder) that returns the path of the file to open). Its document string says what it shows.
"""

from dataclasses import dataclass

GOOD, BAD, BENCH = {}, {}, {}

HASH_LIMIT = 1 << 29  # larger virtual disks are compared page by page instead of by their digest


@dataclass
class GoodCase:
    """An image that must open and read as its builder intended."""
    name: str
    doc: str
    build: object
    options: tuple = ()      # for the probe and the tool: how to find the parent
    hashed: bool = False     # hash it although it is larger than HASH_LIMIT


@dataclass
class BadCase:
    """An image that breaks one rule."""
    name: str
    doc: str
    build: object
    codes: tuple             # names of the codes that are right, usually one
    message: str             # regular expression the message must match
    stage: str = 'open'      # open: info fails too; read: info may succeed; chain: likewise
    options: tuple = ()
    place: tuple = None      # (start, end) of the file in which the reported offset must lie
    lenient: bool = False    # the rule is one whose breach may also be overlooked


def good(name=None, doc=None, **fields):
    """Registers a function as a good case."""
    def register(build):
        case = GoodCase(name or build.__name__, _sentence(doc or build.__doc__), build, **fields)
        assert case.name not in GOOD, case.name
        GOOD[case.name] = case
        return build
    return register


def bad(codes, message, name=None, doc=None, **fields):
    """Registers a function as a bad case."""
    codes = tuple('VHDX_E_' + code for code in codes.split('|'))
    def register(build):
        case = BadCase(name or build.__name__, _sentence(doc or build.__doc__), build, codes,
                       '(?i)' + message, **fields)
        assert case.name not in BAD, case.name
        BAD[case.name] = case
        return build
    return register


def bench(write):
    """Registers a function that writes a benchmark image to a path."""
    BENCH[write.__name__] = write
    return write


def _sentence(text):
    return ' '.join(text.split())


def load():
    """Imports all modules with cases."""
    # pylint: disable=import-outside-toplevel,unused-import
    import good_blocks
    import good_chains
    import good_layout
    import good_logs
    import bad_structure
    import bad_metadata
    import bad_log
    import bad_map
    import bad_hostile
    import benchimages


load()
