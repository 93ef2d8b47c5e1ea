"""What a worker made of a message reaches the storer as it was, without a key."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bal import jcs, pipeline
from bal.model import Draft, Finding, Identity, Part, Pseudonym, Rank, RawMessage, Subject
from bal.pipeline import COMMAND_FORMAT, FLUSH_FORMAT, OPERATOR, Worked, Worker
from bal.registry import Registry
from bal.subjects import identity_of_name
from infra.roles import rows_item
from infra.roles.rows_item import RowsItem, decode, encode, worked_of
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.unit.harmonise.test_sep2 import reading, readings, sep2, usage_point

AT_US = 1_768_471_200_000_000
DAY_US = 86_400_000_000
YEAR_US = 366 * DAY_US
READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


class Maker:
    """One worker on a vault, with senders; `work` gives what a message became."""

    def __init__(self, folder: Path) -> None:
        self.vault = SqliteVault(folder, SystemClock())
        self.registry = Registry()
        self.worker = Worker(self.vault, self.registry)
        self._offset = 0
        for name in ("headend", "other"):
            self.enrol(name)

    def work(self, credential: str, form: str, raw: bytes, at_us: int = AT_US) -> Worked:
        message = RawMessage("00ff", 3, self._offset, credential, form, at_us, raw)
        self._offset += 1
        worked = self.worker.process(message)
        self.worker.apply(worked.drafts)
        return worked

    def enrol(self, name: str) -> Worked:
        own = identity_of_name(name)
        command = {
            "command": "enrol", "name": name, "subject": self.vault.pseudonyms([own])[own],
            "certificate": "c", "password": "p", "subjects": "any", "allowed": [], "group": "g",
            "zone": "UTC", "bulk": "true", "devices": [],
        }  # fmt: skip
        return self.work(OPERATOR, COMMAND_FORMAT, jcs.encode(command))


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    one = Maker(tmp_path_factory.mktemp("vault"))
    yield one
    one.vault.close()


def cim(*meters: str, value: str = "1.5") -> bytes:
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    found = "".join(
        f"<MeterReading><Meter><Names><name>{meter}</name></Names></Meter><Readings>"
        f"<timeStamp>2026-01-15T11:00:00+01:00</timeStamp><value>{value}</value>"
        f'<ReadingType ref="{READING_TYPE}"/></Readings></MeterReading>'
        for meter in meters
    )
    return f'<MeterReadings xmlns="{namespace}">{found}</MeterReadings>'.encode()


def der(device: str, data: str) -> bytes:
    one = {"measurand": "activepower", "data": float(data), "component": "c"}
    said = {"device": device, "timestamp": "2026-01-15T10:00:00Z", "readings": [one]}
    return json.dumps(said).encode()


def frames(device: str, begin_us: int, count: int = 10) -> bytes:
    found = []
    for number in range(count):
        at = datetime.fromtimestamp((begin_us + number * 100_000) / 1e6, UTC)
        found.append({
            "device": device, "timestamp": at.isoformat(timespec="microseconds"),
            "readings": [{"component": "B", "measurand": "frequency", "phase": "A", "data": 50}],
        })  # fmt: skip
    return json.dumps(found).encode()


def there_and_back(worked: Worked, vault: SqliteVault) -> Worked:
    """Through the wire, in any number of parts; with the batches that name them."""
    batches = worked.batches(-1, {"registry": "7", "rules": "r"})
    sent = [encode(worked, batch) for batch in batches]
    items = [decode(data) for data in sent]
    for item, batch in zip(items, batches, strict=True):
        told = item.source, item.offset, item.part, item.digest
        assert told == (batch.source, batch.offset, batch.part, batch.rows)
    return worked_of(items, vault)


def same(worked: Worked, vault: SqliteVault) -> None:
    back = there_and_back(worked, vault)
    assert back == worked
    assert back.rows(9) == worked.rows(9)
    assert all(type(draft.rank) is Rank for draft in back.drafts)


MESSAGES = st.one_of(
    st.tuples(
        st.just("cim"),
        st.lists(st.sampled_from(["m-1", "m-2", "", "m-3 ", "\x7f"]), max_size=6).flatmap(
            lambda names: st.sampled_from(["2.5", "x", ""]).map(lambda v: cim(*names, value=v))
        ),
    ),
    st.tuples(st.just("der"), st.sampled_from([der("pv-1", "3"), b"[]", b"{}", b"\xff"])),
    st.tuples(st.just("pmu"), st.integers(0, 20).map(lambda n: frames("p-1", AT_US + n * 10**6))),
    st.tuples(st.just("sep2"), st.just(sep2(usage_point(readings(reading()))))),
    st.tuples(st.just("cim"), st.binary(max_size=30)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sent=st.lists(
        st.tuples(st.sampled_from(["headend", "other", "nobody"]), MESSAGES, st.booleans()),
        max_size=6,
    )
)
def test_it_comes_back_equal(maker: Maker, sent: list[tuple[str, tuple[str, bytes], bool]]) -> None:
    for credential, (form, raw), later in sent:
        same(maker.work(credential, form, raw, AT_US + YEAR_US * later), maker.vault)


def test_what_the_operator_does_comes_back(maker: Maker) -> None:
    same(maker.enrol("third"), maker.vault)
    same(maker.work(OPERATOR, COMMAND_FORMAT, b"nonsense"), maker.vault)


def test_windows_come_back_with_their_frames_in_another_year(maker: Maker) -> None:
    late_us = 1_798_761_600_000_000 - 1_000_000  # the last second of 2026
    first = maker.work("headend", "pmu", frames("p-9", late_us), late_us + 900_000)
    assert not any(draft.frames for draft in first.drafts)
    at_us = late_us + 60_000_000
    raw = jcs.encode({"time": "2027-01-01T00:00:59Z"})
    second = maker.work(OPERATOR, FLUSH_FORMAT, raw, at_us)
    [window] = [draft for draft in second.drafts if draft.begin_us == late_us]
    assert window.frames.count(b"\n") == 9
    same(first, maker.vault)
    same(second, maker.vault)


def test_no_key_is_on_the_wire(maker: Maker) -> None:
    worked = maker.work("headend", "cim", cim("m-1", "m-2", "m-4"))
    keys = {draft.subject.salt_key for draft in worked.drafts}
    keys |= {part.subject.salt_key for part in worked.parts}
    assert len(keys) >= 4
    data = encode(worked, worked.batches(-1, {})[0])
    clear = rows_item.decompressed(decode(data))
    for key in keys:
        for found in (data, clear):
            assert key not in found
            assert key.hex().encode() not in found


def test_a_batch_of_several_parts(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BATCH_ENTRIES_MAX", 3)
    monkeypatch.setattr(rows_item, "BATCH_ENTRIES_MAX", 3)
    worked = maker.work("headend", "cim", cim(*(f"n-{i}" for i in range(6))))
    assert len(worked.batches(-1, {})) == 5  # six devices, six readings, the message's own
    same(worked, maker.vault)
    items = [decode(encode(worked, batch)) for batch in worked.batches(-1, {})]
    for some in ([], items[1:], [items[1], items[0]]):
        with pytest.raises(ValueError, match="parts"):
            worked_of(some, maker.vault)


def test_what_was_erased_is_a_key_error(maker: Maker, tmp_path: Path) -> None:
    worked = maker.work("headend", "cim", cim("m-1"))
    other = SqliteVault(tmp_path / "other", SystemClock())
    with pytest.raises(KeyError):
        there_and_back(worked, other)
    other.close()


def test_a_retry_has_no_rows(maker: Maker) -> None:
    worked = maker.work("headend", "cim", cim("m-1"))
    again = Worked(worked.message, again="00ff/3/0")
    with pytest.raises(ValueError, match="retry"):
        encode(again, again.batches(-1, {})[0])


# -- what is not of `encode` -------------------------------------------------------------------


def item(worked: Worked) -> tuple[bytes, bytes]:
    """The head line and what is behind it."""
    head, _, payload = encode(worked, worked.batches(-1, {})[0]).partition(b"\n")
    return head, payload


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("v", "gridseal/rows/v2"), ("offset", "-1"), ("offset", "x"), ("offset", None),
        ("size", "-1"), ("size", str(1 << 40)), ("part", "-2"), ("more", "1"), ("part", "01"),
    ],
)  # fmt: skip
def test_another_head_is_refused(maker: Maker, member: str, value: str | None) -> None:
    head, payload = item(maker.work("headend", "cim", cim("m-1")))
    found: dict[str, Any] = jcs.decode(head)
    found[member] = value
    data = json.dumps(found, sort_keys=True, separators=(",", ":")).encode() + b"\n" + payload
    with pytest.raises(ValueError, match=r"."):
        decode(data)


@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_another_length_of_the_content_is_refused(maker: Maker, by: int) -> None:
    head, payload = item(maker.work("headend", "cim", cim("m-1")))
    one = decode(head + b"\n" + payload)
    with pytest.raises(ValueError, match="content of rows"):
        rows_item.decompressed(replace(one, size=one.size + by))


@given(cut=st.integers(0, 4000), flip=st.integers(0, 255))
def test_damage_is_a_value_error_or_does_nothing(maker: Maker, cut: int, flip: int) -> None:
    worked = _worked_once(maker)
    head, payload = item(worked)
    at = cut % len(payload)
    others = [payload[:at], payload[:at] + bytes([payload[at] ^ flip]) + payload[at + 1 :]]
    for other in others:
        try:
            back = worked_of([decode(head + b"\n" + other)], maker.vault)
        except (ValueError, KeyError):
            continue
        assert back.entries == worked.entries  # the digest holds these


_ONCE: list[Worked] = []


def _worked_once(maker: Maker) -> Worked:
    if not _ONCE:
        _ONCE.append(maker.work("headend", "cim", cim("m-1", "m-2")))
    return _ONCE[0]


# -- whatever a `Worked` may hold ---------------------------------------------------------------

NAMES = [Identity(f"name:a/b/{number}") for number in range(3)]
texts = st.text(max_size=5)
times = st.integers(-(2**63), 2**63 - 1)
lines = st.none() | st.integers(0, 9)
plain = st.builds(Finding, texts, st.just("warning"), texts, texts, lines, texts)
findings = plain | plain.map(lambda one: replace(one, device="D", group="g"))
owners = st.tuples(st.integers(0, 2), st.sampled_from(["g/0", "g/1"]))
drafts = st.tuples(
    owners, texts, texts, times, times, st.sampled_from(Rank), st.binary(max_size=9),
    st.binary(max_size=9), st.binary(min_size=32, max_size=32),
)  # fmt: skip


@given(
    made=st.lists(drafts, max_size=8),
    ends=st.lists(st.integers(0, 10), max_size=6).map(sorted),
    found=st.lists(findings, max_size=3),
    taken=st.integers(0, 9),
)
def test_whatever_it_holds_comes_back(
    maker: Maker,
    made: list[tuple[Any, ...]],
    ends: list[int],
    found: list[Finding],
    taken: int,
) -> None:
    names = maker.vault.pseudonyms(NAMES)
    keys = maker.vault.salt_keys(list(names.values()), 2026)

    def subject(owner: tuple[int, str]) -> Subject:
        name: Pseudonym = names[NAMES[owner[0]]]
        return Subject(name, keys[name], "g", owner[1])

    def parts(ends: Sequence[int]) -> list[Part]:
        return [
            Part(start, end, subject((end % 3, "g/0")), bytes([end]) * 32)  # type: ignore[arg-type]
            for start, end in zip([0, *ends], ends, strict=False)
        ]

    message = RawMessage("e", 0, 7, "headend", "cim", AT_US, b"0123456789")
    worked = Worked(
        message,
        [Draft(subject(owner), *rest) for owner, *rest, _ in made],
        [entry for *_, entry in made],
        parts(ends),
        found,
        found[::-1],
        taken=taken,
    )
    same(worked, maker.vault)


def test_parts_with_a_gap_are_refused(maker: Maker) -> None:
    worked = maker.work("headend", "cim", cim("m-1", "m-2"))
    worked.parts = list(worked.parts)[1:]
    with pytest.raises(ValueError, match="consecutive"):
        encode(worked, worked.batches(-1, {})[0])


def test_it_is_small(maker: Maker) -> None:
    """Though of each reading 64 bytes can't be made smaller: its entry, and its evidence."""
    worked = maker.work("headend", "cim", cim(*(f"z-{i}" for i in range(500))))
    worked = maker.work("headend", "cim", cim(*(f"z-{i}" for i in range(500))))
    clear = sum(len(draft.record) for draft in worked.drafts)
    found: RowsItem = decode(encode(worked, worked.batches(-1, {})[0]))
    assert len(found.payload) < clear / 4
