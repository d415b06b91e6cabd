"""Every event type of MosaicFS, by area. `TYPES` is the registry: tag to class."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from events.vocabulary import catalog, files, nodes, notices, results
from events.vocabulary.base import Event, Record, tag_of

__all__ = ["TYPES", "Event", "Record", "tag_of"]


def _collect() -> dict[str, type[Event]]:
    modules = (files, catalog, nodes, results, notices)
    return {
        tag: thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Event)
        # The abstract bases have msgspec's default tag, the class name, which holds no dot.
        if "." in (tag := str(thing.__struct_config__.tag))
    }


TYPES: Final = MappingProxyType(_collect())
