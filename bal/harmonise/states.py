"""States as standards number them: a code, or the bits of one, in the standard's words."""

from collections.abc import Mapping
from typing import NamedTuple


class States(NamedTuple):
    """What the values of one state mean."""

    texts: Mapping[int, str]  # code, or number of the bit → words
    bits: bool = False
    none: str = "none"  # of bits: what it is called that none is set

    def of(self, value: int) -> tuple[list[str], bool]:
        """The words for `value`, and whether the standard has words for all of it.

        Of bits those that are set, the lowest first; what `none` has where none is.
        """
        if not self.bits:
            text = self.texts.get(value)
            return ([], False) if text is None else ([text], True)
        found = [text for bit, text in sorted(self.texts.items()) if value >> bit & 1]
        known = sum(1 << bit for bit in self.texts)
        return found or ([] if value else [self.none]), not value & ~known


def of_names(names: str, first: int = 0) -> dict[int, str]:
    """Numbered from `first`; a `-` leaves a number out. names: divided by `|`."""
    texts = (name.strip() for name in names.split("|"))
    return {number: text for number, text in enumerate(texts, first) if text != "-"}
