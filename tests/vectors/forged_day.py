"""Documents `gridseal.day/1` of an operator who writes what he likes into a log that he signs.

Everything is included and signed, so that one step of docs/spec/completeness.md at a time fails.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

from case_vectors import EntryLog
from day_log import device
from vector_log import REGISTER

from bal import jcs
from bal.certify import device_day
from bal.certify.book import Book, day_key
from bal.certify.device_day import DeviceDay
from bal.slots import EMPTY_SLOT, Slot, slot_of

Json = dict[str, Any]
DAY = date(2026, 1, 15)
DAY_NUMBER = (DAY - date(1970, 1, 1)).days
START_S = DAY_NUMBER * 86_400 - 3_600  # Europe/Berlin, in winter
SLOT_S = 43_200  # two slots, so that documents are short
DEVICE = device("forged")
OTHER = sha256(b"another key of the day").digest()


def same(found: Any) -> Any:
    return found


def record(slot: int, value: str | None = "210", **changes: object) -> Json:
    """A short record of a slot; members that are changed to None are left out."""
    begin_s = START_S + slot * SLOT_S
    found: Json = {
        "begin": rfc3339(begin_s),
        "device": DEVICE,
        "end": rfc3339(begin_s + SLOT_S),
        "kind": "reading",
        "quality": ["1.0.0"],
        "register": REGISTER,
        "unit": "Wh",
        "v": "1",
        "value": value,
    }
    return {name: value for name, value in (found | changes).items() if value is not None}


def rfc3339(at_s: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Forger:
    """One document; each field can be what it should not be."""

    records: Sequence[Json | str | None] = field(
        default_factory=lambda: [record(0), record(1, "211")]
    )
    slots: Callable[[list[Slot]], list[Slot]] = same
    day: Callable[[DeviceDay], DeviceDay] = same
    data: Callable[[bytes], bytes] = same
    versions: int = 1
    older: Callable[[DeviceDay], DeviceDay] = same
    older_data: Callable[[bytes], bytes] = same
    older_last: bool = False  # the version before stands behind the newest
    close: Mapping[str, object] = field(default_factory=dict)
    close_text: Callable[[str], str] = same
    close_first: bool = False
    in_book: bool = True
    date_in_book: bool = True
    pad: int = 0  # further entries behind
    cosigners: Sequence[Any] = ()
    entries: list[bytes] = field(default_factory=lambda: [b'{"type":"genesis"}' + b" " * 15])

    def document(self) -> Json:
        """The document as JSON, everything in it included."""
        found = [self._record(at, one) for at, one in enumerate(self.records)]
        slots = self.slots([slot for slot, _ in found])
        prefix = len(self.entries)
        place = device_day.key(DAY_NUMBER, DEVICE, REGISTER)
        first = DeviceDay(place, 1, bytes(32), prefix, START_S, SLOT_S, tuple(slots))
        versions = self._versions(first)
        newest = versions[0]
        items = {OTHER: sha256(b"another value").digest()}
        if self.in_book:
            items[place] = newest["entry"]
        day_book = Book(items)
        days = {day_key(DAY_NUMBER - 1): bytes(32)}
        if self.date_in_book:
            days[day_key(DAY_NUMBER)] = day_book.root()
        book = Book(days)
        close = {
            "book": book.root().hex(),
            "date": DAY.isoformat() if self.date_in_book else "2026-01-14",
            "day_book": (day_book.root() if self.date_in_book else bytes(32)).hex(),
            "device_days": str(len(items)),
            "k": "2",
            "prefix": str(prefix),
            "time": "2026-01-16T00:10:00Z",
            "type": "close",
            "v": "gridseal/close/v1",
        } | dict(self.close)
        text = self.close_text(jcs.encode(close).decode())
        index = 0 if self.close_first else len(self.entries)
        self.entries[index : index + self.close_first] = [text.encode()]
        self.entries += [sha256(f"pad {n}".encode()).digest() for n in range(self.pad)]
        document = {
            "v": "gridseal.day/1",
            "device": DEVICE,
            "date": DAY.isoformat(),
            "register": REGISTER,
            "zone": "Europe/Berlin",
            "close": {"record": text, "index": str(index)},
            "day_proof": book.proof(day_key(DAY_NUMBER)).as_json(),
            "previous": [],
            "slots": [],
        }
        if self.date_in_book:
            document["key_proof"] = day_book.proof(place).as_json()
        if self.date_in_book and self.in_book:
            document["device_day"] = _without_entry(newest)
            document["previous"] = [_without_entry(one) for one in versions[1:]]
            document["slots"] = [shown for _, shown in found if shown is not None]
        return self.with_paths(document)

    def with_paths(self, document: Json) -> Json:
        """The document with its checkpoint, and a path wherever an index stands."""
        log = EntryLog(tuple(self.entries))
        size = len(self.entries)
        text = log.checkpoint_text(size)
        document["checkpoint"] = log.checkpoint(
            size, *(key.line(text, 1) for key in self.cosigners)
        )
        places = [document["close"], *document["previous"], *document["slots"]]
        for one in [*places, *([document["device_day"]] if "device_day" in document else [])]:
            path = log.path(int(one["index"]), size)
            one["path"] = [b64encode(sibling).decode() for sibling in path]
        return document

    def _record(self, at: int, one: Json | str | None) -> tuple[Slot, Json | None]:
        """The slot that a record makes, and what the document shows of it."""
        if one is None:
            return EMPTY_SLOT, None
        text = one if isinstance(one, str) else jcs.encode(one).decode()
        index, salt = len(self.entries), sha256(f"salt {at}".encode()).digest()
        self.entries.append(sha256(b"\x02\x01" + salt + text.encode()).digest())
        shown = {"slot": str(at), "record": text, "salt": salt.hex(), "index": str(index)}
        value = one.get("value") if isinstance(one, dict) else None
        try:
            slot = slot_of(2, value, index)
        except (ValueError, TypeError):  # the operator takes another value for it
            slot = Slot(2, 0, 1, index)
        return slot, shown

    def _versions(self, first: DeviceDay) -> list[Json]:
        """Newest first; each with its entry, in the log."""
        made: list[Json] = []
        day = first
        for version in range(1, self.versions + 1):
            newest = version == self.versions
            day = self.day(day) if newest else self.older(day)
            data = device_day.encode_checked(day)
            data = self.data(data) if newest else self.older_data(data)
            salt = sha256(f"version {version}".encode()).digest()
            entry = sha256(b"\x02\x02" + salt + data).digest()
            shown = {"data": b64encode(data).decode(), "salt": salt.hex(), "entry": entry}
            made.insert(0, shown)
            day = replace(first, version=version + 1, previous=entry)
        for one in made if self.older_last else made[::-1]:
            one["index"] = str(len(self.entries))
            self.entries.append(one["entry"])
        return made


def _without_entry(shown: Json) -> Json:
    return {name: value for name, value in shown.items() if name != "entry"}
