"""Messages for the tests of append and consume."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from events.codec import Wire, encode
from events.moments import moment
from events.vocabulary.catalog import SettingBody, SettingChanged
from events.vocabulary.files import File, FileIndexed

if TYPE_CHECKING:
    from events.connection import Connection
    from tests.conftest import NatsServer

NOW = moment(1_700_000_000_000)


def setting(key: str, value: object, id: str) -> Wire:
    """A catalog event: one subject for each key."""
    event = SettingChanged(id=key, body=SettingBody(key=key, value=value))
    return encode(event, time=NOW, actor="test", id=id)


def indexed(number: int, *, node: str = "n", size: int = 0) -> Wire:
    """A file event whose id is its number; `size` bytes of padding."""
    file = File(id="f", inode=1000, parent="/", name="x" * size, size=number, mtime=0, v=1)
    return encode(FileIndexed(files=[file]), node, time=NOW, actor="test", id=f"t-{number}")


async def stored(connection: Connection, stream: str) -> int:
    """How many messages a stream holds."""
    return int((await connection.api(f"STREAM.INFO.{stream}"))["state"]["messages"])


def let_in(server: NatsServer, *users: str) -> None:
    """Have the server let in these users (blocks of its configuration) and nobody else."""
    server.extra = "authorization { users: [" + "\n".join(users) + "] }\n"


def raw_publish(server: NatsServer, subject: bytes, headers: bytes | None, body: bytes) -> None:
    """Publish byte by byte what no client library would."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        if headers is None:
            publish = b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body)
        else:
            publish = b"HPUB %b %d %d\r\n%b%b\r\n" % (
                subject,
                len(headers),
                len(headers) + len(body),
                headers,
                body,
            )
        wire.sendall(b'CONNECT {"headers":true}\r\n' + publish + b"PING\r\n")
        said = b""
        while b"PONG\r\n" not in said:
            more = wire.recv(4096)
            assert more, said
            said += more
