"""`mosaicfs files`: what is indexed, from the document view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.options import Options, VerbGroup, pass_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cli.output import Output
    from projectors.documents.reader import FileRow, Reader

_PAGE = 1000


@click.group(cls=VerbGroup, short_help="List, search and look at indexed files.")
def verb() -> None:
    """List, search and look at indexed files.

    Answers come from the view of this machine, as of its last commit; nothing has to run.
    """


@verb.command("list", short_help="List indexed files, or those below a folder.")
@click.argument("directory", required=False, metavar="[DIR]")
@click.option("--node", metavar="NODE", help="Only files of this node.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@click.option("--all", "all_", is_flag=True, help="Without a limit.")
@click.option("--deleted", is_flag=True, help="Deleted files too.")
@pass_options
def list_(
    options: Options,
    directory: str | None,
    node: str | None,
    limit: int,
    all_: bool,
    deleted: bool,
) -> int:
    """List indexed files, oldest entry first, or those in DIR and everything below it."""
    from cli import exits
    from cli.indexed import not_indexed, path_text
    from cli.output import Output
    from projectors.documents.reader import Reader

    out = Output(options)
    below = None if directory is None else path_text(directory)
    with Reader(options.places.documents_db) as reader:
        wanted = None if all_ else limit
        shown, more = _write(out, _pages(reader, node, below, deleted, wanted), wanted)
        # A folder whose files are all gone is known nevertheless.
        known = shown > 0 or bool(reader.files(below=below, limit=1, deleted=True))
        if directory is not None and not known:
            raise not_indexed(reader, directory)
    if more:
        out.note(f"the first {limit} files; --limit or --all shows more")
    return exits.OK


@verb.command("search", short_help="Find files by a part of their name, or by a pattern.")
@click.argument("text")
@click.option("--node", metavar="NODE", help="Only files of this node.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option("--deleted", is_flag=True, help="Deleted files too.")
@pass_options
def search(options: Options, text: str, node: str | None, limit: int, deleted: bool) -> int:
    """Find files whose name holds TEXT; with * or ? in it, TEXT is a pattern for the whole name.

    Case does not matter. Ends with exit code 1 when nothing is found.
    """
    from cli import exits
    from cli.output import Output
    from projectors.documents.reader import Reader

    out = Output(options)
    with Reader(options.places.documents_db) as reader:
        found = reader.search(text, limit=limit + 1, node=node, deleted=deleted)
    shown, more = _write(out, found, limit)
    if more:
        out.note(f"the first {limit} files; --limit shows more")
    if shown == 0:
        out.note(f'no file name holds "{text}"')
    return exits.OK if shown else exits.FAILED


@verb.command("stat", short_help="Show everything that is known about one file.")
@click.argument("file", metavar="PATH|ID")
@click.option("--node", metavar="NODE", help="The node of the path, if several have it.")
@pass_options
def stat(options: Options, file: str, node: str | None) -> None:
    """Show everything that is known about one file, named by its path, id or inode."""
    from cli.indexed import not_indexed, path_text
    from cli.output import Output
    from projectors.documents.reader import Reader

    out = Output(options)
    with Reader(options.places.documents_db) as reader:
        row = reader.file(file.removeprefix("file::"))
        if row is None and file.isdecimal():
            row = reader.file_with_inode(int(file))
        row = row or reader.file_at(node, path_text(file))
        if row is None:
            raise not_indexed(reader, file)
    if out.json:
        out.answer(row.document() | {"version": row.v})
    else:
        out.pairs(_details(row))


def _details(row: FileRow) -> Iterator[tuple[str, str]]:
    from cli.text import iso, local, number, size

    yield "path", row.path
    yield "node", row.node
    yield "id", row.id
    yield "inode", str(row.inode)
    yield "size", f"{size(row.size)} ({number(row.size)} bytes)"
    yield "modified", f"{local(row.mtime)} ({iso(row.mtime)})"
    yield "type", row.mime
    yield "version", str(row.v)
    yield "revision", str(row.document()["_rev"])
    if row.deleted_at is not None:
        at = row.deleted_at * 1_000_000
        yield "deleted", f"{local(at)} ({iso(at)})"


def _pages(
    reader: Reader, node: str | None, below: str | None, deleted: bool, wanted: int | None
) -> Iterator[FileRow]:
    """The files in the order of their ids, a page at a time, and one more than wanted."""
    after = None
    left = None if wanted is None else wanted + 1
    while left is None or left > 0:
        page = reader.files(
            node,
            below=below,
            after=after,
            limit=_PAGE if left is None else min(_PAGE, left),
            deleted=deleted,
        )
        if not page:
            return
        yield from page
        after = page[-1].id
        left = None if left is None else left - len(page)


def _write(out: Output, rows: Iterable[FileRow], limit: int | None) -> tuple[int, bool]:
    """Write the rows up to the limit; returns how many, and whether there are more."""
    from itertools import islice

    taken = iter(rows)
    shown = 0
    while chunk := list(islice(taken, _PAGE if limit is None else min(_PAGE, limit - shown))):
        if out.json:
            for row in chunk:
                out.answer(_short(row))
        else:
            _table(out, chunk, titled=shown == 0)
        shown += len(chunk)
        if limit is not None and shown >= limit:
            break
    return shown, next(taken, None) is not None


def _short(row: FileRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "node": row.node,
        "path": row.path,
        "size": row.size,
        "mtime_ns": str(row.mtime),
        "mime_type": row.mime,
        "deleted": row.deleted_at is not None,
    }


def _table(out: Output, rows: list[FileRow], *, titled: bool) -> None:
    from cli.output import Column
    from cli.text import local, size

    out.table(
        (Column("size", "right"), Column("modified"), Column("node"), Column("path")),
        (
            (
                size(row.size),
                local(row.mtime),
                row.node,
                row.path + ("  (deleted)" if row.deleted_at is not None else ""),
            )
            for row in rows
        ),
        titled=titled,
    )
