"""VEE at the close of a day: findings and estimates in the log, made again by fsck and replay."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from typing import Any

from bal import jcs
from bal.certify import device_day
from bal.derive.vee_rules import VeeRules
from bal.edits import check_edit
from bal.found import FindingsQuery, StoredFinding
from bal.model import Close, Rank, ReadingsQuery, StoredRecord
from infra.findings_list import line, listing
from infra.fsck import fsck
from infra.replay import replay
from tests.journey.small_platform import Small

DAY = "2026-01-15"
KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
REGISTER_KWH = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
QUARTERS = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"


def at(quarter: int, day: int = 15) -> str:
    """The end of a quarter-hour of January, by number; 96 is the next midnight."""
    day += quarter // 96
    return f"2026-01-{day:02d}T{quarter // 4 % 24:02d}:{quarter % 4 * 15:02d}:00Z"


def message(values: Mapping[int, str], registers: Mapping[int, str] | None = None) -> bytes:
    """Quarter-hours of one meter by number of their end, in kWh, and what its register showed."""
    some = [(KWH, at(n), value) for n, value in values.items()]
    some += [(REGISTER_KWH, at(n), value) for n, value in (registers or {}).items()]
    readings = "".join(
        f'<Readings><timeStamp>{time}</timeStamp><value>{value}</value><ReadingType ref="{code}"/>'
        "</Readings>"
        for code, time, value in some
    )
    return (
        '<MeterReadings xmlns="http://iec.ch/TC57/2011/MeterReadings#"><MeterReading><Meter>'
        f"<Names><name>1</name></Names></Meter>{readings}</MeterReading></MeterReadings>"
    ).encode()


def begun(root: Path, *messages: bytes, vee: VeeRules | None = None) -> Small:
    small = Small(root, vee=vee or VeeRules())
    small.start()
    small.enrol("headend")
    small.take("headend", *messages)
    return small


def shown(small: Small, size: int, **asked: Any) -> list[StoredRecord]:
    asked = {"groups": None, "as_of_size": size, "limit": 10_000, **asked}
    query = ReadingsQuery(**asked)
    return small.stores.customer_db.readings(query).rows


def found(small: Small, size: int, state: str = "open") -> list[tuple[str, str, str]]:
    """Code, begin or time, and end of what is found as of a size."""
    records = [jcs.decode(row.record) for row in shown(small, size, kind="finding")]
    return [
        (one["code"], record.get("begin", ""), record.get("end", record.get("time")))
        for record in records
        if record["event"] == state
        for one in record.get("findings", [{"code": ""}])
    ]


def listed(small: Small, size: int = 1 << 40) -> list[StoredFinding]:
    """As the operator has them (GET /v1/findings), in the order of the log."""
    query = FindingsQuery(None, size=size, limit=1_000, newest_first=False)
    return small.stores.archive.findings(query)


def slots(small: Small, close: Close) -> Sequence[tuple[int, int]]:
    [entry] = small.stores.book.entries(close.date, close.k)
    row = small.stores.customer_db.record(entry.log_index)
    assert row is not None
    return [(slot.state, slot.energy_milli) for slot in device_day.decode(row.record).slots]


def check(root: Path, closes: int) -> None:
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}
    assert replay(root).counts["closes made again"] == closes


def flat(*without: int) -> dict[int, str]:
    return {n: "0.1" for n in range(1, 97) if n not in without}


def test_a_gap_a_spike_and_a_register_that_begins_anew(tmp_path: Path) -> None:
    """9.8 kWh in all: 93 quarters of 0.1, one of 0.4, and two that the register knows of."""
    values = flat(11, 12) | {50: "0.4"}
    small = begun(tmp_path, message(values, {0: "99995.0", 96: "4.8"}))
    first = small.close_day(DAY)
    assert found(small, first.index + 1) == [
        ("slot-missing", at(10), at(12)),
        ("energy-spike", at(49), at(50)),
        ("register-rolled-over", "", at(96)),
    ]
    assert slots(small, first)[10:12] == [(0, 0), (0, 0)]  # by what was there before it
    second = small.close_day(DAY)
    assert slots(small, second)[10:12] == [(1, 50_000), (1, 50_000)]
    assert second.prefix > first.index
    assert small.close_day(DAY) == second  # nothing is new
    groups = [frozenset({"grid"}), frozenset({"other"})]  # of whom who asks may read
    seen = [len(shown(small, second.index, kind="finding", groups=one)) for one in groups]
    assert seen == [3, 0]
    assert not [one for one in shown(small, second.index) if one.kind == "finding"]  # unasked
    rows = shown(small, second.index + 1, kind="reading", register=QUARTERS)
    assert len(rows) == 96
    estimates = [row for row in rows if row.rank == Rank.ESTIMATED]
    assert [jcs.decode(row.record)["value"] for row in estimates] == ["50", "50"]
    assert {jcs.decode(row.record)["derived"]["rule"] for row in estimates} == {"linear/register"}
    small.close()
    check(tmp_path, 2)


def test_as_of_each_stage(tmp_path: Path) -> None:
    """Missing, estimated, measured: each is what counted then, and stays so."""
    small = begun(tmp_path, message(flat(11)))
    before = small.engine.stored_size
    first = small.close_day(DAY)
    estimated = small.engine.stored_size
    small.take("headend", message({11: "0.17"}))
    measured = small.engine.stored_size
    second = small.close_day(DAY)
    after = small.engine.stored_size

    def value(size: int) -> list[tuple[int, str]]:
        rows = shown(small, size, kind="reading", register=QUARTERS)
        return [
            (int(row.rank), jcs.decode(row.record)["value"])
            for row in rows
            if jcs.decode(row.record)["begin"] == at(10)
        ]

    assert [value(size) for size in (before, estimated, measured, after)] == [
        [],
        [(1, "100")],
        [(2, "170")],
        [(2, "170")],
    ]
    assert found(small, before) == []
    assert found(small, first.index + 1) == [("slot-missing", at(10), at(11))]
    assert found(small, second.index + 1) == []
    assert found(small, second.index + 1, "resolved") == [("", at(10), at(11))]
    assert slots(small, second)[10] == (2, 170_000)
    [one] = listed(small)
    row = small.stores.customer_db.record(one.place[0])
    assert row is not None
    assert jcs.decode(row.record)["findings"][0]["text"] == one.finding.text
    assert (one.source, one.finding.code, one.group) == ("vee", "slot-missing", "grid")
    assert one.about is not None
    assert (one.about.register, one.about.begin, one.about.end) == (QUARTERS, at(10), at(11))
    resolved = small.stores.customer_db.record(one.about.replaced_by or 0)
    assert resolved is not None
    assert jcs.decode(resolved.record)["event"] == "resolved"
    [then] = listed(small, first.index + 1)  # as of the first close
    assert then.about is not None
    assert then.about.replaced_by is None
    assert listed(small, before) == []
    small.close()
    check(tmp_path, 2)
    told = [told for told in listing(tmp_path) if told["source"] == "vee"]
    assert [told["index"] for told in told] == [str(one.place[0])]
    assert line(told[0]).split("\t")[2:5] == [
        "slot-missing", "name://1", f"record {one.place[0]}, replaced by {one.about.replaced_by}",
    ]  # fmt: skip
    assert f"{QUARTERS} {at(10)} to {at(11)}: " in line(told[0])


def test_the_list_of_findings_is_made_again_with_the_database(tmp_path: Path) -> None:
    small = begun(tmp_path, message(flat(11, 12) | {50: "0.4"}))
    small.close_day(DAY)
    small.take("headend", message({11: "0.1"}))
    small.close_day(DAY)
    before = listed(small)
    codes = [one.finding.code for one in before]
    assert codes == ["slot-missing", "energy-spike", "slot-missing"]
    small.close()
    rmtree(tmp_path / "scd")
    with closing(sqlite3.connect(tmp_path / "archive" / "archive.db")) as db:
        db.execute("DELETE FROM finding")
        db.commit()
    again = Small(tmp_path)
    assert listed(again) == before
    again.close()


def test_a_long_gap_is_as_the_weeks_before(tmp_path: Path) -> None:
    small = begun(tmp_path)
    for weeks, value in ((1, "0.2"), (2, "0.4")):
        days = 7 * weeks * 96
        small.take("headend", message({n - days: value for n in range(1, 97)}))
    small.take("headend", message(flat(*range(20, 40))))
    small.close_day(DAY)
    small.close_day(DAY)
    rows = shown(small, small.engine.stored_size, kind="reading", register=QUARTERS)
    estimates = [jcs.decode(row.record) for row in rows if row.rank == Rank.ESTIMATED]
    assert [one["value"] for one in estimates] == ["300"] * 20
    assert {one["derived"]["rule"] for one in estimates} == {"like-day"}
    small.close()
    check(tmp_path, 2)


def test_what_is_derived_is_made_again_from_the_log(tmp_path: Path) -> None:
    """A projection that is behind the log is caught up with, by the limits of then."""
    small = begun(tmp_path, message(flat(11)))
    small.close_day(DAY)
    size = small.engine.stored_size
    was = [row.record for row in small.stores.customer_db.records(0, size)]
    small.close()
    small = Small(tmp_path, vee=VeeRules(estimate=0))
    assert [row.record for row in small.stores.customer_db.records(0, size)] == was
    small.start()
    small.take("headend", message({11: "0.17"}))
    small.close_day(DAY)
    small.close()
    small = Small(tmp_path)  # without any
    small.start()
    small.take("headend", message({12: "0.18"}))
    small.close_day(DAY)
    small.close()
    check(tmp_path, 3)


def test_an_operator_puts_a_value_in_the_place_of_a_spike(tmp_path: Path) -> None:
    small = begun(tmp_path, message(flat() | {50: "40"}))
    first = small.close_day(DAY)
    assert found(small, first.index + 1) == [("energy-spike", at(49), at(50))]
    [info] = small.stores.registry.devices(None)
    asked = {"device": info.device, "register": QUARTERS, "begin": at(49), "end": at(50)}
    told = {"value": "110", "by": "N. Nemo", "why": "a fault of the pulse input"}
    small.command(**check_edit({**asked, **told}), nonce="1")
    second = small.close_day(DAY)
    assert slots(small, second)[49] == (3, 110_000)
    assert found(small, second.index + 1) == []
    [now] = [row for row in shown(small, second.index, register=QUARTERS) if row.rank == 3]
    assert jcs.decode(now.record)["edit"]["by"] == "N. Nemo"
    every = shown(small, second.index, register=QUARTERS, versions="all")
    assert [jcs.decode(row.record)["value"] for row in every if row.end_us == now.end_us] == [
        "40000",
        "110",
    ]
    small.close()
    check(tmp_path, 2)
