"""Exit codes, for scripts. They are documented in docs/cli.md and never change their meaning."""

from __future__ import annotations

from typing import Final

OK: Final = 0
# The work failed, or the answer is no: not indexed, not healthy, not equal.
FAILED: Final = 1
# The command line itself is wrong.
USAGE: Final = 2
# What the verb needs does not run or does not answer; trying later can help.
UNAVAILABLE: Final = 3
# `up` runs already on this state folder.
ALREADY_RUNNING: Final = 4
# A configuration file is wrong; the message names file, key and mend.
MISCONFIGURED: Final = 5
# Ended by Ctrl-C, as shells count it.
INTERRUPTED: Final = 130
