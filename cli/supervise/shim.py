"""Becomes another program that dies with its parent: `python -I -S shim.py PARENT PROGRAM ARG…`.

A `kill -9` of `up` leaves it no moment to stop anything, so the kernel is asked to do it. SIGKILL,
and not a polite signal: a process that hangs would survive that one, and each of ours takes a loss
of power anyway. A program of its own, because running Python between fork and exec (`preexec_fn`)
can deadlock as soon as the parent has a thread.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int) -> None:
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    # Without it (not Linux) the next `up` finds and ends what was left over.
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            # The parent died before it was asked for.
            os._exit(1)


if __name__ == "__main__":
    _die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
