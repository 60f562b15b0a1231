# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The nbdkit plugin next to nbdkit's own file plugin on a raw file, and to qemu-nbd on the image.

Reading is measured on files in memory, allocating writes on the disk, whose flushes are part of
what they cost. The programs take turns, round by round; ratios are medians of the rounds' ratios.
"""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

TOOLS = ('nbdkit', 'nbdcopy', 'fio')
OURS, FILE, QEMU = 'nbdkit vhdx', 'nbdkit file', 'qemu-nbd'
START_SECONDS = 10


def lacking(build):
    """What is missing to run this, or None."""
    if not os.path.exists(plugin_of(build)):
        return 'this build has no nbdkit plugin'
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    return 'not installed: ' + ', '.join(absent) if absent else None


def plugin_of(build):
    """The plugin's file."""
    return os.path.abspath(os.path.join(build, 'nbdkit', 'nbdkit-vhdx-plugin.so'))


def server_command(name, build, path, address, pid_file, read_only):
    """The command line of a server."""
    if name == QEMU:
        return ['qemu-nbd', '-f', 'vhdx', '-t', '-e', '16', '-k', address,
                '--pid-file=' + pid_file, path, *(['-r'] if read_only else [])]
    plugin = ['file'] if name == FILE else [plugin_of(build)]
    return ['nbdkit', '-f', '-U', address, '-P', pid_file, *(['-r'] if read_only else []),
            *plugin, 'file=' + path]


def listens(pid_file):
    """Whether the server has said that it is ready."""
    return os.path.exists(pid_file) and os.path.getsize(pid_file) > 0


@contextlib.contextmanager
def serving(name, build, path, folder, read_only=True):
    """Runs a server; gives its URI."""
    address, pid_file = (os.path.join(folder, word) for word in ('socket', 'pid'))
    command = server_command(name, build, path, address, pid_file, read_only)
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not listens(pid_file):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(name + ' did not start')
                time.sleep(0.01)
            yield 'nbd+unix:///?socket=' + address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            for leftover in (address, pid_file):
                if os.path.exists(leftover):
                    os.unlink(leftover)


# ---- Clients -------------------------------------------------------------------------------------

def copy_speed(uri, _quick):
    """MB/s of the virtual disk."""
    size = int(subprocess.run(['nbdinfo', '--size', uri], check=True,
                              stdout=subprocess.PIPE).stdout)
    start = time.perf_counter()
    subprocess.run(['nbdcopy', uri, 'null:'], check=True)
    return size / (time.perf_counter() - start) / 1e6


def fio(uri, direction, *more):
    """Operations per second."""
    done = subprocess.run(['fio', '--name=bench', '--ioengine=nbd', '--uri=' + uri, '--bs=4k',
                           '--rw=' + direction, '--randrepeat=1', '--output-format=json', *more],
                          check=True, stdout=subprocess.PIPE)
    # fio may print notes before the document.
    document = json.loads(done.stdout[done.stdout.index(b'{'):])
    return document['jobs'][0]['read' if direction == 'randread' else 'write']['iops']


def read_speed(uri, quick):
    """Random 4 KiB reads per second, 32 at a time."""
    return fio(uri, 'randread', '--iodepth=32', '--time_based',
               '--runtime=%d' % (1 if quick else 4))


def allocate_speed(uri, quick):
    """Random 4 KiB writes per second into an empty image, with a flush after each 64. fio ends with
    one more flush, which counts."""
    return fio(uri, 'randwrite', '--iodepth=1', '--fsync=64', '--end_fsync=1',
               '--number_ios=%d' % (256 if quick else 2048))


# ---- Races ---------------------------------------------------------------------------------------

def race(names, rounds, measure):
    """measure(name) of each in each round; they take turns."""
    speeds = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            speeds[name].append(measure(name))
    return speeds


def results_of(title, unit, speeds, targets):
    """Ours against each of the others."""
    ours = speeds[OURS]
    results = []
    for name, theirs in speeds.items():
        if name == OURS:
            continue
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        results.append({
            'name': title, 'unit': unit, 'value': round(statistics.median(ours), 1),
            'baseline': round(statistics.median(theirs), 1), 'baseline_name': name,
            'ratio': round(ratio, 3), 'target': 'ratio >= %g' % targets[name],
            'met': ratio >= targets[name]})
    return results


def run_reads(options, folder, names):
    """Copying, and random reads."""
    paths = {name: os.path.join(folder, 'half.img' if name == FILE else 'half.vhdx')
             for name in names}
    results = []
    for title, unit, client, targets in (
            ('nbd: copy half-full', 'MB/s', copy_speed, {QEMU: 2, FILE: 0.95}),
            ('nbd: read 4 KiB at random', '1/s', read_speed, {QEMU: 1, FILE: 0.9})):
        def measure(name, client=client):
            with serving(name, options.build, paths[name], folder) as uri:
                return client(uri, options.quick)
        speeds = race(names, 3 if options.quick else 7, measure)
        results += results_of(title, unit, speeds, targets)
    return results


def run_allocating_writes(options, names):
    """Writes into a new image each time."""
    tool = os.path.join(options.build, 'cli', 'vhdx')
    with tempfile.TemporaryDirectory(prefix='vhdx-bench-', dir=options.dir) as folder:
        path = os.path.join(folder, 'new.vhdx')

        def measure(name):
            subprocess.run([tool, 'create', '-q', '-y', '-o', 'block_size=2M', path, '4G'],
                           check=True)
            with serving(name, options.build, path, folder, read_only=False) as uri:
                return allocate_speed(uri, options.quick)
        speeds = race(names, 3 if options.quick else 5, measure)
    return results_of('nbd: allocate by 4 KiB writes, flush every 64', '1/s', speeds, {QEMU: 5})


def run(options, folder):
    """All of it; folder holds the images for reading."""
    missing = lacking(options.build)
    if missing:
        return [{'name': 'nbd: left out, ' + missing, 'unit': '', 'value': None, 'baseline': None,
                 'baseline_name': None, 'ratio': None, 'target': None, 'met': None}]
    qemu = [QEMU] if shutil.which('qemu-nbd') else []
    results = run_reads(options, folder, [OURS, FILE, *qemu])
    return results + (run_allocating_writes(options, [OURS, *qemu]) if qemu else [])
