"""Findings and refusals of one message, with the line that each is about."""

from bisect import bisect_left
from dataclasses import dataclass, field

from bal.errors import Rejected
from bal.model import Finding, Severity

Spot = int | str
"""Where in its message a value stands: its line, from 1; in JSON, and of frames, a pointer."""


@dataclass(slots=True)
class Report:
    """What is wrong or doubtful, in order; lines are counted only when the first one is."""

    raw: bytes
    findings: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    spots: list[Spot] | None = None  # of all that is taken, in order; None where nobody asks
    _ends: list[int] | None = None  # offsets of the line feeds

    def refuse(self, error: Rejected, line: int, *, field: str, clause: str) -> None:
        """One reading, or one device's, is not taken; `field` and `clause` fill what it lacks."""
        self.refused.append(
            Finding(
                error.code,
                "refused",
                error.text,
                error.field or field,
                error.line if error.line is not None else line,
                error.clause or clause,
            )
        )

    def doubt(
        self,
        code: str,
        text: str,
        line: int,
        *,
        field: str = "",
        clause: str = "",
        severity: Severity = "warning",
    ) -> Finding:
        """Something doubtful about what is taken all the same."""
        finding = Finding(code, severity, text, field, line, clause)
        self.findings.append(finding)
        return finding

    def took(self, spot: Spot) -> None:
        """The next record is of what stands there."""
        if self.spots is not None:
            self.spots.append(spot)

    def line(self, at: int) -> int:
        """The line, from 1, of a byte offset."""
        if self._ends is None:
            self._ends = _line_feeds(self.raw)
        return bisect_left(self._ends, at) + 1


def _line_feeds(raw: bytes) -> list[int]:
    ends: list[int] = []
    at = raw.find(b"\n")
    while at >= 0:
        ends.append(at)
        at = raw.find(b"\n", at + 1)
    return ends
