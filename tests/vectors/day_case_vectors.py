"""days.json: documents with all four verdicts; docs/spec/completeness.md."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

from case_vectors import Json, case, expect
from forged_day import SLOT_S, Forger, record, rfc3339
from vector_log import OTHER_KEY, WITNESSES, policies

from bal.slots import EMPTY_SLOT, NO_INDEX, Slot

ENERGY_MAX = 2**63 - 1


def days() -> Json:
    """Forged documents: what holds, and for each step what only an operator could make."""
    cases = [*_good(), *_form(), *_authentic()]
    steps = {
        "close-malformed": _close(),
        "book-mismatch": _book(),
        "version-mismatch": _versions(),
        "slot-mismatch": _slots(),
    }
    for code, forged in steps.items():
        for name, document in forged.items():
            findings = "findings" if '"findings' in json.dumps(document) else "nothing-doubtful"
            cases.append(
                _case(name, document, expect("authentic", 1, complete=code, plausible=findings))
            )
    cosigned = policies()["two of three witnesses"]
    return {
        "policies": {"plain": policies()["plain"], "two of three witnesses": cosigned,
                     "another key": f"log {OTHER_KEY.vkey}\nquorum none\n"},
        "cases": cases,
    }  # fmt: skip


def _case(name: str, document: Json | str, expected: Json, policy: str = "plain") -> Json:
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    return case(name, text, expected, policy)


def forged(**fields: Any) -> Json:
    return Forger(**fields).document()


def _values(*values: str) -> list[Json]:
    return [record(at, value) for at, value in enumerate(values)]


def _good() -> list[Json]:
    findings = [{"code": "time-cut", "id": "#finding-1"}]
    said = record(1, None, unit=None, quality=["1.5.259"])
    both = record(1, "7", quality=["1.0.0", "2.5.259"])

    def missing(slots: list[Slot]) -> list[Slot]:
        return [slots[0], Slot(0, 2, 0, slots[1].log_index)]

    rows = [
        ("complete", "complete", forged()),
        ("with a hint", "complete", forged() | {"anchor": HINT}),
        ("at the edges of rounding", "complete", forged(records=_values("0.0005", "-0.0015"))),
        ("half to even", "complete", forged(records=_values("0.0025", "-0.0005"))),
        ("just over a half", "complete",
         forged(records=_values("0.00050000000000000000000000000001", "0.0004999999999999999999"))),
        ("the largest and the smallest energy", "complete",
         forged(records=_values("9223372036854775.807", "-9223372036854775.808"))),
        ("rounded to the smallest energy", "complete",
         forged(records=_values("9223372036854775.8065", "-9223372036854775.8085"))),
        ("telemetry", "complete", forged(records=[record(0, kind="telemetry"), record(1)])),
        ("estimated and corrected", "complete",
         forged(slots=lambda s: [s[0]._replace(state=1), s[1]._replace(state=3)])),
        ("three versions", "complete", forged(versions=3)),
        ("a version of other slots before", "complete",
         forged(versions=2, older=lambda d: replace(d, slots=(EMPTY_SLOT, d.slots[1])))),
        ("a close of another date", "complete", forged(close={"date": "2026-01-13"})),
        ("in a log of 300", "complete", forged(pad=294)),
        ("a start 14 h before", "complete", _start(-14 * 3600)),
        ("a start 14 h after", "complete", _start(14 * 3600)),
        ("nothing received", "complete-gaps", forged(records=[record(0), None])),
        ("nothing at all", "complete-gaps", forged(records=[None, None])),
        ("said missing, without value", "complete-gaps",
         forged(records=[record(0), said], slots=missing)),
        ("said missing, with a value", "complete-gaps",
         forged(records=[record(0), both], slots=missing)),
        ("a value too large", "complete-gaps",
         forged(records=_values("1", "9223372036854775.808"))),
        ("a value too small", "complete-gaps",
         forged(records=_values("1", "-9223372036854775.8086"))),
        ("no such key", "absent", forged(in_book=False)),
        ("no such date", "absent", forged(date_in_book=False)),
        ("no such date, and no register", "absent", forged(date_in_book=False) | {"register": ""}),
    ]  # fmt: skip
    cases = [_case(name, document, expect(complete=code)) for name, code, document in rows]
    doubtful = forged(records=[record(0), record(1, findings=findings)])
    cases.append(_case("a finding", doubtful, expect(complete="complete", plausible="findings")))
    cosigned = forged(cosigners=WITNESSES[:2])
    cases.append(_case("cosigned", cosigned, expect(complete="complete"), "two of three witnesses"))
    return cases


HINT = {"chain_id": "1", "contract": "0x" + "aB" * 20, "log": "0x" + "00" * 32, "size": "5",
        "block": "9", "tx": "0x" + "11" * 32}  # fmt: skip


def _start(away_s: int) -> Json:
    """A day that begins so far from the date in UTC."""
    begin_s = 20_468 * 86_400 + away_s
    moved = Forger(day=lambda d: replace(d, start_s=begin_s))
    moved.records = [_at(n, begin_s + n * SLOT_S) for n in range(2)]
    return moved.document()


def _at(slot: int, begin_s: int) -> Json:
    return record(slot, begin=rfc3339(begin_s), end=rfc3339(begin_s + SLOT_S))


def _form() -> list[Json]:
    """Step 1."""
    good = forged()
    text = json.dumps(good)

    def at(change: Callable[[Json], None]) -> Json:
        document: Json = json.loads(text)
        change(document)
        return document

    def put(path: str, value: object) -> Json:
        *way, last = path.split("/")

        def change(document: Json) -> None:
            found: Any = document
            for part in way:
                found = found[int(part)] if part.isdigit() else found[part]
            found[last] = value

        return at(change)

    rows: dict[str, Json | str] = {
        "another version": put("v", "gridseal.day/2"),
        "a member more": put("x", ""),
        "a zone that is no text": put("zone", None),
        "without zone": at(lambda document: document.pop("zone")),
        "a register that is a number": put("register", 1),
        "a register with a space": put("register", "a b"),
        "a register beyond ASCII": put("register", "ä"),
        "a register of 257 characters": put("register", "r" * 257),
        "a device of 42 characters": put("device", good["device"][:-1]),
        "a device with bits too many": put("device", good["device"][:-1] + "B"),
        "29 February of 2026": put("date", "2026-02-29"),
        "before 1970": put("date", "1969-12-31"),
        "a date without zeros": put("date", "2026-1-15"),
        "a checkpoint that is none": put("checkpoint", ""),
        "a close without path": put("close", {"record": "", "index": "1"}),
        "a path that is a text": put("close/path", ""),
        "a path with a hash too short": put("close/path", ["AA=="]),
        "a path of 64": put("close/path", good["close"]["path"][:1] * 64),
        "an index that is a number": put("close/index", 1),
        "an index with a leading zero": put("close/index", "01"),
        "an index of 2^63": put("close/index", str(2**63)),
        "a salt in capitals": put("device_day/salt", "AB" * 32),
        "data that is no base64": put("device_day/data", "R1NERAE"),
        "a slot without number": put("slots/0/slot", ""),
        "a slot with a member more": put("slots/0/x", ""),
        "slots that are an object": put("slots", {}),
        "previous left out": at(lambda document: document.pop("previous")),
        "a proof without siblings": put("day_proof", {}),
        "a proof with a member more": put("day_proof/x", ""),
        "a proof of 257 siblings": put("day_proof/siblings", ["00" * 32] * 257),
        "a sibling in capitals": put("day_proof/siblings", ["AB" * 32]),
        "a terminal without value": put("day_proof/terminal", {"key": "00" * 32}),
        "a terminal that is null": put("day_proof/terminal", None),
        "a hint without members": put("anchor", {}),
        "a hint that is null": put("anchor", None),
        "a member twice": text.replace("{", '{"zone":"",', 1),
        "space before": " " + text,
        "cut short": text[:-1],
    }
    return [_case(name, one, expect("receipt-malformed")) for name, one in rows.items()]


def _authentic() -> list[Json]:
    """Steps 2 and 3."""
    good = forged()
    slot, newest = good["slots"][0], good["device_day"]
    spoilt = good["checkpoint"].replace("\n5\n", "\n6\n")
    rows = {
        "head changed": (good | {"checkpoint": spoilt}, "signature-invalid"),
        "a close beyond the log": (
            good | {"close": good["close"] | {"index": "6"}}, "index-outside"),
        "a path too short": (
            good | {"device_day": newest | {"path": newest["path"][1:]}}, "path-wrong-length"),
        "a path of another": (
            good | {"device_day": newest | {"path": newest["path"][::-1]}}, "root-mismatch"),
        "another salt": (good | {"slots": [slot | {"salt": "00" * 32}]}, "root-mismatch"),
        "a record with a space": (
            forged(records=['{"a": ""}', record(1)]), "record-not-canonical"),
        "a record that is an array": (forged(records=["[]", record(1)]), "record-not-canonical"),
        "a version before that is not in the log": (
            good | {"previous": [newest | {"salt": "00" * 32}]}, "root-mismatch"),
    }  # fmt: skip
    cases = [_case(name, one, expect(code)) for name, (one, code) in rows.items()]
    cases.append(_case("another key", good, expect("log-key-unknown"), "another key"))
    one = forged(cosigners=WITNESSES[:1])
    cases.append(_case("one cosigned", one, expect("quorum-missing"), "two of three witnesses"))
    wrong = forged(cosigners=WITNESSES[:2])
    line = wrong["checkpoint"].rindex("\n", 0, -1) + 1
    other = WITNESSES[1].line("another head\n", 1)
    wrong["checkpoint"] = wrong["checkpoint"][:line] + other
    cases.append(
        _case(
            "another head cosigned", wrong, expect("cosignature-invalid"), "two of three witnesses"
        )
    )
    return cases


def _close() -> dict[str, Json]:
    """Step 4."""
    less = '{"k":"1","type":"close","v":"gridseal/close/v1"}'
    return {
        "close 0": forged(close={"k": "0"}),
        "close 02": forged(close={"k": "02"}),
        "a close of another version": forged(close={"v": "gridseal/close/v2"}),
        "a close of another type": forged(close={"type": "tick"}),
        "a close with a member more": forged(close={"note": ""}),
        "a close with members less": forged(close_text=lambda _: less),
        "a close with a space": forged(close_text=lambda text: text.replace('":"', '": "', 1)),
        "a close that is no JSON": forged(close_text=lambda _: "{" * 40),
        "a close of 30 February": forged(close={"date": "2026-02-30"}),
        "a book in capitals": forged(close_text=lambda text: text.replace('"book":"', '"book":"A')),
        "a book too short": forged(close={"book": "00"}),
        "a day_book too short": forged(close={"day_book": ""}),
        "a prefix with a sign": forged(close={"prefix": "+3"}),
        "a prefix of 2^63": forged(close={"prefix": str(2**63)}),
        "keys that are no number": forged(close={"device_days": "-1"}),
        "a time without zone": forged(close={"time": "2026-01-16T00:10:00"}),
        "a time that is a list": forged(close={"time": ["2026-01-16T00:10:00Z"]}),
    }


def _book() -> dict[str, Json]:
    """Steps 5 and 6."""
    good, absent, dateless = forged(), forged(in_book=False), forged(date_in_book=False)
    later = forged(close={"date": "2026-01-14"})
    less = {name: value for name, value in good.items() if name != "key_proof"}
    nothing = {name: value for name, value in good.items() if name != "device_day"}

    def at(place: int, change: bytes) -> Callable[[bytes], bytes]:
        return lambda data: data[:place] + change + data[place + len(change) :]

    def of(**changes: Any) -> Json:
        return forged(day=lambda day: replace(day, **changes))

    one = Slot(2, 0, 210_000, 1)
    return {
        "another book": forged(close={"book": "11" * 32}),
        "another book of its date": forged(close={"day_book": "00" * 32}),
        "a date that its own close lacks": _own_date(),
        "no key proof": less,
        "no device-day": nothing,
        "no register": good | {"register": ""},
        "another register": good | {"register": "no.such"},
        "another date": good | {"date": "2026-01-16"},
        "the day proof for the key proof": good | {"key_proof": good["day_proof"]},
        "a key proof of an absent date": dateless | {"key_proof": good["key_proof"]},
        "absent, with slots": _grafted(absent, "slots"),
        "absent, with previous": _grafted(absent, "previous"),
        "absent date, with slots": _grafted(dateless, "slots"),
        "another close's day": later | {"day_proof": {"siblings": []}},
        "a device-day of another magic": forged(data=at(0, b"GSDE")),
        "a device-day cut short": forged(data=lambda data: data[:-1]),
        "a state that is none": forged(data=at(93, b"\x04")),
        "no slot": of(slots=()),
        "slots of 7 s": of(slot_s=7),
        "version 0": of(version=0),
        "version 1 with one before": of(previous=b"\x01" * 32),
        "an index at the prefix": of(prefix=2),
        "two slots of one record": of(slots=(one, one)),
        "no index where there must be one": of(slots=(one, one._replace(log_index=NO_INDEX))),
        "of another key": of(key=bytes(32)),
        "a start 14 h and a second before": _start(-14 * 3600 - 1),
        "a start 14 h and a second after": _start(14 * 3600 + 1),
        "a start in another age": of(start_s=2**64 - 1),
        "one slot": forged(slots=lambda slots: slots[:1]),
        "four slots": forged(records=[record(n) for n in range(4)]),
        "a prefix over the close's": forged(close={"prefix": "2"}),
        "a close before its device-day": forged(close_first=True),
    }  # fmt: skip


def _own_date() -> Json:
    return forged(date_in_book=False, close={"date": "2026-01-15"})


def _grafted(document: Json, what: str) -> Json:
    """The document with a slot, or a version, of the log's own: its only record."""
    whole = Forger(in_book=False, date_in_book="key_proof" in document)
    made = whole.document()
    record_, salt = '{"a":"b"}', "00" * 32
    data = record_.encode()
    type_ = b"\x01" if what == "slots" else b"\x02"
    whole.entries.append(sha256(b"\x02" + type_ + bytes.fromhex(salt) + data).digest())
    place = {"salt": salt, "index": str(len(whole.entries) - 1)}
    if what == "slots":
        made["slots"] = [{"slot": "0", "record": record_, **place}]
    else:
        made["previous"] = [{"data": "eyJhIjoiYiJ9", **place}]
    return whole.with_paths(made)


