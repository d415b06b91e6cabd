"""How the parts of the agent are, in one word each; what status and node.status are made of."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

from events import clock
from events.vocabulary.nodes import AgentError, Subsystem

Condition = Literal["ok", "degraded", "failed", "off"]

_ERRORS_KEPT: Final = 10
_PARTS: Final = ("crawler", "log", "outbox", "storage", "watcher")


class Health:
    """Written by the parts, read by status and heartbeat."""

    def __init__(self) -> None:
        # All from the start: threads write here while others look.
        self._parts = {name: Subsystem(name=name, state="ok") for name in _PARTS}
        self.errors: deque[AgentError] = deque(maxlen=_ERRORS_KEPT)

    def tell(self, part: str, state: Condition, detail: str = "") -> None:
        """The part is in this state now."""
        self._parts[part] = Subsystem(name=part, state=state, detail=detail)

    def failed(self, operation: str, message: str, path: str | None = None) -> None:
        """Remember an error among the last ones; a repeated one only moves up."""
        self.errors = deque(
            (
                each
                for each in self.errors
                if (each.operation, each.message) != (operation, message)
            ),
            maxlen=_ERRORS_KEPT,
        )
        self.errors.append(
            AgentError(at=clock.now(), operation=operation, message=message, path=path)
        )

    def parts(self) -> list[Subsystem]:
        return [self._parts[name] for name in sorted(self._parts)]

    def sound(self, *but: str) -> bool:
        """Whether no part, other than these, is degraded or failed."""
        return all(
            part.state in ("ok", "off") for name, part in self._parts.items() if name not in but
        )
