# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx convert and compare as whole processes, next to qemu-img, cp and nbdcopy.

A disk that is half full goes from a raw file to a VHDX and back, in memory and on a disk. The
programs take turns, round by round; ratios are medians of the rounds' ratios. Only vhdx makes its
output stable before it ends; the clock stops for the others, too, when theirs is stable. Then there
is what should cost next to nothing: an empty disk, a disk that is almost all hole, and one whose
blocks the file system can share.
"""

import contextlib
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import images

GIB, MIB, TIB = 1 << 30, 1 << 20, 1 << 40
OURS = 'vhdx'
QEMU_FAST = ('-m', '16', '-W')
QEMU_MIN, CP_MIN, COMPARE_MIN = 2, 0.9, 2
EMPTY_LIMIT_MS, CLONE_LIMIT_MS, MEMORY_LIMIT_MIB = 20, 100, 64
THREADS_DEFAULT_MAX = 8     # of vhdx, however many processors there are
ORDER_RATIO_MAX = 2         # of blocks in some order, to those in the disk's
SPARSE_DATA = 64 * MIB
SPARSE_SIZES = TIB, 64 * TIB
SPARSE_RATIO_MAX = 2        # 64 times the size for so much more time
CLONE_MOUNT_SPARE = GIB     # of the mounted file system, besides the data

# Runs a program and prints seconds and KiB at its peak. In a process of its own, since a child's
# peak counts from its parent's size on.
PROBE = '''
import os, resource, sys, time
start = time.perf_counter()
code = os.spawnvp(os.P_WAIT, sys.argv[1], sys.argv[1:])
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
'''


def result(title, unit, value, **more):
    """A result, of which only some fields are there."""
    return {'name': title, 'unit': unit, 'value': value, 'baseline': None, 'baseline_name': None,
            'ratio': None, 'target': None, 'met': None, **more}


def limited(title, unit, value, limit):
    """A result with an upper limit."""
    return result(title, unit, round(value, 3), target='value <= %g' % limit, met=value <= limit)


def left_out(title, reason):
    """A result that says why there is none."""
    return result('%s: left out, %s' % (title, reason), '', None)


# ---- Running -------------------------------------------------------------------------------------

def take_memory(size):
    """Takes memory and gives it back: a virtual machine's host may have to find it first, which is
    for none of the programs to pay."""
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def make_stable(path):
    """Waits until a file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def measure(command, output=None):
    """Seconds of a program until its output, which is removed again, is stable; and MiB at its
    peak."""
    done = subprocess.run([sys.executable, '-S', '-c', PROBE, *command], check=True, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    seconds, memory = map(float, done.stdout.split('\n')[-2].split())
    if output:
        start = time.perf_counter()
        make_stable(output)
        seconds += time.perf_counter() - start
        os.unlink(output)
    return seconds, memory / 1024


def race(commands, rounds, output=None, size=0):
    """(seconds, MiB) of each command, or of a function that is called with the output's name, in
    each round; they take turns."""
    found = {name: [] for name in commands}
    for number in range(rounds):
        for name in commands if number % 2 else reversed(commands):
            if size:
                take_memory(size)
            command = commands[name]
            found[name].append((command(output), 0) if callable(command) else
                               measure(command, output))
    return found


def seconds_of(found):
    """Without the memory."""
    return [seconds for seconds, _ in found]


def best_of(found, names):
    """The name of the quickest."""
    return min(names, key=lambda name: statistics.median(seconds_of(found[name])))


def against(title, found, name, size, limit=None):
    """Our speed and that of another one."""
    ours, theirs = seconds_of(found[OURS]), seconds_of(found[name])
    ratio = statistics.median(b / a for a, b in zip(ours, theirs))
    return result(title, 'MB/s', round(size / statistics.median(ours) / 1e6, 1),
                  baseline=round(size / statistics.median(theirs) / 1e6, 1), baseline_name=name,
                  ratio=round(ratio, 3), target='ratio >= %g' % limit if limit else None,
                  met=ratio >= limit if limit else None)


def against_all(title, found, size, limits):
    """Ours next to each of the others; of QEMU's, only the quickest is judged. limits: by the first
    word of a name."""
    qemu = [name for name in found if name.startswith('qemu-img')]
    results = []
    for name in found:
        if name != OURS:
            judged = name not in qemu or name == best_of(found, qemu)
            limit = limits.get(name.split()[0]) if judged else None
            results.append(against(title, found, name, size, limit))
    return results


def rounds_of(options):
    """How often each program has its turn."""
    return 3 if options.quick else 5


def tool_of(options):
    """Our program."""
    return os.path.join(options.build, 'cli', 'vhdx')


# ---- A disk that is half full --------------------------------------------------------------------

def qemu_commands(before, after):
    """qemu-img with each of its settings, if it is there: the verb, options, operands."""
    if not shutil.which('qemu-img'):
        return {}
    verb, *plain = before
    commands = {' '.join(('qemu-img', *fast)): ['qemu-img', verb, *fast, *plain, *after]
                for fast in ((), QEMU_FAST)}
    return commands if verb == 'convert' else {'qemu-img': ['qemu-img', verb, *plain, *after]}


def copy_commands(raw, output):
    """What copies the raw file: no program but ours and QEMU's knows VHDX."""
    commands = {'cp --sparse=always': ['cp', '--sparse=always', raw, output]}
    if shutil.which('nbdcopy'):
        commands['nbdcopy, raw to raw'] = ['nbdcopy', raw, output]
    return commands


def write_alone(size):
    """A function that writes, from memory, what any copy has to: the least that one can take."""
    pieces = [piece for piece in images.pieces_of(images.half_full_runs(size), MIB)
              if not piece[2]]
    memory = bytes(range(256)) * (MIB // 256)

    def write(output):
        start = time.perf_counter()
        handle = os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            os.ftruncate(handle, size)
            for offset, length, _ in pieces:
                os.pwrite(handle, memory if length == MIB else memory[:length], offset)
            os.fsync(handle)
        finally:
            os.close(handle)
        seconds = time.perf_counter() - start
        os.unlink(output)
        return seconds
    return write


def plugin_commands(options, image, output):
    """The image through our plugin, if both are there."""
    plugin = os.path.abspath(os.path.join(options.build, 'nbdkit', 'nbdkit-vhdx-plugin.so'))
    if not all(map(shutil.which, ('nbdcopy', 'nbdkit'))) or not os.path.exists(plugin):
        return {}
    return {'nbdcopy, our plugin': ['nbdcopy', '--', '[', 'nbdkit', '-r', plugin, 'file=' + image,
                                    ']', output]}


def half_full_commands(options, folder, output, size):
    """By direction: what is to be measured."""
    raw, image = (os.path.join(folder, name) for name in ('disk.img', 'disk.vhdx'))
    ours = [tool_of(options), 'convert', '-q']
    return {
        'raw to VHDX': {OURS: [*ours, '-O', 'vhdx', raw, output],
                        **qemu_commands(('convert', '-f', 'raw', '-O', 'vhdx'), (raw, output)),
                        **copy_commands(raw, output), 'writing alone': write_alone(size)},
        'VHDX to raw': {OURS: [*ours, '-O', 'raw', image, output],
                        **qemu_commands(('convert', '-f', 'vhdx', '-O', 'raw'), (image, output)),
                        **copy_commands(raw, output),
                        **plugin_commands(options, image, output),
                        'writing alone': write_alone(size)}}


def run_compare(options, folder, place, size):
    """The raw file and the image, which hold the same."""
    raw, image = (os.path.join(folder, name) for name in ('disk.img', 'disk.vhdx'))
    commands = {OURS: [tool_of(options), 'compare', '-q', raw, image],
                **qemu_commands(('compare', '-q', '-f', 'raw', '-F', 'vhdx'), (raw, image))}
    found = race(commands, rounds_of(options))
    return found[OURS], against_all('%s: compare' % place, found, size, {'qemu-img': COMPARE_MIN})


def peak_memory(options, folder, output, size):
    """MiB of ours with as many threads as there are by default anywhere."""
    peaks = [measure([*commands[OURS][:2], '-m', str(THREADS_DEFAULT_MAX), *commands[OURS][2:]],
                     output)[1]
             for commands in half_full_commands(options, folder, output, size).values()]
    return max(peaks)


def run_half_full(options, base, place, limits):
    """Both directions, comparing, and the memory that all of it took."""
    size = 512 * MIB if options.quick else 4 * GIB
    results, peaks = [], []
    with tempfile.TemporaryDirectory(prefix='vhdx-bench-', dir=base) as folder:
        images.write_realistic(folder, size)
        output = os.path.join(folder, 'output')
        for direction, commands in half_full_commands(options, folder, output, size).items():
            found = race(commands, rounds_of(options), output, size * 5 // 8)
            results += against_all('%s: %s, half-full' % (place, direction), found, size, limits)
            peaks += found[OURS]
        found, compared = run_compare(options, folder, place, size)
        peaks += found
        peak = max(peak_memory(options, folder, output, size), *(memory for _, memory in peaks))
    return [*results, *compared,
            limited('%s: peak memory of all these' % place, 'MiB', peak, MEMORY_LIMIT_MIB)]


# ---- Disks with little on them -------------------------------------------------------------------

def median_ms(command, output, rounds):
    """Milliseconds."""
    return statistics.median(measure(command, output)[0] for _ in range(rounds)) * 1e3


def run_empty(options, base):
    """256 GiB of nothing, both ways."""
    results = []
    with tempfile.TemporaryDirectory(prefix='vhdx-bench-', dir=base) as folder:
        images.write_empty(folder, 256 * GIB)
        output = os.path.join(folder, 'output')
        for target, source in (('vhdx', 'empty.img'), ('raw', 'empty.vhdx')):
            command = [tool_of(options), 'convert', '-q', '-O', target,
                       os.path.join(folder, source), output]
            results.append(limited('convert to %s, empty 256 GiB' % target, 'ms',
                                   median_ms(command, output, 5 if options.quick else 31),
                                   EMPTY_LIMIT_MS))
    return results


def run_sparse(options, base):
    """As much data on disks of two sizes."""
    title = 'raw to VHDX, 64 MiB of data on 64 TiB'
    times = {size: [] for size in SPARSE_SIZES}
    with tempfile.TemporaryDirectory(prefix='vhdx-bench-', dir=base) as folder:
        output = os.path.join(folder, 'output')
        try:
            for size in SPARSE_SIZES:
                images.write_sparse(os.path.join(folder, str(size)), size, SPARSE_DATA)
        except OSError as error:
            return [left_out(title, error.strerror)]
        for _ in range(2 * rounds_of(options)):
            for size in SPARSE_SIZES:
                command = [tool_of(options), 'convert', '-q', '-O', 'vhdx',
                           os.path.join(folder, str(size)), output]
                times[size].append(measure(command, output)[0])
    small, large = (times[size] for size in SPARSE_SIZES)
    ratio = statistics.median(a / b for a, b in zip(large, small))
    return [result(title, 'ms', round(statistics.median(large) * 1e3, 3),
                   baseline=round(statistics.median(small) * 1e3, 3), baseline_name='on 1 TiB',
                   ratio=round(ratio, 3), target='ratio <= %g' % SPARSE_RATIO_MAX,
                   met=ratio <= SPARSE_RATIO_MAX)]


def run_orders(options, base):
    """Images without holes, by the order of their blocks: file systems look for holes from each of
    them, perhaps to the end of the file."""
    size = 512 * MIB if options.quick else 2 * GIB
    count = size // images.BLOCK_SIZE
    plain = 'in order'
    orders = {plain: range(count), 'in random order': images.shuffled(count),
              'in reverse': range(count - 1, -1, -1)}
    with tempfile.TemporaryDirectory(prefix='vhdx-bench-', dir=base) as folder:
        output = os.path.join(folder, 'output')
        commands = {}
        for number, (name, order) in enumerate(orders.items()):
            path = os.path.join(folder, '%d.vhdx' % number)
            images.write_full_image(path, size, order)
            commands[name] = [tool_of(options), 'convert', '-q', '-O', 'raw', path, output]
        found = race(commands, rounds_of(options), output, size)
    base_times = seconds_of(found.pop(plain))
    results = []
    for name, times in found.items():
        ratio = statistics.median(a / b for a, b in zip(seconds_of(times), base_times))
        results.append(result('VHDX to raw, full, blocks ' + name, 'ms',
                              round(statistics.median(seconds_of(times)) * 1e3, 1),
                              baseline=round(statistics.median(base_times) * 1e3, 1),
                              baseline_name=plain, ratio=round(ratio, 3),
                              target='ratio <= %g' % ORDER_RATIO_MAX,
                              met=ratio <= ORDER_RATIO_MAX))
    return results


# ---- Shared blocks -------------------------------------------------------------------------------

@contextlib.contextmanager
def xfs(folder, size):
    """A new XFS, mounted; gives the place."""
    image, place = os.path.join(folder, 'xfs.img'), os.path.join(folder, 'xfs')
    with open(image, 'wb') as out:
        out.truncate(size)
    os.mkdir(place)
    subprocess.run(['mkfs.xfs', '-q', '-m', 'reflink=1', image], check=True)
    subprocess.run(['mount', '-o', 'loop', image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(['umount', place], check=True)


def clone_times(options, folder, size, rounds):
    """Milliseconds by target format, of vhdx and of cp --reflink."""
    raw, image, output = (os.path.join(folder, name)
                          for name in ('disk.img', 'disk.vhdx', 'output'))
    ours = [tool_of(options), 'convert', '-q', '-O']
    images.write_dense(raw, size)
    subprocess.run([*ours, 'vhdx', raw, image], check=True)
    times = {'raw to VHDX': [], 'VHDX to raw': [], 'cp': []}
    commands = [*ours, 'vhdx', raw, output], [*ours, 'raw', image, output], \
               ['cp', '--reflink=always', raw, output]
    for _ in range(rounds):
        for name, command in zip(times, commands):
            times[name].append(measure(command, output)[0] * 1e3)
    return times


def run_clone(options, base):
    """A full disk on a file system that shares blocks between files."""
    size = 512 * MIB if options.quick else 4 * GIB
    title = 'XFS: share %g GiB' % (size / GIB)
    if os.geteuid() != 0:
        return [left_out(title, 'only root can mount')]
    if not shutil.which('mkfs.xfs'):
        return [left_out(title, 'mkfs.xfs is not installed')]
    with tempfile.TemporaryDirectory(prefix='vhdx-bench-', dir=base) as folder:
        try:
            with xfs(folder, size + CLONE_MOUNT_SPARE) as place:
                times = clone_times(options, place, size, 2 * rounds_of(options) + 1)
        except subprocess.CalledProcessError as error:
            if error.cmd[0] != 'mount':
                raise
            return [left_out(title, 'no XFS can be mounted')]
    cp = times.pop('cp')
    return [{**limited('%s, %s' % (title, name), 'ms', statistics.median(ours), CLONE_LIMIT_MS),
             'baseline': round(statistics.median(cp), 3), 'baseline_name': 'cp --reflink',
             'ratio': round(statistics.median(a / b for a, b in zip(ours, cp)), 3)}
            for name, ours in times.items()]


# ---- All of it -----------------------------------------------------------------------------------

def run(options, memory, disk):
    """memory, disk: folders in which the inputs are made. Only in memory are there targets for
    copying: how fast a disk is says nothing about vhdx."""
    os.makedirs(disk, exist_ok=True)
    return [*run_half_full(options, memory, 'memory', {'qemu-img': QEMU_MIN, 'cp': CP_MIN}),
            *run_half_full(options, disk, 'disk', {}),
            *run_empty(options, memory), *run_sparse(options, memory),
            *run_orders(options, memory), *run_clone(options, memory)]
