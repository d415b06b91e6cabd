"""Figures in Prometheus' text format: what the gateway did, and how the log and the agent are."""

from __future__ import annotations

import hmac
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from events import streams
from events.errors import MosaicError
from events.machine import control
from events.machine.process import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.context import Context

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# The log is asked at most this often, however many scrape.
_FRESH_S: Final = 5.0

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """The figures of one gateway."""

    def __init__(self, token: bytes) -> None:
        self._token = token.hex()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self.running = 0
        self._looked: tuple[float, dict[str, Any]] = (float("-inf"), {})

    def allows(self, authorization: str) -> bool:
        """Whether the header carries the token that was made for scrapers."""
        return hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode())

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has ended."""
        self._requests[method, route, status] += 1
        counts = self._buckets.setdefault(route, [0] * (len(_BUCKETS) + 1))
        place = next((n for n, top in enumerate(_BUCKETS) if seconds <= top), len(_BUCKETS))
        counts[place] += 1
        self._seconds[route] += seconds  # type: ignore[assignment]  # Counter also adds floats

    @property
    def requests(self) -> int:
        return sum(self._requests.values())

    async def render(self, context: Context) -> bytes:
        """Everything as text."""
        at, log = self._looked
        if time.monotonic() - at >= _FRESH_S:
            log = await _look(context)
            self._looked = (time.monotonic(), log)
        lines = [*self._own(), *_process(context), *_log(context, log)]
        return ("\n".join(lines) + "\n").encode()

    def _own(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests that were answered.")
        for (method, route, status), count in sorted(self._requests.items()):
            labels = (("method", method), ("route", route), ("status", str(status)))
            yield _sample("requests_total", labels, count)
        yield from _head("request_seconds", "histogram", "How long answers took.")
        for route, counts in sorted(self._buckets.items()):
            total = 0
            for top, count in zip((*_BUCKETS, float("inf")), counts, strict=True):
                total += count
                edge = "+Inf" if top == float("inf") else f"{top:g}"
                yield _sample("request_seconds_bucket", (("route", route), ("le", edge)), total)
            yield _sample("request_seconds_sum", (("route", route),), self._seconds[route])
            yield _sample("request_seconds_count", (("route", route),), total)
        yield from _head("requests_running", "gauge", "Requests that are being answered.")
        yield _sample("requests_running", (), self.running)


def _process(context: Context) -> Iterator[str]:
    yield from _head("resident_bytes", "gauge", "Memory of the gateway.")
    yield _sample("resident_bytes", (), resident_bytes())
    yield from _head("log_connected", "gauge", "Whether the event log can be reached.")
    yield _sample("log_connected", (), int(context.log.connected))
    yield from _head("feed_connected", "gauge", "Whether the projector can be reached.")
    yield _sample("feed_connected", (), int(context.feed.connected))


def _log(context: Context, found: Mapping[str, Any]) -> Iterator[str]:
    heads: Mapping[str, Any] = found.get("streams", {})
    yield from _head("stream_messages", "gauge", "Messages in a stream.")
    for name, state in heads.items():
        yield _sample("stream_messages", (("stream", name),), state["messages"])
    yield from _head("stream_bytes", "gauge", "Bytes of a stream.")
    for name, state in heads.items():
        yield _sample("stream_bytes", (("stream", name),), state["bytes"])
    yield from _head("stream_last_sequence", "gauge", "The last sequence of a stream.")
    for name, state in heads.items():
        yield _sample("stream_last_sequence", (("stream", name),), state["last_seq"])
    yield from _head("view_lag", "gauge", "Sequences that the view is behind a stream.")
    for name, state in heads.items():
        lag = max(0, state["last_seq"] - context.feed.streams.get(name, 0))
        yield _sample("view_lag", (("projector", "documents"), ("stream", name)), lag)
    if (depth := found.get("outbox")) is not None:
        yield from _head("outbox_depth", "gauge", "Messages in the outbox of this machine's agent.")
        yield _sample("outbox_depth", (), depth)


async def _look(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if context.log.connected:
        try:
            found["streams"] = await streams.heads(context.log)
        except MosaicError:
            # `log_connected` tells it; a scrape is not to fail because the log does.
            found["streams"] = {}
    try:
        status = await control.ask(context.places.socket("agent"), {"do": "status"}, limit=1.0)
        found["outbox"] = int(status["outbox"])
    except (MosaicError, KeyError, TypeError, ValueError):
        # No agent runs on this machine, or it is starting: the sample is left out.
        found["outbox"] = None
    return found


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP mosaicfs_{name} {text}"
    yield f"# TYPE mosaicfs_{name} {kind}"


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"mosaicfs_{name}{{{inside}}} {value}" if inside else f"mosaicfs_{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