def _versions() -> dict[str, Json]:
    """Step 7."""

    def older(**changes: Any) -> Json:
        return forged(versions=2, older=lambda day: replace(day, **changes))

    two = forged(versions=2)
    return {
        "version 2 without version 1": two | {"previous": []},
        "version 1 with a version before": forged() | {"previous": [forged()["device_day"]]},
        "version 3 after version 1": forged(versions=2, day=lambda day: replace(day, version=3)),
        "a version that names another": forged(
            versions=2, day=lambda day: replace(day, previous=b"\x01" * 32)
        ),
        "a version of another key": older(key=bytes(32)),
        "a version of another number": older(version=2, previous=b"\x01" * 32),
        "a version of a larger prefix": older(prefix=100),
        "a version that stands behind": forged(versions=2, older_last=True),
        "a version that is no device-day": forged(versions=2, older_data=lambda data: data[1:]),
        "one version shown twice": forged(versions=3)
        | {"previous": [forged(versions=3)["previous"][0]] * 2},
    }


def _slots() -> dict[str, Json]:
    """Step 8."""
    good = forged()

    def of(**changes: object) -> Json:
        return forged(records=[record(0), record(1, **changes)])

    def says(value: str, slot: Slot) -> Json:
        def swapped(slots: list[Slot]) -> list[Slot]:
            return [slots[0], slot._replace(log_index=slots[1].log_index)]

        return forged(records=[record(0), record(1, value)], slots=swapped)

    def turned(slots: list[Slot]) -> list[Slot]:
        first, second = slots
        return [
            first._replace(log_index=second.log_index),
            second._replace(log_index=first.log_index),
        ]

    first, second = good["slots"]
    return {
        "a slot left out": good | {"slots": good["slots"][:1]},
        "no slots": good | {"slots": []},
        "a slot twice": good | {"slots": [good["slots"][0], *good["slots"]]},
        "slots out of order": good | {"slots": good["slots"][::-1]},
        "a slot of another number": good | {"slots": [first, second | {"slot": "2"}]},
        "a slot that names nothing": _hidden(),
        "two records changed about": forged(slots=turned),
        "another device": of(device="A" * 43),
        "a record of another register": of(register="0.0"),
        "an event": of(kind="event"),
        "without kind": of(kind=None),
        "begins a second early": of(begin="2026-01-15T10:59:59Z"),
        "ends a second late": of(end="2026-01-15T23:00:01Z"),
        "a time with an offset": of(begin="2026-01-15T11:00:00+00:00"),
        "a time with a fraction": of(begin="2026-01-15T11:00:00.0Z"),
        "an instant": of(begin=None, end=None, time="2026-01-15T11:00:00Z"),
        "another value": says("211", Slot(2, 0, 210_000, 0)),
        "another sign": says("-210", Slot(2, 0, 210_000, 0)),
        "rounded up": says("0.0005", Slot(2, 4, 1, 0)),
        "rounded, and said exact": says("0.0004", Slot(2, 0, 0, 0)),
        "exact, and said rounded": says("0.001", Slot(2, 4, 1, 0)),
        "a value, and said missing": says("1", Slot(0, 2, 0, 0)),
        "a value that fits, and said too large": says("1", Slot(0, 3, 0, 0)),
        "a value too large, cut": says("9223372036854775.808", Slot(2, 0, ENERGY_MAX, 0)),
        "no value": forged(records=[record(0), record(1, None)],
                           slots=lambda s: [s[0], Slot(2, 0, 0, s[1].log_index)]),
        "no value, and said too large": forged(
            records=[record(0), record(1, None)],
            slots=lambda s: [s[0], Slot(0, 3, 0, s[1].log_index)]),
        "another code than known missing": forged(
            records=[record(0), record(1, "1", quality=["5.259.5", "1.5.25"])],
            slots=lambda s: [s[0], Slot(0, 2, 0, s[1].log_index)]),
        "a value with an exponent": says("1e3", Slot(2, 0, 1_000_000, 0)),
        "a value with a zero too many": says("1.0", Slot(2, 0, 1_000, 0)),
        "a value of minus zero": says("-0", Slot(2, 0, 0, 0)),
        "a value with a plus sign": says("+1", Slot(2, 0, 1_000, 0)),
        "a value that is a list": of(value=["1"]),
        "in kWh": of(unit="kWh"),
        "in W": of(unit="W"),
        "without unit": of(unit=None),
        "said missing, in W": forged(records=[record(0), record(1, None, unit="W")]),
    }  # fmt: skip


def _hidden() -> Json:
    """A record under a slot of which the device-day says that nothing was received."""
    return forged(slots=lambda slots: [slots[0], EMPTY_SLOT])
