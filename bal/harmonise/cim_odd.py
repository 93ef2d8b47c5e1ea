"""One odd element of a message that is regular otherwise, read by itself (bal/harmonise/cim_scan).

It stands between what stands before the first element and behind the last one, so it means there
what it means in the message.
"""

from dataclasses import replace

from bal.errors import Rejected
from bal.harmonise import cim_xml
from bal.harmonise.cim_xml import MeterReading, Sent


def read(head: str, element: str, tail: str, at: int, line: int) -> MeterReading | None:
    """The MeterReading that `element` is; None where it is not one of `cim_xml`'s.

    at, line: where it begins in the message.
    """
    prefix = head.encode()
    try:
        # twice: an element that may stand once, as the root, may not be repeated
        found = cim_xml.read(prefix + (element * 2).encode() + tail.encode())
    except Rejected:
        return None
    if len(found) != 2 or found[0][:2] != (len(prefix), len(prefix) + len(element.encode())):
        return None
    one = found[0]
    down = line - 1 - head.count("\n")
    return one._replace(
        start=at,
        end=at + len(element),
        sent=tuple(_lower(sent, down) for sent in one.sent),
        events=tuple(event._replace(line=event.line + down) for event in one.events),
        lost=tuple(lost._replace(line=lost.line + down) for lost in one.lost),
    )


def _lower(sent: Sent, down: int) -> Sent:
    """The same reading so many lines further down."""
    doubled = tuple(
        texts._replace(lines=tuple(line + down for line in texts.lines))
        for texts in sent.said.doubled
    )
    return sent._replace(line=sent.line + down, said=sent.said._replace(doubled=doubled))


def alike(found: list[MeterReading]) -> list[MeterReading]:
    """The elements of one message, which have the same around them."""
    events = any(one.events for one in found)
    around = replace(found[0].around, has_events=events or found[0].around.has_events)
    return [one._replace(around=around) for one in found]
