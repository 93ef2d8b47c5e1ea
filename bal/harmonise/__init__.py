"""From one raw message to records: pseudonymised, validated, in the exact bytes to be certified.

A function of the message, its format, and what `resolve` answers: no history, no clock.
docs/spec/record.md has the records; what is understood of a format is on its page in docs/spec/.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bal.errors import Rejected
from bal.harmonise import c37118, cim, der, espi, pmu, sep2, slots, sunspec, vde2418
from bal.harmonise.names import CommitParts, MeterNames, Resolve
from bal.harmonise.report import Spot
from bal.model import Finding, Harmonised, Subject
from bal.trust import NO_TRUST, Trust

__all__ = ["FORMATS", "CommitParts", "MeterNames", "Resolve", "Spot", "harmonise", "turned_away"]


def _cls(raw: bytes, **more: Any) -> Harmonised:
    """Imported late: cryptography's X.509 takes 40 ms, and sockets with it, for one format."""
    from bal.harmonise import cls  # noqa: PLC0415

    return cls.harmonise(raw, **more)


_READERS: dict[str, Callable[..., Harmonised]] = {
    "c37118": c37118.harmonise,
    "cim": cim.harmonise,
    "cls": _cls,
    "der": der.harmonise,
    "espi": espi.harmonise,
    "pmu": pmu.harmonise,
    "sep2": sep2.harmonise,
    "sunspec": sunspec.harmonise,
    "vde2418": vde2418.harmonise,
}
_UNTIMED = frozenset({"cls", "sep2"})  # formats in which something has no time of its own
_SIGNED = frozenset({"cls"})  # formats with a signature of their own
FORMATS = {  # what is taken in, in a few words
    "c37118": "IEEE C37.118.2 phasor frames",
    "cim": "IEC 61968-9 MeterReadings and EndDeviceEvents",
    "cls": "signed readings of a gateway (CMS)",
    "der": "DER telemetry",
    "espi": "Green Button (ESPI)",
    "pmu": "phasor frames",
    "sep2": "IEEE 2030.5",
    "sunspec": "SunSpec models",
    "vde2418": "VDE AR 2418-6",
}
_TURNED = {"c37118": c37118.turned_away, "pmu": pmu.turned_away}  # formats that windows are of


def turned_away(raw: bytes, form: str, why: Mapping[int, tuple[str, str]]) -> Iterator[Finding]:
    """What windows had against frames of a message. why: number of the frame → code, text."""
    return _TURNED[form](raw, why)


def harmonise(
    raw: bytes,
    form: str,
    *,
    resolve: Resolve,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
    received_us: int | None = None,
    trust: Trust | None = NO_TRUST,
    spots: list[Spot] | None = None,
) -> Harmonised:
    """What one raw message means.

    form: one of FORMATS; those of phasors give frames instead of records.
    platform: the platform's own subject, of the bytes between devices; sender: the credential's
    own subject, of the bytes in which no device could be named. The parts are consecutive and
    cover `raw`.
    received_us: when it was accepted, for what the standard gives no time (`_UNTIMED`), and to tell
    of times that lie ahead; None where nobody knows, and then the former is refused.
    trust: whose signatures are believed, of formats that have their own (`_SIGNED`); None judges no
    signer, for people who look at a message.
    spots: where to say, for people who look at a message, at which place in it the value of each
    record stands, in order, or of each channel of each frame. None: nobody asks.
    There may be no record at all, with every reading in `refused`.
    Raises Rejected where the message as a whole can't be read: then nothing of it is taken.
    """
    read = _READERS.get(form)
    if read is None:
        known = ", ".join(FORMATS)
        raise Rejected("format-unknown", f"the format is none of {known}", field="format")
    more: dict[str, object] = {"received_us": received_us} if form in _UNTIMED else {}
    if form in _SIGNED:
        more["trust"] = trust
    if spots is not None:
        more["spots"] = spots
    found = read(
        raw, resolve=resolve, platform=platform, sender=sender, commit_parts=commit_parts, **more
    )
    slots.tell(found, raw, received_us, spots)
    return found
