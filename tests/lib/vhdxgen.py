#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Writes images of the test corpus, by name.

    python3 tests/lib/vhdxgen.py --list            all names, with what each shows
    python3 tests/lib/vhdxgen.py NAME OUT          one image (its parents go beside it)
    python3 tests/lib/vhdxgen.py --all FOLDER      every image but the benchmarks, a folder each
"""

import argparse
import os
import sys
import tempfile

import corpus


def list_cases():
    """Prints every name."""
    for title, cases in (('good', corpus.GOOD), ('bad', corpus.BAD)):
        for case in cases.values():
            codes = '|'.join(case.codes) + ': ' if title == 'bad' else ''
            print('%-5s %-50s %s%s' % (title, case.name, codes, case.doc))
    for name, write in corpus.BENCH.items():
        print('%-5s %-50s %s' % ('bench', name, ' '.join(write.__doc__.split())))


def write_case(case, out):
    """Writes one image to the path out, and its parents where it expects them."""
    out = os.path.abspath(out)
    folder = os.path.dirname(out)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = case.build().save(temporary)
        if not path.startswith(temporary):
            sys.exit('%s: that is %s' % (case.name, path))
        for root, _, names in os.walk(temporary):
            for name in names:
                source = os.path.join(root, name)
                target = os.path.join(folder, os.path.relpath(source, temporary))
                # A child in a folder of its own stays there, or it would not find its parent.
                if source == path and root == temporary:
                    target = out
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(source, target)
                if source == path:
                    print(target)


def write_all(folder):
    """Writes the whole corpus."""
    for case in list(corpus.GOOD.values()) + list(corpus.BAD.values()):
        own = os.path.join(folder, case.name)
        os.makedirs(own, exist_ok=True)
        try:
            case.build().save(own)
        except OSError as error:
            print('%s: %s' % (case.name, error), file=sys.stderr)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--list', action='store_true', help='list all names')
    parser.add_argument('--all', metavar='FOLDER', help='write every image')
    parser.add_argument('name', nargs='?')
    parser.add_argument('out', nargs='?')
    options = parser.parse_args()
    if options.list:
        list_cases()
    elif options.all:
        write_all(options.all)
    elif not options.out:
        parser.error('NAME and OUT are needed')
    elif options.name in corpus.BENCH:
        corpus.BENCH[options.name](options.out)
    else:
        case = corpus.GOOD.get(options.name) or corpus.BAD.get(options.name)
        if case is None:
            parser.error('no image is called %s: see --list' % options.name)
        write_case(case, options.out)


if __name__ == '__main__':
    main()
