"""Starts one command and says what it took: ``started.py DESCRIPTOR COMMAND…``, run by :mod:`tools.bench.machine`.

A program of its own because the kernel lets a new process inherit the peak memory of the one that started it: this one
is smaller than anything that is measured. Writes ``code wall user+system kilobytes`` to the descriptor.
"""

import os
import sys
import time


def main() -> None:
    answer = int(sys.argv[1])
    os.set_inheritable(answer, False)
    begin = time.monotonic()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - begin
    code = os.waitstatus_to_exitcode(status)
    os.write(answer, f"{code} {wall!r} {usage.ru_utime + usage.ru_stime!r} {usage.ru_maxrss}".encode())


main()
