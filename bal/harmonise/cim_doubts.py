"""What is doubtful about readings of IEC 61968-9, and where a finding of it points to."""

from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import obis
from bal.harmonise.instant import Instant
from bal.harmonise.quality import Quality
from bal.harmonise.reading_type_why import why_unmapped

CLAUSE = "IEC 61968-9 MeterReadings"
CLAUSE_READING_TYPE = "IEC 61968-9 annex C ReadingType"
CLAUSE_READING = "IEC 61968-9 MeterReadings Reading"


class Doubt(NamedTuple):
    """What is doubtful about one reading."""

    code: str
    text: str
    field: str = ""  # the element, where the code alone does not tell
    line: int | None = None  # where it is not the reading's


Doubts = tuple[Doubt, ...]

PLACES = {  # code → field, clause, where it is not the reading as a whole
    "reading-type-19-fields": ("ReadingType", CLAUSE_READING_TYPE),
    "reading-type-unmapped": ("ReadingType", CLAUSE_READING_TYPE),
    "reading-type-missing": ("ReadingType", CLAUSE_READING),
    "value-missing": ("value", CLAUSE_READING),
    "quality-malformed": ("ReadingQualities", "IEC 61968-9 annex D ReadingQualityType"),
    "time-cut": ("timeStamp", ""),
    "time-form": ("timeStamp", "RFC 3339 §5.6"),
}
NINETEEN = Doubt(
    "reading-type-19-fields",
    "the code has 19 fields instead of 18; only phases, multiplier, unit and currency are decoded",
)
MISSED = Doubt(
    "reading-ambiguous",
    "the quality says that the value is known to be missing, and there is one; it does not count",
)


def unmapped(notation: str) -> Doubt:
    """A reading type without a meaning, and why; of an OBIS code, the ReadingType it should be."""
    text = "the reading type has no meaning here"
    sent = notation.strip(" \t\r\n")
    try:
        code = obis.reading_type(obis.parse(sent))
    except Rejected:
        return Doubt("reading-type-unmapped", f"{text}: {why_unmapped(sent)}")
    should = (
        "which has no ReadingType in the table" if code is None else f"its ReadingType is {code}"
    )
    why = f"it is an OBIS code; {should}"
    if code is not None:
        why += ", with the multiplier and the measuringPeriod of the values"
    return Doubt("reading-type-unmapped", f"{text}: {why}")


def quality_doubts(codes: Quality) -> Doubts:
    """What is doubtful about the codes of a reading's quality themselves."""
    if not codes.malformed:
        return ()
    return (Doubt("quality-malformed", "a quality code is not of the form system.category.index"),)


def time_doubts(*times: Instant) -> Doubts:
    """What is doubtful about how times are written."""
    doubts: Doubts = ()
    if any(one.cut for one in times):
        doubts += (Doubt("time-cut", "a time is finer than a microsecond; the rest is cut off"),)
    if any(one.loose for one in times):
        text = "a time is of no form of RFC 3339's; it can be read in one way only, and is"
        doubts += (Doubt("time-form", text),)
    return doubts
