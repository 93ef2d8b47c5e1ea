"""What a check found, and the words for it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bal.model import Severity

ROWS_MAX = 16  # named as evidence of one finding: the first of them


class Found(NamedTuple):
    """One thing that a check found; it is about [begin, end), or an instant where they are equal.

    rows: log indexes of the rows that show it, ascending, the first 16; the text counts the others.
    """

    begin_us: int
    end_us: int
    code: str
    severity: Severity
    text: str
    rows: tuple[int, ...] = ()
    clause: str = ""


def rows_of(indexes: Iterable[int]) -> tuple[int, ...]:
    """As `Found.rows` has them."""
    return tuple(sorted(set(indexes))[:ROWS_MAX])


def told(milli: int) -> str:
    """A number of thousandths as a normalised decimal."""
    whole, rest = divmod(abs(milli), 1000)
    text = f"{whole}.{rest:03d}".rstrip("0").rstrip(".") if rest else str(whole)
    return f"-{text}" if milli < 0 else text


def at_most(found: Sequence[Found], limit: int) -> list[Found]:
    """Not more than so many: where there are, the last says how many it stands for."""
    if len(found) <= limit:
        return list(found)
    last, rest = found[limit - 1], found[limit - 1 :]
    text = f"{last.text}; and {len(rest) - 1} more like it on this day"
    rows = rows_of(index for one in rest for index in one.rows)
    return [*found[: limit - 1], last._replace(text=text, rows=rows)]
