"""A log, views of it, and gateways that serve the CouchDB API over them, on real sockets.

The log is a list of messages. Each gateway has a view of its own, which may have met the streams in
another order; the order within a stream is always the log's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette

from events import ids
from events.codec import encode
from events.consume import Message
from events.machine import places
from events.moments import moment
from events.vocabulary import catalog, nodes, notices, results
from events.vocabulary.files import File, FileChanged, FileDeleted, FileIndexed, GoneFile
from gateway import couch
from gateway.errors import Unauthenticated
from gateway.feed import FeedRelay
from gateway.views import Views
from projectors.documents.view import DocumentsView
from projectors.feed import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from events.ids import FileId
    from events.machine.places import Places
    from events.vocabulary import Event

STREAMS: Final = {
    "access": "ACCESS",
    "annotations": "ANNOTATIONS",
    "catalog": "CATALOG",
    "files": "FILES",
    "nodes": "NODES",
    "notices": "NOTICES",
    "replicas": "REPLICAS",
    "utilization": "UTILIZATION",
}
NODE: Final = "mac-12345678"
SECRET: Final = "c4nary-5ecret"


class Log:
    """What was published. `age` makes it another log than one of another age."""

    def __init__(self, age: int = 0) -> None:
        self.created = dict.fromkeys(STREAMS.values(), f"2026-01-{age + 1:02d}T00:00:00Z")
        self.messages: list[Message] = []
        self._sequences = dict.fromkeys(STREAMS.values(), 0)
        self._file_ids = ids.new_file_ids(1_700_000_000_000)
        self._inodes = iter(range(1000, 10**9))
        self.files: dict[FileId, File] = {}
        self._statements = 0

    def add(self, event: Event, *where: str) -> Message:
        stream = STREAMS[event.area]
        self._sequences[stream] = sequence = self._sequences[stream] + 1
        time = moment(1_700_000_000_000 + len(self.messages))
        wire = encode(event, *where, time=time, actor="test", id=f"{stream}.{sequence}")
        message = Message(stream, sequence, wire.subject, wire.headers, wire.body, sequence, 0, "")
        self.messages.append(message)
        return message

    def new_files(self, names: Sequence[str], parent: str = "/data", **fields: Any) -> list[FileId]:  # noqa: ANN401  # what a File has
        made = []
        for name in names:
            stated = {"size": 10, "mtime": 1_700_000_000_000_000_000, **fields}
            id = next(self._file_ids)
            self.files[id] = File(
                id=id, inode=next(self._inodes), parent=parent, name=name, v=1, **stated
            )
            made.append(id)
        self.add(FileIndexed(files=[self.files[id] for id in made]), NODE)
        return made

    def change_files(self, which: Sequence[FileId], **fields: Any) -> None:  # noqa: ANN401  # what a File has
        for id in which:
            file = self.files[id]
            self.files[id] = msgspec.structs.replace(file, v=file.v + 1, **fields)
        self.add(FileChanged(files=[self.files[id] for id in which]), NODE)

    def delete_files(self, which: Sequence[FileId]) -> None:
        gone = []
        for id in which:
            file = self.files[id] = msgspec.structs.replace(self.files[id], v=self.files[id].v + 1)
            gone.append(GoneFile(id=id, parent=file.parent, name=file.name, v=file.v))
        self.add(FileDeleted(files=gone), NODE)

    def register(self, node: str = NODE) -> None:
        self._statements += 1
        self.add(
            nodes.NodeRegistered(
                v=self._statements,
                friendly_name=node,
                hostname=node,
                platform="linux",
                agent_version="1",
                watch_paths=["/data"],
                storage=[],
            ),
            node,
        )

    def heartbeat(self, node: str = NODE) -> None:
        self._statements += 1
        self.add(nodes.NodeOnline(v=self._statements), node)

    def configure_node(self, name: str, node: str = NODE) -> None:
        self.add(catalog.NodeConfigured(id=node, body=catalog.NodeBody(friendly_name=name)))

    def rule(self, id: str, *labels: str) -> None:
        body = catalog.LabelRuleBody(name=id, node="*", path_prefix="/data/", labels=list(labels))
        self.add(catalog.LabelRuleCreated(id=id, body=body))

    def drop_rule(self, id: str) -> None:
        self.add(catalog.LabelRuleRemoved(id=id))

    def label(self, file: FileId, *labels: str) -> None:
        body = catalog.LabelsBody(file_id=file, labels=list(labels))
        self.add(catalog.LabelsAssigned(id=file, body=body))

    def annotate(self, files: Sequence[FileId], plugin: str = "exif", **data: Any) -> None:  # noqa: ANN401  # a plugin's own
        each = [results.Annotation(file_id=file, data=data) for file in files]
        self.add(results.AnnotationWritten(annotations=each), NODE, plugin)

    def replicate(self, files: Sequence[FileId], target: str = "nas") -> None:
        each = [results.Replica(file_id=file, remote_key=file, size=7, mtime=1) for file in files]
        self.add(results.ReplicaWritten(status="current", replicas=each), NODE, target)

    def notice(self, condition: str = "disk_full") -> None:
        event = notices.NoticeRaised(severity="warning", title="Disk", message="nearly full")
        self.add(event, NODE, condition)

    def secrets(self) -> None:
        """Documents whose ids and contents nobody may find where they do not belong."""
        sealed = catalog.Sealed(key=f"key-{SECRET}", nonce=f"nonce-{SECRET}", box=f"box-{SECRET}")
        credential = catalog.CredentialBody(
            access_key_id=f"MOSAICFS_{SECRET}",
            name=f"name-{SECRET}",
            secret_hash=f"hash-{SECRET}",
            signing_key=sealed,
        )
        self.add(catalog.CredentialIssued(id=f"MOSAICFS_{SECRET}", body=credential))
        user = catalog.UserBody(name=SECRET, password_hash=f"hash-{SECRET}", roles=["admin"])
        self.add(catalog.UserCreated(id=SECRET, body=user))
        setting = catalog.SettingBody(key=SECRET, value=sealed)
        self.add(catalog.SettingChanged(id=SECRET, body=setting))
        self.add(
            nodes.UtilizationMeasured(
                taken_at="2026-01-01T00:00:00.000Z",
                filesystems=[
                    nodes.Filesystem(
                        mount=f"/{SECRET}", device="d", kind="ext4", capacity=2, available=1
                    )
                ],
            ),
            NODE,
        )
        backend = catalog.BackendBody(
            name="b2",
            backend="s3",
            mode="source",
            hosting_node=NODE,
            settings={"bucket": "photos", "inner": {"token": sealed}},
            secrets={"key": sealed},
        )
        self.add(catalog.BackendConfigured(id="b2", body=backend))


def by_stream(messages: Sequence[Message]) -> list[Message]:
    """The messages as a view would meet them that reads one stream after another."""
    return sorted(messages, key=lambda message: message.stream)


def stream_backwards(messages: Sequence[Message]) -> list[Message]:
    return sorted(messages, key=lambda message: message.stream, reverse=True)


class Who(msgspec.Struct, frozen=True):
    """A principal."""

    name: str
    roles: tuple[str, ...]


class Session(msgspec.Struct, frozen=True):
    token: str
    principal: Who


PEOPLE: Final = {
    "ann": Who("ann", ("admin",)),
    "bob": Who("bob", ("user",)),
}


class People:
    """Names that are their own passwords."""

    def __init__(self) -> None:
        self.tokens = {f"token-{name}": who for name, who in PEOPLE.items()}
        self.logins = 0

    async def login(self, name: str, password: str, address: str) -> Session:
        self.logins += 1
        if name not in PEOPLE or password != name:
            raise Unauthenticated("name or password is wrong")
        self.tokens[f"token-{name}"] = PEOPLE[name]
        return Session(f"token-{name}", PEOPLE[name])

    async def check(self, token: str) -> Who:
        if token not in self.tokens:
            raise Unauthenticated("log in again")
        return self.tokens[token]

    async def logout(self, principal: Who, address: str) -> None:
        self.tokens.pop(f"token-{principal.name}", None)

    def address(self, request: Request) -> str:
        return "127.0.0.1"


class Context:
    """What the CouchDB API is given."""

    def __init__(self, where: Places) -> None:
        self.places = where
        self.feed = FeedRelay(where.socket("projector"))
        self.views = Views(where.documents_db, self.feed)
        self.people = People()
        self.stopping = asyncio.Event()

    async def principal(self, request: Request) -> Who:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("log in first")
        return await self.people.check(token)


class Gateway:
    """One view of the log and a server over it."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.places = places.find(folder)
        self.places.make()
        self._log = log
        self.view = DocumentsView(self.places.documents_db)
        self.view.adopt(log.created)
        self._applied = 0
        self._port = 0
        self._thread: threading.Thread | None = None
        self.context: Context | None = None

    def sync(self) -> None:
        """Apply what the log has and tell it."""
        fresh = self._log.messages[self._applied :]
        self._applied = len(self._log.messages)
        self.apply(fresh)

    def apply(self, messages: Sequence[Message]) -> None:
        for start in range(0, len(messages), 48):
            applied = self.view.apply(messages[start : start + 48])
            streams = {name: at.sequence for name, at in self.view.checkpoints().items()}
            self._tell(Line(applied.n, streams, applied.docs, self.view.epoch))

    def _tell(self, line: Line) -> None:
        if self.context is not None:
            self._loop.call_soon_threadsafe(self.context.feed.tell, line)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/db"

    def start(self) -> None:
        """Serve; a gateway that served before comes back at its port."""
        # asyncio sends small writes at once only on sockets that say that they are TCP.
        sock = socket.socket(proto=socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self._port))
        # Whoever comes before the server does waits.
        sock.listen(100)
        self._port = sock.getsockname()[1]
        ready = threading.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self.context = Context(self.places)
            app = Starlette(routes=couch.routes(self.context))
            config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False)
            self._server = uvicorn.Server(config)
            ready.set()
            await self._server.serve([sock])
            self.context.views.close()
            self.context = None

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """End as a gateway does: everybody who waits is answered first."""
        if self._thread is None or self.context is None:
            return
        self._loop.call_soon_threadsafe(self.context.stopping.set)
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not end"
        self._thread = None

    def close(self) -> None:
        self.stop()
        self.view.close()

    def client(self, name: str | None = "ann", **options: Any) -> httpx.Client:  # noqa: ANN401  # of httpx
        headers = {"authorization": f"Bearer token-{name}"} if name else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, **options)


@contextlib.contextmanager
def serving(folder: Path, log: Log) -> Iterator[Gateway]:
    gateway = Gateway(folder, log)
    try:
        gateway.sync()
        gateway.start()
        yield gateway
    finally:
        gateway.close()
