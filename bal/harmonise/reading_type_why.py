"""Why a ReadingType code has no meaning here: which of its fields it is, without quoting one."""

from bal.harmonise.reading_type import FIELDS, decode

_GOOD = (0, 0, 2, 4, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 72, 0)  # energy in Wh
_CAUSES = (  # fields, why the code has no meaning with them
    ((6, 16), "measurementKind and unit are no quantity that is known here"),
    ((5,), "the commodity is not electricity"),
    ((4,), "the flowDirection is none of IEC 61968-9's"),
    ((15,), "the multiplier is none of IEC 61968-9's"),
)


def unmapped(code: str | None, otherwise: str) -> str:
    """What a finding says of a reading type that was sent as elements.

    code: the one they come to; None where one of them is no number, or stands twice. otherwise:
    why it has none where the code is not at fault.
    """
    why = "an element of it is no number of its type, or stands twice"
    if code is not None:
        why = why_unmapped(code) or otherwise
    return f"the reading type has no meaning here: {why}"


def why_unmapped(code: str) -> str:
    """All that keeps `code` from having a meaning; "" where it has one."""
    fields = code.split(".")
    if decode(code) is not None:
        return ""
    if len(fields) not in {FIELDS, FIELDS + 1}:
        return "it is no code of 18 numbers with points between"
    if len(fields) > FIELDS:
        return "it has 19 fields instead of 18, and the last four say no quantity"
    causes = [why for places, why in _CAUSES if decode(_only(fields, places)) is None]
    return "; ".join(causes) or "a field is no number without a sign and leading zeros"


def _only(fields: list[str], places: tuple[int, ...]) -> str:
    """A code that is good but for these places."""
    return ".".join(
        sent if at in places else str(good)
        for at, (sent, good) in enumerate(zip(fields, _GOOD, strict=True))
    )
