"""Conditions that a person should know of: raised once, resolved once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from events import clock
from events.vocabulary.notices import NoticeRaised, NoticeResolved, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.state import State
    from events.ids import NodeId

_KEY: Final = "notice:"


class Notices:
    """What is raised is remembered in the state, so it is neither repeated nor forgotten.

    Methods may be called from any thread; each commits by itself.
    """

    def __init__(self, state: State, node: NodeId, written: Callable[[], None]) -> None:
        self._state = state
        self._node = node
        self._written = written
        self._lock = threading.Lock()
        self._raised = {key: state.get(_KEY + key) or "" for key in state.keys(_KEY)}

    def raised(self, prefix: str = "") -> list[str]:
        """The conditions that hold, of those that begin with the prefix."""
        return [each for each in self._raised if each.startswith(prefix)]

    def hold(
        self,
        condition: str,
        severity: Severity,
        title: str,
        message: str,
        related: dict[str, str] | None = None,
    ) -> None:
        """The condition holds. Told again only when its severity has changed."""
        with self._lock:
            if self._raised.get(condition) == severity:
                return
            event = NoticeRaised(
                severity=severity, title=title, message=message, related=related or {}
            )
            with self._state.transaction():
                self._state.set(_KEY + condition, severity)
                self._add(event, condition)
            self._raised[condition] = severity
        self._written()

    def end(self, condition: str) -> None:
        """The condition holds no longer."""
        with self._lock:
            if condition not in self._raised:
                return
            with self._state.transaction():
                self._state.unset(_KEY + condition)
                self._add(NoticeResolved(), condition)
            del self._raised[condition]
        self._written()

    def tell_once(self, condition: str, title: str, message: str) -> None:
        """News that is never taken back; a second call does nothing, ever."""
        with self._lock:
            key = f"told:{condition}"
            if self._state.get(key) is not None:
                return
            event = NoticeRaised(severity="info", title=title, message=message)
            with self._state.transaction():
                self._state.set(key, "1")
                self._add(event, condition)
        self._written()

    def keep_only(self, prefix: str, holding: set[str]) -> None:
        """End every condition with the prefix that is not among those that hold."""
        for each in self.raised(prefix):
            if each not in holding:
                self.end(each)

    def _add(self, event: NoticeRaised | NoticeResolved, condition: str) -> None:
        self._state.outbox.add(
            event,
            self._node,
            condition,
            time=clock.now(),
            actor=f"agent:{self._node}",
        )
