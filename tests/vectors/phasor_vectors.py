"""Vectors of docs/spec/pmu.md: numbers, messages, windows, and receipts of single frames."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from vector_log import VectorLog, seed, vector_log

from bal import jcs
from bal.certify.commitment import commitment, commitments, pseudonym
from bal.certify.receipt import frame_extra
from bal.certify.tree import leaf_hashes, tree_head
from bal.errors import Rejected
from bal.harmonise import harmonise
from bal.harmonise.phasors import rate_of, window_record
from bal.harmonise.pmu_number import exact
from bal.model import TYPE_FRAME, TYPE_PART, Digest, Harmonised, Subject
from bal.windows import Closed, Windows

KEY = seed("K")
DEVICE = Subject(pseudonym(seed("P")), KEY, "grid", "grid/0")
RECEIVED_US = 1_768_471_260_000_000  # 2026-01-15T10:01:00Z
COUNT = 49  # frames of the window whose receipts are made

NUMBERS = (
    "0", "-0", "-0.0", "123", "230.100", "1.2e-05", "-1.2E-5", "1e3", "12.5e1", "100e-2", "0e999",
    "1e79", "1e80", "1e400", "1e-80", "0.1e-400", "1234567890123456789012345678901234567890",
    "12345678901234567890123456789012345678901", "NaN", "Infinity", "-Infinity", "+1", ".5", "1.",
    "01", "0x1", "",
)  # fmt: skip


def frame(number: int, **changes: object) -> dict[str, Any]:
    """Frame `number` of a stream of 50 a second, as it is sent."""
    second, part = divmod(number, 50)
    members = {
        "device": "pmu-7",
        "timestamp": f"2026-01-15T11:00:{second:02d}.{part * 20_000:06d}+01:00",
        "readings": [
            {"component": "BUS1", "measurand": "voltmagnitude", "phase": "A", "data": 230 + number},
            {"component": 'Süd "1"', "measurand": "frequency", "phase": "A", "data": 50},
        ],
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


def reading(**changes: object) -> dict[str, Any]:
    """Frame 0 with one reading more, which is changed."""
    changed = {"component": "BUS2", "measurand": "voltangle", "phase": "B", "data": 1} | changes
    left = {name: value for name, value in changed.items() if value is not None}
    return frame(0, readings=[*frame(0)["readings"], left])


def take(message: bytes) -> Harmonised:
    return harmonise(
        message,
        "pmu",
        resolve=lambda _: DEVICE,
        platform=DEVICE,
        sender=DEVICE,
        commit_parts=lambda subjects, parts: commitments(
            TYPE_PART, [subject.salt_key for subject in subjects], parts
        ),
    )


def phasors() -> dict[str, Any]:
    """The file phasors.json."""
    return {
        "salt_key": KEY.hex(),
        "device": DEVICE.pseudonym,
        "numbers": [_number(literal) for literal in NUMBERS],
        "messages": [_message(name, message) for name, message in _messages()],
        "windows": [_stream(*case) for case in _streams()],
    }


def _number(literal: str) -> dict[str, str]:
    try:
        return {"literal": literal, "value": exact(literal)}
    except Rejected as error:
        return {"literal": literal, "code": error.code}


def _message(name: str, message: str) -> dict[str, Any]:
    case: dict[str, Any] = {"name": name, "message": message}
    try:
        found = take(message.encode())
    except Rejected as error:
        return case | {"code": error.code}
    return case | {
        "frames": [one.data.decode() for one in found.frames],
        "refused": [[one.code, one.field, one.line] for one in found.refused],
        "findings": [[one.code, one.field, one.line] for one in found.findings],
    }


def _messages() -> Iterator[tuple[str, str]]:
    """Name and message."""
    yield "one object", json.dumps(frame(0))
    yield "an array", json.dumps([frame(1), frame(0)], ensure_ascii=False, indent=1)
    whole = json.dumps(reading())
    for text in ("1.50", "-0.0", "-1.2e-05", "1e400", "NaN", "Infinity", '"1"', "null", "[1]"):
        yield f"data {text}", whole.replace('"data": 1}', f'"data": {text}}}')
    for name, changes in {
        "no data": {"data": None},
        "an unknown measurand": {"measurand": "rocof"},
        "phase N": {"phase": "N"},
        "an empty component": {"component": ""},
        "a component that is a number": {"component": 1},
        "an unknown member": {"quality": "good"},
        "a channel that the frame has": {
            "component": "BUS1", "measurand": "voltmagnitude", "phase": "A",
        },
    }.items():  # fmt: skip
        yield f"a reading with {name}", json.dumps(reading(**changes))
    for name, changed in {
        "no device": frame(0, device=None),
        "no timestamp": frame(0, timestamp=None),
        "no readings": frame(0, readings=[]),
        "257 readings": frame(0, readings=257 * frame(0)["readings"][:1]),
        "a time without offset": frame(0, timestamp="2026-01-15T11:00:00"),
        "a time in nanoseconds": frame(0, timestamp="2026-01-15T10:00:00.123456789Z"),
        "a time in whole nanoseconds": frame(0, timestamp="2026-01-15T10:00:00.120000000Z"),
        "an unknown member": frame(0, sequence=1),
    }.items():
        yield f"a frame with {name}, and a good one", json.dumps([changed, frame(1)])
    yield "an empty array", "[]"
    yield "a doubled member", '{"device":"a","device":"b"}'


def _streams() -> Iterator[tuple[str, Sequence[Sequence[int]]]]:
    """Name, and the numbers of the frames of each message."""
    stream = list(range(130))
    yield "in one message", [stream]
    yield "in messages of 25", [stream[at : at + 25] for at in range(0, 130, 25)]
    yield "two frames missing, one doubled", [[n for n in stream if n not in {7, 60}], [100]]
    yield "a late frame makes a version", [[*range(1, 80), 0, *range(80, 130)]]
    yield "too late", [[0, 1, 600, 2]]
    yield "not yet", [list(range(74))]
    yield "closed by the frame at 1.5 s", [list(range(76))]


def _stream(name: str, messages: Sequence[Sequence[int]]) -> dict[str, Any]:
    windows = Windows(rate_of)
    told, closed = [], []
    for offset, numbers in enumerate(messages):
        raw = json.dumps([frame(number) for number in numbers], ensure_ascii=False).encode()
        fed = windows.feed("gateway", offset, RECEIVED_US, take(raw).frames)
        told.append(
            {
                "message": raw.decode(),
                "evidence": commitment(KEY, TYPE_PART, raw).hex(),
                "turned": [[number, code] for number, (code, _) in fed.turned.items()],
                "records": [window(one).decode() for one in fed.closed],
            }
        )
        closed += fed.closed
    return {"name": name, "received": "2026-01-15T10:01:00Z", "messages": told}


def window(closed: Closed) -> bytes:
    """The record of a window of the device."""
    return window_record(
        DEVICE.pseudonym,
        closed.begin_us,
        closed.channels,
        frames=len(closed.frames),
        rate=closed.rate or 1,
        root=_root(commitments(TYPE_FRAME, [KEY] * len(closed.frames), closed.frames)),
        evidence=closed.parts[0] if len(closed.parts) == 1 else _root(closed.parts),
    )


def _root(entries: Sequence[Digest]) -> Digest:
    return tree_head(leaf_hashes(entries)).root


def frame_log() -> tuple[VectorLog, list[bytes]]:
    """The log of the other vectors with one entry more, a window's; and that window's frames."""
    raw = json.dumps([frame(number) for number in range(1, 76)]).encode()
    [closed] = Windows(rate_of).feed("gateway", 0, RECEIVED_US, take(raw).frames).closed
    log = vector_log()
    return replace(log, records=(*log.records, window(closed))), list(closed.frames)


def add_frames(add: Callable[..., None]) -> None:
    """Receipts of single frames, good and bad. add: as `receipts` of make.py has it."""
    log, frames = frame_log()
    size = len(log.records)
    index = size - 1
    extra = log.extra(index)

    def receipt(of: object, at: int = index) -> str:
        return log.receipt(at, size, extra=jcs.encode(log.extra(at) | {"frame": of}))

    add("record of a window", log.receipt(index, size))
    for number in (0, 31, 32, 48):
        add(f"frame {number} of {COUNT}", receipt(frame_extra(KEY, frames, number)))
    good: dict[str, Any] = frame_extra(KEY, frames, 3)
    other: dict[str, Any] = frame_extra(KEY, frames, 4)
    path, outside = good["path"], frame(60)
    late = take(json.dumps(outside).encode()).frames[0].data.decode()
    for name, changes in {
        "another frame's data": {"data": other["data"]},
        "another salt": {"salt": "00" * 32},
        "another index": {"index": "4"},
        "an index outside": {"index": "49"},
        "another count": {"count": "50"},
        "a path one short": {"path": path[:-1]},
        "a path one long": {"path": [*path, path[0]]},
        "a path swapped": {"path": path[::-1]},
        "the time of another window": {"data": late},
    }.items():
        add(f"frame with {name}", receipt(good | changes), "frame-mismatch")
    for name, changes in {
        "a member more": {"root": "00" * 32},
        "a salt in capitals": {"salt": good["salt"].upper()},
        "an index with a leading zero": {"index": "03"},
        "a path that is a string": {"path": path[0]},
        "a path of short hashes": {"path": [path[0][:-4], *path[1:]]},
        "data with a space": {"data": good["data"].replace(":", ": ", 1)},
        "data that is an array": {"data": "[]"},
    }.items():
        add(f"frame with {name}", receipt(good | changes), "frame-malformed")
    less = {name: value for name, value in good.items() if name != "salt"}
    add("frame without salt", receipt(less), "frame-malformed")
    add("frame that is a string", receipt("{}"), "frame-malformed")
    add("frame of a record that is a reading", receipt(good, 3), "frame-mismatch")
    number = json.dumps(extra | {"frame": good | {"index": 3}}, sort_keys=True,
                        separators=(",", ":"), ensure_ascii=False)  # fmt: skip
    spoilt = log.receipt(index, size, extra=number.encode())
    add("frame with an index that is a number", spoilt, "extra-malformed")
