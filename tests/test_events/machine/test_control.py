"""The control socket: verbs, errors, and clients that do not behave."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from events.errors import Permanent, Temporary
from events.machine.control import Control, NotRunning, ask, follow
from tests.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from events.machine.control import Answer

pytestmark = pytest.mark.anyio


class Process:
    """Verbs as a process has them."""

    def __init__(self) -> None:
        self.following = 0
        self.more = asyncio.Event()

    def status(self) -> Answer:
        return {"state": "live"}

    async def echo(self, question: dict[str, Any]) -> Answer:
        return {"said": question["text"]}

    async def fail(self, question: dict[str, Any]) -> Answer:
        raise {"temporary": Temporary, "value": ValueError, "type": TypeError}[
            question.get("how", "temporary")
        ](question.get("text", "not now"))

    async def odd(self, question: dict[str, Any]) -> Answer:
        return {"name": "\udc80"} if question.get("how") == "text" else {"name": object()}

    async def numbers(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        return self._numbers(question)

    async def _numbers(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        self.following += 1
        try:
            for number in range(question["count"]):
                yield {"number": number}
            if question.get("fail"):
                raise Permanent("in the middle")
            if question.get("for_ever"):
                while True:
                    await self.more.wait()
                    yield {"more": "x" * 100_000}
        finally:
            self.following -= 1


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Process]:
    process = Process()
    control = Control(
        path,
        process.status,
        {
            "echo": process.echo,
            "fail": process.fail,
            "odd": process.odd,
            "numbers": process.numbers,
        },
    )
    ready = asyncio.Event()
    task = asyncio.create_task(control.serve(ready.set))
    await asyncio.wait_for(ready.wait(), 5)
    try:
        yield process
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait((task,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sock"


@pytest.fixture
async def process(path: Path) -> AsyncIterator[Process]:
    async with serving(path) as made:
        yield made


# Questions and answers


@pytest.mark.usefixtures("process")
async def test_every_process_tells_its_status(path: Path) -> None:
    assert await ask(path, {"do": "status"}) == {"pid": os.getpid(), "state": "live"}


@pytest.mark.usefixtures("process")
async def test_the_level_of_the_log_can_be_changed(path: Path) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        assert await ask(path, {"do": "log", "level": "debug"}) == {"level": "debug"}
        assert root.level == logging.DEBUG
        with pytest.raises(Permanent, match="Unknown level"):
            await ask(path, {"do": "log", "level": "loud"})
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(before)


@pytest.mark.usefixtures("process")
async def test_many_questions_on_one_connection(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    for number in range(3):
        writer.write(json.dumps({"do": "echo", "text": f"é{number}"}).encode() + b"\n")
    said = [json.loads(await reader.readline()) for _ in range(3)]
    assert said == [{"said": f"é{number}"} for number in range(3)]
    writer.close()
    await writer.wait_closed()


async def test_many_answers_to_one_question(path: Path, process: Process) -> None:
    found = [each async for each in follow(path, {"do": "numbers", "count": 3})]
    assert found == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert process.following == 0


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ({"do": "nonsense"}, "no such verb: 'nonsense'"),
        ({}, "no such verb: None"),
        ({"do": ["echo"]}, "no such verb"),
        ({"do": "echo"}, "the question lacks 'text'"),
        ({"do": "log"}, "the question lacks 'level'"),
        ({"do": "fail"}, "not now"),
        ({"do": "fail", "how": "value", "text": ""}, "ValueError"),
        ({"do": "fail", "how": "type"}, "not now"),
        ({"do": "odd", "how": "text"}, "surrogates not allowed"),
        ({"do": "odd"}, "unsupported"),
        ({"do": "numbers"}, "the question lacks 'count'"),
        ({"do": "numbers", "count": 0, "fail": True}, "in the middle"),
    ],
)
@pytest.mark.usefixtures("process")
async def test_a_question_that_fails_is_answered_with_the_reason(
    path: Path, question: dict[str, Any], error: str
) -> None:
    with pytest.raises(Permanent, match=error):
        await ask(path, question)
    assert (await ask(path, {"do": "status"}))["state"] == "live"


async def test_answers_that_end_in_an_error_say_so(path: Path, process: Process) -> None:
    found = []

    async def read() -> None:
        found.extend(
            [each async for each in follow(path, {"do": "numbers", "count": 2, "fail": True})]
        )

    with pytest.raises(Permanent, match="in the middle"):
        await read()
    assert process.following == 0


# Clients that do not behave


async def _say(path: Path, said: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(said)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"null\n",
        b'{"do": "status"\n',
        b"\xff\xfe\x00\n",
        b'{"do":"\\ud800"}\n',
        b"[" * 50_000 + b"\n",
    ],
)
@pytest.mark.usefixtures("process")
async def test_garbage_is_answered_with_an_error(path: Path, said: bytes) -> None:
    assert "error" in json.loads(await _say(path, said))
    assert (await ask(path, {"do": "status"}))["state"] == "live"


@pytest.mark.parametrize("said", [b"", b"x" * 3_000_000, b"x" * 3_000_000 + b"\n"])
@pytest.mark.usefixtures("process")
async def test_silence_and_endless_lines_end_the_talk(path: Path, said: bytes) -> None:
    assert await _say(path, said) == b""
    assert (await ask(path, {"do": "status"}))["state"] == "live"


async def test_a_client_that_leaves_in_the_middle_is_forgotten(
    path: Path, process: Process
) -> None:
    question = b'{"do":"numbers","count":1,"for_ever":true}\n'
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(str(path))
        client.send(question)
        await eventually(lambda: process.following == 1, "it is served")
    process.more.set()
    await eventually(lambda: process.following == 0, "it is forgotten")


async def test_a_client_that_does_not_read_holds_up_nobody(path: Path, process: Process) -> None:
    process.more.set()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(str(path))
        client.send(b'{"do":"numbers","count":1,"for_ever":true}\n')
        await eventually(lambda: process.following == 1, "it is served")
        for _ in range(20):
            assert (await ask(path, {"do": "status"}))["state"] == "live"
    await eventually(lambda: process.following == 0, "it is forgotten")


async def test_clients_are_cut_off_when_the_process_ends(path: Path) -> None:
    async with serving(path) as process:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":"numbers","count":1,"for_ever":true}\n')
        assert await reader.readline() == b'{"number":0}\n'
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert process.following == 0
    writer.close()


# The socket


@pytest.mark.usefixtures("process")
async def test_the_socket_is_its_owners_only(path: Path) -> None:
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_socket_is_gone_afterwards_and_a_left_over_one_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunning):
        await ask(path, {"do": "status"})
    async with serving(path):
        assert (await ask(path, {"do": "status"}))["state"] == "live"
    assert not path.exists()
    with pytest.raises(NotRunning, match=r"nothing answers on .*agent\.sock"):
        await ask(path, {"do": "status"})


@pytest.mark.parametrize("depth", [1, 5, 40])
async def test_a_socket_may_lie_deeper_than_the_kernel_takes(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a long name for a folder"] * depth)
    folder.mkdir(parents=True)
    path = folder / "agent.sock"
    before = len(os.listdir("/proc/self/fd"))
    async with serving(path):
        assert (await ask(path, {"do": "status"}))["state"] == "live"
        assert [each async for each in follow(path, {"do": "numbers", "count": 1})] == [
            {"number": 0}
        ]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "no file is left open")


async def test_a_folder_that_is_not_there_is_not_running(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "agent.sock", tmp_path.joinpath(*["x" * 60] * 4, "a.sock")):
        with pytest.raises(NotRunning):
            await ask(path, {"do": "status"})


async def test_a_process_that_does_not_answer_is_not_waited_for_long(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        with pytest.raises(NotRunning):
            await ask(path, {"do": "status"}, limit=0.1)
