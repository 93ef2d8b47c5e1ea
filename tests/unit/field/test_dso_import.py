"""Exports of telemetering centres: CSV, JSON and CIM to values, with what is refused and why."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected, Stop
from bal.times import rfc3339
from field import dso_cim, dso_cim_in
from field.dso_centre import Centre, load
from field.dso_import import Export, read
from field.dso_value import Meter, Value

ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
REVERSE = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0"
VOLTAGE = "0.0.0.6.0.1.54.0.0.0.0.0.0.0.128.0.29.0"

WIDE = f"""
name = "athens-north"
format = "csv"
files = "*.csv"
encoding = "iso-8859-7"
decimal = ","
zone = "Europe/Athens"
time_format = "%d/%m/%Y %H:%M"
authority = "DEDDIE"
name_type = "MeterNumber"
[columns]
meter = "Μετρητής"
date = "Ημερομηνία"
time = "Ώρα"
quality = "Q"
[values."A+ kWh"]
register = "{ENERGY}"
unit = "kWh"
[values."A- kWh"]
register = "{REVERSE}"
unit = "kWh"
[qualities]
OK = ""
EST = "3.8.0"
"""
HEADER = "Μετρητής;Ημερομηνία;Ώρα;A+ kWh;A- kWh;Q\n"
LONG = f"""
format = "json"
items = "readings"
[columns]
meter = "pod"
time = "ts"
register = "channel"
value = "v"
[registers.import]
register = "{ENERGY}"
unit = "MWh"
"""


def centre(tmp_path: Path, text: str) -> Centre:
    (tmp_path / "centre.toml").write_text(text)
    return load(tmp_path)


def csv(rows: str) -> bytes:
    return (HEADER + rows).encode("iso-8859-7")


def told(export: Export) -> list[tuple[str, str, str, str]]:
    return [(v.meter.name, v.register, rfc3339(v.end_us), v.value) for v in export.values]


def test_a_wide_export_with_decimal_comma_and_local_time(tmp_path: Path) -> None:
    north = centre(tmp_path, WIDE)
    found = read(csv("M1;15/01/2026;12:15;0,210;;OK\nM2;15/01/2026;12:15;1,5;0,001;EST\n"), north)
    assert told(found) == [
        ("M1", ENERGY, "2026-01-15T10:15:00Z", "210"),
        ("M2", ENERGY, "2026-01-15T10:15:00Z", "1500"),
        ("M2", REVERSE, "2026-01-15T10:15:00Z", "1"),
    ]
    assert [one.qualities for one in found.values] == [(), ("3.8.0",), ("3.8.0",)]
    assert found.values[0].meter == Meter("M1", False, "MeterNumber", "DEDDIE")
    assert found.refused == []


def test_a_bad_row_never_costs_the_others(tmp_path: Path) -> None:
    rows = (
        "M1;15/01/2026;12:15;NaN;0,5;OK\n"
        "M1;15.01.2026;12:30;0,1;;OK\n"
        ";15/01/2026;12:30;0,1;;OK\n"
        "M1;15/01/2026;12:30;1.234,5;;OK\n"
        "M1;29/03/2026;03:30;0,1;;OK\n"
        "M1;15/01/2026;12:45;0,1;;bad\n"
        "M1;15/01/2026\n"
        "M9;15/01/2026;12:45;0,1;;OK\n"
        "M9;15/01/2026;12:45;0,2;;OK\n"
    )
    found = read(csv(rows), centre(tmp_path, WIDE))
    assert told(found) == [
        ("M1", REVERSE, "2026-01-15T10:15:00Z", "500"),
        ("M1", ENERGY, "2026-01-15T10:45:00Z", "100"),
        ("M9", ENERGY, "2026-01-15T10:45:00Z", "100"),
    ]
    assert [one.qualities for one in found.values] == [(), ("0.10.0",), ()]
    assert [(one.line, one.code) for one in found.refused] == [
        (2, "value-not-decimal"), (3, "time-malformed"), (4, "name-invalid"),
        (5, "value-not-decimal"), (7, "quality-malformed"), (8, "csv-malformed"),
        (6, "time-malformed"), (10, "slot-doubled"),
    ]  # fmt: skip


def day_rows(day: datetime, *, slots: int) -> tuple[str, list[datetime]]:
    zone = ZoneInfo("Europe/Athens")
    begin = day.replace(tzinfo=zone).astimezone(UTC)
    ends = [begin + timedelta(minutes=15 * (n + 1)) for n in range(slots)]
    rows = [f"M1;{e.astimezone(zone):%d/%m/%Y;%H:%M};{n};;OK" for n, e in enumerate(ends)]
    return "\n".join(rows), ends


@pytest.mark.parametrize(("day", "slots"), [((2026, 10, 25), 100), ((2026, 3, 29), 92)])
def test_days_of_25_and_23_hours_without_offsets(tmp_path: Path, day, slots) -> None:
    rows, ends = day_rows(datetime(*day), slots=slots)  # noqa: DTZ001
    found = read(csv(rows), centre(tmp_path, WIDE))
    assert found.refused == []
    assert [one.end_us for one in found.values] == [
        int(end.timestamp()) * 1_000_000 for end in ends
    ]


@pytest.mark.parametrize(("day", "slots"), [((2026, 10, 25), 100), ((2026, 3, 29), 92),
                                            ((2026, 1, 15), 96), ((2024, 12, 24), 96)])  # fmt: skip
def test_midnight_at_a_days_end_may_be_24_00(tmp_path: Path, day, slots) -> None:
    rows, ends = day_rows(datetime(*day), slots=slots)  # noqa: DTZ001
    head, _, last = rows.rpartition("\n")
    _, _, _, *rest = last.split(";")
    row = ";".join(["M1", f"{datetime(*day):%d/%m/%Y}", "24:00", *rest])  # noqa: DTZ001
    found = read(csv(f"{head}\n{row}"), centre(tmp_path, WIDE))
    assert found.refused == []
    assert [one.end_us for one in found.values] == [
        int(end.timestamp()) * 1_000_000 for end in ends
    ]


@pytest.mark.parametrize(
    ("form", "text", "end"),
    [
        ("%Y%m%d%H%M", "202412242400", "2024-12-24T22:00:00Z"),
        ("%d.%m.%y %H:%M:%S", "31.12.24 24:00:00", "2024-12-31T22:00:00Z"),
        ("", "2026-01-15T24:00:00", "2026-01-15T22:00:00Z"),
        ("", "2026-01-15T24:00+01:00", "2026-01-15T23:00:00Z"),
        ("", "2026-01-15T24:00Z", "2026-01-16T00:00:00Z"),
        ("%Y-%m-%d %H:%M", "2026-01-15 24:15", ""),
        ("%Y-%m-%d %H:%M", "2026-01-24 25:00", ""),
        ("%Y-%m-%d %H:%M:%S", "2026-01-15 12:24:24", "2026-01-15T10:24:24Z"),
        ("%Y-%m-%d %I:%M %p", "2026-01-15 24:00 AM", ""),
        ("%Y-%m-%d %H:%M", "9999-12-31 24:00", ""),
    ],
)
def test_hour_24_in_any_form(tmp_path: Path, form: str, text: str, end: str) -> None:
    """XML Schema 1.1 part 2 §3.3.7.2, and the same in other forms."""
    toml = LONG.replace("[columns]", f'time_format = "{form}"\nzone = "Europe/Athens"\n[columns]')
    sent = {"pod": "1", "ts": text, "channel": "import", "v": "1"}
    found = read(json.dumps({"readings": [sent]}).encode(), centre(tmp_path, toml))
    assert [rfc3339(one.end_us) for one in found.values] == ([end] if end else [])


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [  # clocks that change at midnight: forward, so that it never shows, and back, so twice
        ("Asia/Beirut", "28/03/2026", "2026-03-28T22:00:00Z"),
        ("America/Havana", "31/10/2026", "2026-11-01T04:00:00Z"),
    ],
)
def test_a_day_ends_where_the_clocks_change_at_midnight(
    tmp_path: Path, zone: str, day: str, end: str
) -> None:
    toml = WIDE.replace("Europe/Athens", zone)
    found = read(csv(f"M1;{day};24:00;1;;OK\n"), centre(tmp_path, toml))
    assert [rfc3339(one.end_us) for one in found.values] == [end]


def test_an_unknown_status_leaves_the_value_and_is_told(tmp_path: Path) -> None:
    rows = "M1;15/01/2026;12:15;0,1;0,2;SUSPECT\nM1;15/01/2026;12:30;0,1;;2.5.256 odd\n"
    found = read(csv(rows), centre(tmp_path, WIDE))
    assert [one.qualities for one in found.values] == [("0.10.0",), ("0.10.0",),
                                                       ("0.10.0", "2.5.256")]  # fmt: skip
    assert [(one.line, one.code) for one in found.refused] == [
        (2, "quality-malformed"), (3, "quality-malformed"),
    ]  # fmt: skip
    assert found.refused_count == 0
    assert "SUSPECT" not in found.refused[0].text


def test_an_unknown_quality_in_cim_leaves_the_value(tmp_path: Path) -> None:
    """IEC 61968-9 annex D: three numbers, or no code of it."""
    value = Value(Meter("M"), ENERGY, 1_768_471_200_000_000, "210", ("3.8.0",))
    raw = dso_cim.document([value]).replace(b"3.8.0", b"ESTIMATED")
    found = read(raw, centre(tmp_path, 'format = "cim"\n'))
    assert [one.qualities for one in found.values] == [("0.10.0",)]
    assert [one.code for one in found.refused] == ["quality-malformed"]
    assert found.refused_count == 0


def test_half_of_the_hour_that_comes_twice_is_not_guessed(tmp_path: Path) -> None:
    rows = "M1;25/10/2026;03:30;0,1;;OK\nM1;25/10/2026;04:00;0,1;;OK\n"
    found = read(csv(rows), centre(tmp_path, WIDE))
    assert [one.code for one in found.refused] == ["time-ambiguous"]
    assert len(found.values) == 1


def test_json_rows_keep_the_numbers_text(tmp_path: Path) -> None:
    plain = centre(tmp_path, LONG)
    raw = (
        b'{"readings":[{"pod":"P1","ts":"2026-01-15T12:15:00+02:00","channel":"import",'
        b'"v":0.00021000000000000001},{"pod":"P1","ts":"2026-01-15T12:15:00","channel":"import",'
        b'"v":1},{"pod":"P1","ts":"2026-01-15T12:30:00Z","channel":"x","v":1},7,'
        b'{"pod":"P1","ts":"2026-01-15T12:45:00Z","channel":"import","v":1e3},'
        b'{"pod":"P1","ts":"2026-01-15T13:00:00Z","channel":"import","v":1e41}]}'
    )
    found = read(raw, plain)
    assert told(found) == [
        ("P1", ENERGY, "2026-01-15T10:15:00Z", "210.00000000000001"),
        ("P1", ENERGY, "2026-01-15T12:45:00Z", "1000000000"),
    ]
    codes = [(one.line, one.code) for one in found.refused]
    assert codes == [
        (2, "time-without-offset"), (3, "register-unknown"), (4, "member-missing"),
        (6, "value-not-decimal"),
    ]  # fmt: skip


DAILY = """
format = "json"
zone = "Europe/Athens"
stamps = "begin"
[columns]
meter = "pod"
time = "ts"
[values.v]
register = "11.0.0.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
unit = "kWh"
"""


@pytest.mark.parametrize("form", ["", "%d.%m.%Y"])
@pytest.mark.parametrize(
    ("day", "hours"), [("2026-10-25", 25), ("2026-03-29", 23), ("2026-01-15", 24)]
)
def test_a_value_of_a_day_ends_at_the_next_local_midnight(tmp_path, form, day, hours) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Athens"))
    text = midnight.strftime(form) if form else day
    mapping = DAILY.replace("stamps", f'time_format = "{form}"\nstamps') if form else DAILY
    raw = f'[{{"pod":"P","ts":"{text}","v":1}}]'.encode()
    [value] = read(raw, centre(tmp_path, mapping)).values
    assert value.end_us == (int(midnight.timestamp()) + hours * 3600) * 1_000_000


@pytest.mark.parametrize("text", ["2026-10-25", "20261025", "2026-W43-7"])
def test_a_date_alone_is_no_end_of_anything(tmp_path: Path, text: str) -> None:
    """Read as its midnight it would give each value to the day before."""
    raw = f'[{{"pod":"P","ts":"{text}","v":1}}]'.encode()
    found = read(raw, centre(tmp_path, DAILY.replace("begin", "end")))
    assert [one.code for one in found.refused] == ["time-malformed"]
    assert found.values == []


@pytest.mark.parametrize(
    ("row", "code"),
    [("M1,2026-01-15T10:15:00Z,0,210", "csv-malformed"),  # 0,210 is two cells: no 0 kWh
     ("M1,2026-01-15T10:15:00Z", "csv-malformed"), ("M1,2026-01-15T10:15:00Z,1,", None)],
)  # fmt: skip
def test_a_row_of_another_length_than_the_header_has_no_value(tmp_path, row, code) -> None:
    text = 'format = "csv"\ndelimiter = ","\ndecimal = ","\n[columns]\nmeter = "m"\ntime = "t"\n'
    plain = centre(tmp_path, f'{text}[values.v]\nregister = "{ENERGY}"\nunit = "kWh"\n')
    found = read(f"m,t,v\n{row}\n".encode(), plain)
    assert [one.code for one in found.refused] == ([code] if code else [])
    assert len(found.values) == (0 if code else 1)


@pytest.mark.parametrize(
    ("sent", "code"),
    [('"v":true', "member-type"), ('"v":[1]', "member-type"), ('"V":1', "member-missing"),
     ('"v":null', None), ('"v":""', None)],
)  # fmt: skip
def test_no_value_of_json_is_lost_in_silence(tmp_path: Path, sent: str, code: str | None) -> None:
    row = f'{{"pod":"P","ts":"2026-01-15T10:15:00Z","channel":"import",{sent}}}'
    found = read(f'{{"readings":[{row}]}}'.encode(), centre(tmp_path, LONG))
    assert [(one.line, one.code) for one in found.refused] == ([(1, code)] if code else [])


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"[]", "member-type"),
        (b'{"readings":[', "json-malformed"),
        (b"\xff", "json-malformed"),
        (b'{"readings":[],"readings":[]}', "json-duplicate-key"),
        (b"[" * 100_000, "json-malformed"),
    ],
)
def test_json_that_is_none(tmp_path: Path, raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(raw, centre(tmp_path, LONG))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "no-reading"), (b"a;b\n1;2", "csv-malformed"),
        ((HEADER + 'M1;"').encode("iso-8859-7"), "csv-malformed"),
        ((HEADER.strip() + ";Q\n").encode("iso-8859-7"), "csv-malformed"),
    ],
)  # fmt: skip
def test_csv_that_is_none(tmp_path: Path, raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(raw, centre(tmp_path, WIDE))
    assert refused.value.code == code


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "dso-server.md").read_text()
    blocks = [block.split("```", 1)[0] for block in page.split("```toml\n")[1:]]
    export = page.split("```csv\n")[1].split("```")[0]
    found = read(export.encode(), centre(tmp_path, blocks[0]))
    assert found.refused == []
    assert {one.value for one in found.values} == {"210", "0", "198"}
    assert load(tmp_path).name == "athens-north"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("format = 'xlsx'", "format is one of"), ("format = 'csv'\nmeter = 'x'", "no key meter"),
        ("format = 'csv'", "columns are meter, time"), ("format = 7", "format is a text"),
        (WIDE.replace("kWh\"\n[v", "kvarh\"\n[v"), "another unit"),
        (WIDE.replace("Europe/Athens", "Europe/Nowhere"), "Nowhere"),
        (WIDE.replace(ENERGY, "1.2.3"), "18 numbers"), ("=", "centre.toml"),
        (WIDE.replace("iso-8859-7", "klingon"), "klingon"),
        (LONG.replace('"MWh"', '"MWh"\nx = 1'), "needs register and unit"),
        (DAILY.replace('stamps = "begin"', 'time_format = "%d.%m.%Y"'), "a date alone"),
    ],
)  # fmt: skip
def test_a_mapping_that_is_none_names_what_is_wrong(tmp_path, text, reason) -> None:
    with pytest.raises(Stop, match=reason):
        centre(tmp_path, text)


# --- laws ---------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1,
                max_size=20)  # fmt: skip
DECIMALS = st.decimals(-(10**12), 10**12, places=6).map(lambda d: f"{d:f}")
VALUES = st.builds(
    Value,
    st.builds(Meter, NAMES, st.booleans(), st.just(""), st.just("")),
    st.sampled_from([ENERGY, REVERSE, VOLTAGE]),
    st.integers(0, 2**41).map(lambda s: s % 4_102_444_800 * 1_000_000),
    st.integers(-(10**15), 10**15).map(str),
    st.lists(st.sampled_from(["3.7.0", "1.0.0", "2.8.1"]), unique=True).map(
        lambda codes: tuple(sorted(codes))
    ),
)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_cim_in_utf_16_is_refused_as_what_it_is(tmp_path: Path, encoding: str) -> None:
    raw = dso_cim.document([Value(Meter("M"), ENERGY, 0, "1", ("1.0.0",))]).decode()
    with pytest.raises(Rejected) as refused:
        read(raw.replace("UTF-8", "UTF-16").encode(encoding), centre(tmp_path, 'format = "cim"'))
    assert (refused.value.code, refused.value.text) == ("not-utf8", "text in UTF-16, not UTF-8")


@given(st.lists(VALUES, min_size=1, max_size=12))
def test_cim_that_was_written_is_read_as_it_was(values: list[Value]) -> None:
    """In an IEC 61968-100 EventMessage (Message.xsd) and without."""
    values.sort(key=lambda one: one.meter)
    refused: list[Rejected] = []
    for raw in (dso_cim.document(values), dso_cim.write(values, message_id="1", made_us=0)):
        found = [v for _, v in dso_cim_in.read(raw, "", "", *[lambda e, _: refused.append(e)] * 2)]
        assert sorted(found, key=repr) == sorted(values, key=repr)
    assert refused == []


@given(st.lists(st.tuples(NAMES, DECIMALS), max_size=8))
def test_decimals_stay_exact(tmp_path_factory, rows) -> None:
    folder = tmp_path_factory.mktemp("c")
    plain = centre(folder, LONG)
    sent = [
        {"pod": f"{n}", "ts": "2026-01-15T12:15:00Z", "channel": "import", "v": value}
        for n, (_, value) in enumerate(rows)
    ]
    found = read(json.dumps({"readings": sent}).encode(), plain)
    assert [Decimal(one.value) for one in found.values] == [
        Decimal(value) * 1_000_000 for _, value in rows
    ]


@given(st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode)),
       st.integers(0, 3), st.integers(0, 400))  # fmt: skip
def test_any_bytes_are_read_or_refused(tmp_path_factory, raw, kind, at) -> None:
    """Random bytes, and random bytes in the middle of a good export."""
    folder = tmp_path_factory.mktemp("c")
    good = [
        csv("M1;15/01/2026;12:15;0,210;;OK\n"),
        b'{"readings":[{"pod":"P","ts":"2026-01-15T12:15:00Z","channel":"import","v":1}]}',
        dso_cim.document([Value(Meter("M"), ENERGY, 0, "1", ("1.0.0",))]),
        b"",
    ][kind]
    for text in (WIDE, LONG, 'format = "cim"'):
        one = centre(folder, text)
        for tried in (raw, good[:at] + raw + good[at:]):
            with suppress(Rejected):
                read(tried, one)
