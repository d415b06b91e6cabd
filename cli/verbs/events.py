"""`mosaicfs events`: the log itself, as lines a person can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import Options, VerbGroup, pass_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.output import Output
    from events.consume import Message


@click.group(cls=VerbGroup, short_help="Read the event log.")
def verb() -> None:
    """Read the event log: what happens now, what has happened, and one event in full.

    With --json every event is one object on one line.
    """


@verb.command("tail", short_help="Show events as they happen.")
@click.option("--subject", metavar="PATTERN", help="Only these, such as mosaic.files.*.deleted.")
@click.option("--type", "type_", metavar="TYPE", help="Only this type, such as file.indexed.")
@click.option("--stream", metavar="STREAM", help="Only this stream, such as FILES.")
@pass_options
def tail(options: Options, subject: str | None, type_: str | None, stream: str | None) -> int:
    """Show events as they happen, until Ctrl-C."""
    import asyncio

    from cli import exits

    try:
        asyncio.run(_tail(options, subject, type_, stream))
    except KeyboardInterrupt:
        # The only way to end it, hence not a failure.
        return exits.OK
    return exits.OK


@verb.command("replay", short_help="Show events that have happened.")
@click.option("--stream", metavar="STREAM", required=True, help="The stream, such as FILES.")
@click.option("--after", type=click.IntRange(0), metavar="N", help="Behind this sequence.")
@click.option("--since", metavar="WHEN", help="From 10m, 2h or 3d ago, or from an ISO moment.")
@click.option("--upto", type=click.IntRange(1), metavar="N", help="Up to this sequence.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@click.option("--subject", metavar="PATTERN", help="Only these, such as mosaic.files.*.deleted.")
@click.option("--type", "type_", metavar="TYPE", help="Only this type, such as file.indexed.")
@pass_options
def replay(
    options: Options,
    stream: str,
    after: int | None,
    since: str | None,
    upto: int | None,
    limit: int | None,
    subject: str | None,
    type_: str | None,
) -> None:
    """Show events that have happened, oldest first, up to the present end of the stream."""
    import asyncio
    import time

    from cli.text import since as parsed

    since_ns = None
    if since is not None:
        if after is not None:
            raise click.UsageError("give --after or --since, not both")
        try:
            since_ns = parsed(since, time.time())
        except ValueError:
            raise click.UsageError(
                f"--since {since!r} is neither a span such as 10m nor an ISO moment"
            ) from None
    asyncio.run(_replay(options, stream, after or 0, since_ns, upto, limit, subject, type_))


@verb.command("show", short_help="Show one event in full.")
@click.argument("stream")
@click.argument("sequence", type=click.IntRange(1))
@pass_options
def show(options: Options, stream: str, sequence: int) -> None:
    """Show one event in full, by its place in the log: `mosaicfs events show FILES 12`."""
    import asyncio

    asyncio.run(_show(options, stream, sequence))


async def _tail(
    options: Options, subject: str | None, type_: str | None, stream: str | None
) -> None:
    from cli.log_reading import Tail, stream_named
    from cli.log_server import log_server
    from cli.output import Output
    from events.streams import BY_NAME

    out = Output(options)
    names = _streams_of(subject) if stream is None else [stream_named(stream)]
    async with log_server(options.places) as connection:
        following = Tail(connection, names or list(BY_NAME), subject)
        await following.start()
        out.note("waiting for events; Ctrl-C ends")
        async for batch in following.batches():
            _write(out, batch, type_)


def _streams_of(subject: str | None) -> list[str]:
    """The streams that a subject pattern can match; all, if it does not say."""
    from events.streams import BY_AREA

    area = (subject or "").split(".")[1:2]
    return [BY_AREA[area[0]].name] if area and area[0] in BY_AREA else []


async def _replay(
    options: Options,
    stream: str,
    after: int,
    since_ns: int | None,
    upto: int | None,
    limit: int | None,
    subject: str | None,
    type_: str | None,
) -> None:
    from contextlib import aclosing

    from cli.log_reading import first_since, stream_named
    from cli.log_server import log_server
    from cli.output import Output
    from events.consume import read

    out = Output(options)
    name = stream_named(stream)
    left = limit
    async with log_server(options.places) as connection:
        if since_ns is not None:
            after = await first_since(connection, name, since_ns)
        batches = read(connection, name, after=after, upto=upto, subject=subject)
        async with aclosing(batches):
            async for batch in batches:
                written = _write(out, batch, type_, left)
                if left is not None:
                    left -= written
                    if left <= 0:
                        return


async def _show(options: Options, stream: str, sequence: int) -> None:
    from cli.log_reading import stream_named
    from cli.log_server import log_server
    from cli.output import Output
    from cli.sentences import line, record
    from cli.text import safe
    from events.consume import read

    out = Output(options)
    name = stream_named(stream)
    async with log_server(options.places) as connection:
        async for batch in read(connection, name, after=sequence - 1, upto=sequence):
            for message in batch:
                if out.json:
                    out.answer(record(message))
                    return
                out.line(line(message))
                for key, value in (message.headers or {}).items():
                    out.line(safe(f"  {key}: {value}"))
                for text in _pretty(message.body).splitlines():
                    out.line(safe(f"  {text}"))
                return
    raise click.ClickException(f"{name} holds no event {sequence}")


def _write(
    out: Output, batch: Iterable[Message], type_: str | None, limit: int | None = None
) -> int:
    """Write the messages of the type, up to the limit; returns how many."""
    from cli.sentences import line, record, type_of

    written = 0
    for message in batch:
        if type_ is not None and type_of(message) != type_:
            continue
        if limit is not None and written >= limit:
            break
        if out.json:
            out.answer(record(message))
        else:
            out.line(line(message))
        written += 1
    return written


def _pretty(body: bytes) -> str:
    import json

    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode(errors="replace")
