"""What messages of one text were found to mean, kept for the next ones.

A device says the same again and again, but for its numbers and times. Those cut out, the text that
is left says all else; a plan is what is made of it, and a function of it alone.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from bal.harmonise.names import MeterNames, Resolve
from bal.model import Pseudonym, Subject

TEXTS_KEPT_BYTES_MAX = 16 * 1024 * 1024

_Plan = TypeVar("_Plan")


class Plans(Generic[_Plan]):
    """A memory of texts, bounded by their bytes; the one not asked for longest goes first."""

    def __init__(
        self, learn: Callable[[bytes], _Plan | None], bytes_max: int = TEXTS_KEPT_BYTES_MAX
    ) -> None:
        """learn: the plan of a text; None where there can't be one, which is kept too."""
        self._learn, self._bytes_max = learn, bytes_max
        self._kept: OrderedDict[bytes, tuple[_Plan | None] | None] = OrderedDict()
        self._bytes = 0

    def of(self, text: bytes) -> _Plan | None:
        """The plan of a text, made when the text comes for the second time; else None.

        What comes only once is not worth it.
        """
        kept = self._kept
        if text not in kept:
            kept[text] = None
            self._bytes += len(text)
            while self._bytes > self._bytes_max:
                old, _ = kept.popitem(last=False)
                self._bytes -= len(old)
            return None
        kept.move_to_end(text)
        found = kept[text]
        if found is None:
            found = kept[text] = (self._learn(text),)
        return found[0]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._bytes = 0


def noting(named: list[MeterNames]) -> Resolve:
    """What takes every name for somebody's, and notes it in `named`."""

    def note(names: MeterNames) -> Subject:
        named.append(names)
        return _SOMEBODY

    return note


_SOMEBODY = Subject(Pseudonym(""), b"", "", "")
