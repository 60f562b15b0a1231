# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Runs programs for the tests and measures them.

A process of its own, and a small one: a program's peak memory as the kernel reports it includes
that of the process that started it, and pytest with its images is large. Reads one JSON object a
line {argv, cwd, stdout, stderr, timeout} and answers {code, rss_kib, seconds} for each; code is
negative for a signal and null after a timeout.
"""

import json
import os
import signal
import sys
import time


def start(job):
    """Starts the program; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.chdir(job['cwd'])
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for target, path in ((1, job['stdout']), (2, job['stderr'])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), target)
        os.execvpe(job['argv'][0], job['argv'], dict(os.environ, LC_ALL='C.UTF-8'))
    finally:
        os._exit(127)  # pylint: disable=protected-access


def finish(pid, began, timeout):
    """Waits for the end, or ends the program after the timeout."""
    pause = 0.0005
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        seconds = time.monotonic() - began
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss, seconds
        if seconds > timeout:
            os.kill(pid, signal.SIGKILL)
            usage = os.wait4(pid, 0)[2]
            return None, usage.ru_maxrss, seconds
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def main():
    """Until the end of standard input."""
    for line in sys.stdin:
        job = json.loads(line)
        began = time.monotonic()
        code, rss_kib, seconds = finish(start(job), began, job['timeout'])
        print(json.dumps({'code': code, 'rss_kib': rss_kib, 'seconds': seconds}), flush=True)


if __name__ == '__main__':
    main()
