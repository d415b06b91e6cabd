"""What a benchmark reports."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure, and the bound that it is held to where there is one."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    holds_if: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; None when there is none."""
        if self.bound is None:
            return None
        below = self.value <= self.bound
        return below if self.holds_if == "at most" else not below or self.value == self.bound


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Sequence[float], unit: str) -> str:
    """Median and range of several runs, for a note."""
    return (
        f"median {statistics.median(values):.3g} {unit} of {len(values)} runs, "
        f"{min(values):.3g} to {max(values):.3g}"
    )
