"""Where things lie on this machine.

For a person: the XDG folders. As a service: /var/lib, /etc and /run. With a state folder given by
hand everything lies inside it, which is how tests and a second instance keep apart.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Places(NamedTuple):
    """The folders of one instance of MosaicFS."""

    state: Path
    config: Path
    run: Path

    @property
    def agent_toml(self) -> Path:
        return self.config / "agent.toml"

    @property
    def node_id(self) -> Path:
        return self.state / "node_id"

    @property
    def agent_db(self) -> Path:
        return self.state / "agent.db"

    @property
    def documents_db(self) -> Path:
        return self.state / "views" / "documents.db"

    @property
    def nats(self) -> Path:
        """Everything of the embedded server: its configuration, users, port and store."""
        return self.state / "nats"

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def sample(self) -> Path:
        return self.state / "sample"

    def socket(self, process: str) -> Path:
        """The control socket of a process of this machine."""
        return self.run / f"{process}.sock"

    def make(self) -> None:
        """Make the folders, readable by their owner only."""
        for folder in (self.state, self.config, self.run, self.documents_db.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.state, self.run, self.keys, self.logs, self.nats):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)


def find(state: Path | None = None, *, service: bool = False) -> Places:
    """The places of this process: by argument, by MOSAICFS_STATE, as a service, or by XDG."""
    given = state or (Path(env) if (env := os.environ.get("MOSAICFS_STATE")) else None)
    if given is not None:
        given = given.expanduser().absolute()
        return Places(given, given, given / "run")
    if service or os.environ.get("MOSAICFS_SERVICE") == "1":
        return Places(Path("/var/lib/mosaicfs"), Path("/etc/mosaicfs"), Path("/run/mosaicfs"))
    state_home = _xdg("XDG_STATE_HOME", ".local/state")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Places(
        state_home / "mosaicfs",
        _xdg("XDG_CONFIG_HOME", ".config") / "mosaicfs",
        Path(runtime) / "mosaicfs"
        if runtime and os.access(runtime, os.W_OK)
        else state_home / "mosaicfs" / "run",
    )


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification says that relative values are to be ignored.
    return Path(value) if value.startswith("/") else Path.home() / default
