"""What a message of C37.118 frames means (docs/spec/c37118.md).

IEEE C37.118.2 §6.2.2 (time quality, leap seconds), IEEE C37.118.2 §6.3 (STAT, values).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.c37118.config import POLAR, Analog, Config, Digital, Phasor, Pmu
from bal.c37118.data import Data, Layout
from bal.c37118.frame import CFG_1, CFG_3, HEADER, seal
from bal.c37118.writer import command_frame, config_frames, data_frame, header_frame
from bal.collect.guard import guard
from bal.errors import Rejected
from bal.harmonise import turned_away
from bal.harmonise.phasors import rate_of
from bal.model import Harmonised, Subject
from bal.windows import Windows
from tests.c37118_streams import BEGIN_S, block, config, configs, data_of, frame, messages, pmu
from tests.unit.c37118.captures import payloads
from tests.unit.harmonise.test_any_bytes import damaged

Take = Callable[..., Harmonised]


@pytest.fixture(scope="session")
def read(take: Take) -> Take:
    def through(raw: bytes) -> Harmonised:
        guard(raw, "c37118")
        return take(raw, "c37118")

    return through


def one_pmu(
    phasors: Sequence[Phasor],
    form: int,
    values: Sequence[float],
    *,
    kind: int = 3,
    analogs: Sequence[Analog] = (),
    digitals: Sequence[Digital] = (),
    quality: int = 0,
) -> bytes:
    """A message of one frame. values: STAT and what follows."""
    of = Pmu("North", 7, form, tuple(phasors), tuple(analogs), tuple(digitals), fnom=1)
    whole = config(of, kind=kind)
    data = Data(BEGIN_S, quality, 20_000, tuple(values))  # type: ignore[arg-type]
    return b"".join(config_frames(whole)) + data_frame(Layout(whole), data)


def only(found: Harmonised) -> dict[str, Any]:
    assert found.refused == []
    [made] = found.frames
    said = jcs.decode(made.data)
    assert jcs.encode(said) == made.data
    return dict(said)


def test_the_example_of_the_page(read: Take) -> None:
    raw = one_pmu(
        [Phasor("VA", component=4), Phasor("I1", is_current=True, component=1)], 15,
        [0, 230.5, -1.25, 12.5, 0.5, 50.0125, -0.25, 3], kind=CFG_3,
        digitals=[Digital(("open",) * 16)],
    )  # fmt: skip
    found = read(raw)
    assert only(found) == {
        "quality": ["1.0.0"],
        "readings": [
            {"component": "VA", "data": "230.5", "measurand": "voltmagnitude", "phase": "A"},
            {"component": "VA", "data": "-1.25", "measurand": "voltangle", "phase": "A"},
            {"component": "I1", "data": "12.5", "measurand": "currmagnitude", "phase": "positive"},
            {"component": "I1", "data": "0.5", "measurand": "currangle", "phase": "positive"},
            {"component": "FREQ", "data": "50.0125", "measurand": "frequency", "phase": "none"},
            {"component": "DFREQ", "data": "-0.25", "measurand": "rocof", "phase": "none"},
            {"component": "DIGITAL 1", "data": "3", "measurand": "digital", "phase": "none"},
        ],
        "stat": "0000",
        "time": "2026-01-15T10:00:00.02Z",
        "timeQuality": "00",
    }
    [part] = found.parts
    assert (part.start, part.end) == (0, len(raw))
    assert part.subject == found.frames[0].subject
    assert found.frames[0].evidence == part.commitment


@pytest.mark.parametrize(
    ("form", "kind", "values", "texts"),
    [
        # PHUNIT 915,527: 9.15527 V a bit
        (POLAR, 3, [0, 25_000, -15_708, 12, -25], ["228881.75", "-1.5708", "50.012", "-0.25"]),
        (0, 3, [0, 3, 4, -12, 25], ["45.77635", "0.927295218", "49.988", "0.25"]),
        (POLAR, CFG_3, [0, 2, 10_000, 0, 0], ["18.31054", "0.5", "50", "0"]),
        (0, CFG_3, [0, 3, 4, 0, 0], ["45.77635", "0.427295218", "50", "0"]),
        (2, 3, [0, 3.0, 4.0, 0, 0], ["5", "0.927295218", "50", "0"]),
        (3, 3, [0, 3.0, 4.0, 0, 0], ["3", "4", "50", "0"]),
        (8, 3, [0, 0, 0, 49.5, 1.5], ["0", "0", "49.5", "1.5"]),
    ],
)
def test_every_notation(
    read: Take, form: int, kind: int, values: list[float], texts: list[str]
) -> None:
    phasor = Phasor("VA", factor=915_527, component=4, scale=9.15527, angle_rad=0.5)
    said = only(read(one_pmu([phasor], form, values, kind=kind)))
    assert [one["data"] for one in said["readings"]] == texts


def test_analog_values(read: Take) -> None:
    analog = Analog("tap", 1, 5, scale=0.1, offset=-2.5)
    for form, kind, sent, text in (
        (0, 3, -7, "-7"), (0, CFG_3, -7, "-3.2"), (4, 3, 0.5, "0.5"), (4, CFG_3, 0.5, "0.5"),
    ):  # fmt: skip
        said = only(read(one_pmu([], form, [0, 0, 0, sent], kind=kind, analogs=[analog])))
        assert said["readings"][-1] == {
            "component": "tap", "data": text, "measurand": "analog", "phase": "none",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("stat", "quality", "codes"),
    [
        (0, 0, ["1.0.0"]),
        (0x0F0F, 0, ["1.11.0"]),  # trigger, configuration change, modified, trigger reason
        (0x0C0F, 0, ["1.0.0"]),
        (0x4000, 0, ["1.10.0"]),
        (0x2000, 0, ["1.10.0"]),
        (0x1000, 0, ["1.10.0"]),
        (0x01C0, 0, ["1.10.0"]),
        (0x0180, 8, ["1.0.0"]),
        (0, 9, ["1.10.0"]),
        (0x0200, 0x0F, ["1.10.0", "1.11.0"]),
        (0, 0x60, ["1.0.0"]),
    ],
)
def test_stat_and_time_become_quality(
    read: Take, stat: int, quality: int, codes: list[str]
) -> None:
    """IEEE C37.118.2 table 7 (STAT), IEEE C37.118.2 tables 3, 4 (time quality)."""
    found = read(one_pmu([], 0, [stat, 0, 0], quality=quality))
    said = only(found)
    assert said["quality"] == codes
    assert list(found.frames[0].quality) == codes
    assert (said["stat"], said["timeQuality"]) == (f"{stat:04x}", f"{quality:02x}")
    told = ["clock-failed"] if quality & 15 == 15 else []
    told = told or ["frame-questionable"] * ("1.10.0" in codes)
    assert [one.code for one in found.findings] == told


@pytest.mark.parametrize("stat", [0x8000, 0xC000])
def test_values_that_are_not_to_be_used_are_left_out(read: Take, stat: int) -> None:
    of = config()
    layout = Layout(of)
    raw = b"".join([*config_frames(of), frame(layout, 0, stat=stat), frame(layout, 1)])
    found = read(raw)
    assert len(found.frames) == 1
    [told] = found.findings
    assert (told.code, told.field) == ("data-not-usable", "/pmus/0")
    assert told.text.startswith("1 frame whose STAT")


def test_why_frames_are_questionable_is_told_once_a_reason(read: Take) -> None:
    of = config()
    layout = Layout(of)
    stats = [0x2000, 0x3000, 0x2000, 0]
    data = [frame(layout, n, stat=stat) for n, stat in enumerate(stats)]
    found = read(b"".join([*config_frames(of), *data]))
    assert len(found.frames) == 4
    assert [(one.code, one.severity, one.field, one.text) for one in found.findings] == [
        ("frame-questionable", "warning", "/pmus/0",
         "3 frames questionable by STAT or time quality: not synchronised"),
        ("frame-questionable", "warning", "/pmus/0",
         "1 frame questionable by STAT or time quality: sorted by arrival"),
    ]  # fmt: skip


def test_absent_values_are_left_out(read: Take) -> None:
    phasors = [Phasor("VA"), Phasor("VB")]
    for form, values, left in (
        (15, [0, nan, 1.0, 2.0, 3.0, nan, inf], ["VB", "VB"]),
        (1, [0, 5, -0x8000, 6, 7, -0x8000, 1], ["VB", "VB", "DFREQ"]),
        (0, [0, 5, 4, -0x8000, 7, 0, -0x8000], ["VA", "VA", "FREQ"]),
    ):
        found = read(one_pmu(phasors, form, values))
        assert [one["component"] for one in only(found)["readings"]] == left
        [told] = found.findings
        assert (told.code, told.text[:2]) == ("value-absent", f"{6 - len(left)} ")
    found = read(one_pmu([], 15, [0, nan, nan]))
    assert (found.frames, [one.code for one in found.findings]) == ([], ["value-absent"])


def test_names_of_channels(read: Take) -> None:
    phasors = [Phasor(name) for name in ("VA", "VA", "", "%s", "a\x01")]
    said = only(read(one_pmu(phasors, 15, [0, *range(1, 11), 50.0, 0.0])))
    names = [one["component"] for one in said["readings"][::2]]
    assert names == ["VA", "VA #2", "#3", "%s", "#5", "FREQ"]
    assert {one["phase"] for one in said["readings"][:-2]} == {"unstated"}


def test_several_pmus(read: Take, subject: Callable[[str], Subject], owners: Any) -> None:
    of = config(pmu(1, 0, station="North"), pmu(2, station="South"))
    [raw] = messages(of, 0, 3)
    found = read(raw)
    names = ["name:c37.118/1/North", "name:c37.118/2/South"]
    assert [one.subject for one in found.frames] == [subject(name) for name in names] * 3
    assert [one.number for one in found.frames] == [2, 3, 4, 5, 6, 7]
    [part] = found.parts
    assert part.subject == owners[1], "it can't be cut: CHK is over all"


def test_one_that_nobody_may_speak_for_costs_no_other(read: Take) -> None:
    of = config(pmu(1, station="forbidden"), pmu(2, station="South"))
    [raw] = messages(of, 0, 3)
    found = read(raw)
    assert len(found.frames) == 3
    [told] = found.refused
    assert (told.code, told.field) == ("subject-not-allowed", "/pmus/0")
    alone = read(next(messages(config(pmu(1, station="forbidden")), 0, 3)))
    assert alone.frames == []
    assert len(alone.refused) == 1


def test_a_station_without_a_name_is_its_idcode(
    read: Take, subject: Callable[[str], Subject]
) -> None:
    found = read(next(messages(config(pmu(9, station="")), 0, 1)))
    assert found.frames[0].subject == subject("name:c37.118/9/9")


def test_the_capture(read: Take, shared_data: Path) -> None:
    folder = shared_data / "captures" / "c37118"
    frames = payloads(folder / "C37.118_1PMU_UDP.pcap")
    sent = [raw for raw in frames if raw[1] in {0x31, 0x01}]
    found = read(b"".join(sent))
    assert (len(found.frames), found.refused, found.findings) == (356, [], [])
    times = [one.time_us for one in found.frames]
    assert times == [1_217_607_491_580_000 + n * 20_000 for n in range(356)]
    first = jcs.decode(found.frames[0].data)
    by_channel = {(one["component"], one["measurand"]): one["data"] for one in first["readings"]}
    assert by_channel == {  # IEEE 754 of the words in TShark's `synphasor.data`
        ("VA", "voltmagnitude"): "100.07758", ("VA", "voltangle"): "-1.5673449",
        ("VB", "voltmagnitude"): "99.946236", ("VB", "voltangle"): "2.6199434",
        ("VC", "voltmagnitude"): "100.009895", ("VC", "voltangle"): "0.52634716",
        ("FREQ", "frequency"): "50", ("DFREQ", "rocof"): "0", ("DIGITAL 1", "digital"): "0",
    }  # fmt: skip
    again = read(b"".join(f for f in frames if f[1] != 0x41) + frames[0])
    assert [one.code for one in again.findings] == ["frame-not-mapped"]


# --- what can be wrong ----------------------------------------------------------------------------


OF = config()
CONFIG = b"".join(config_frames(OF))
FRAMES = [frame(Layout(OF), n) for n in range(4)]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "checksum-wrong"),
        (lambda raw: raw[:2] + b"\0\0" + raw[4:], "frame-size-wrong"),
        (lambda raw: raw[:2] + b"\0\x0f" + raw[4:], "frame-size-wrong"),
        (lambda raw: raw[:2] + b"\xff\xff" + raw[4:], "frame-size-wrong"),
        (lambda raw: b"\0" + raw[1:], "sync-lost"),
        (lambda raw: seal(0, 60, BEGIN_S, 1_000_000, raw[14:-2], version=1), "time-malformed"),
        (lambda raw: seal(0, 61, BEGIN_S, 0, raw[14:-2], version=1), "frame-unexpected"),
        (lambda raw: seal(0, 60, BEGIN_S, 0, raw[14:-4], version=1), "data-size-wrong"),
    ],
)
def test_a_damaged_frame_costs_no_other(read: Take, damage: Any, code: str) -> None:
    raw = b"".join([CONFIG, FRAMES[0], damage(FRAMES[1]), *FRAMES[2:]])
    found = read(raw)
    assert len(found.frames) == 3
    [told] = found.refused
    assert (told.code, told.field) == (code, "/frames/2")


def test_thousands_of_one_kind_are_counted(read: Take) -> None:
    bad = seal(0, 61, BEGIN_S, 0, FRAMES[0][14:-2], version=1)
    found = read(CONFIG + bad * 250 + FRAMES[0])
    assert len(found.frames) == 1
    assert len(found.refused) == 101
    assert found.refused[-1].text == "150 more of these"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (FRAMES[0], "config-missing"),
        (config_frames(replace(OF, kind=CFG_1))[0] + FRAMES[0], "config-missing"),
        (b"{}", "sync-lost"),
        (CONFIG[:-1], "frame-incomplete"),
        (CONFIG[:-1] + b"\0" + FRAMES[0], "checksum-wrong"),
        (CONFIG[:2] + b"\0\x0f" + CONFIG[4:] + FRAMES[0], "frame-size-wrong"),
        (CONFIG, "no-reading"),
        (b"".join(config_frames(replace(OF, kind=CFG_3), size_max=200)[:-1]) + FRAMES[0],
         "config-missing"),
        (seal(3, 60, 1, 0, bytes(40), version=1) + FRAMES[0], "config-malformed"),
    ],
)  # fmt: skip
def test_what_is_refused_as_a_whole(read: Take, raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as raised:
        read(raw)
    assert raised.value.code == code


def test_another_configuration_ends_the_message(read: Take) -> None:
    other = b"".join(config_frames(config(pmu(8))))
    found = read(CONFIG + FRAMES[0] + CONFIG + FRAMES[1] + other + FRAMES[2])
    assert len(found.frames) == 2
    assert [one.code for one in found.refused] == ["frame-unexpected"]


def test_other_frames_are_evidence_only(read: Take) -> None:
    between = [header_frame(60, BEGIN_S, "hello"), command_frame(60, 2, BEGIN_S)]
    found = read(CONFIG + between[0] + FRAMES[0] + between[1] + FRAMES[1])
    assert len(found.frames) == 2
    assert [one.code for one in found.findings] == ["frame-not-mapped"] * 2
    assert HEADER == 1


def test_fragments(read: Take) -> None:
    of = replace(OF, kind=CFG_3)
    for size in (100, 200, 500):
        found = read(b"".join([*config_frames(of, size_max=size), *FRAMES]))
        assert len(found.frames) == 4


def test_the_leap_second(read: Take) -> None:
    """2016-12-31T23:59:60Z: SOC shows midnight while the leap second is pending."""
    midnight = 1_483_228_800
    layout = Layout(OF)

    def at(soc: int, quality: int) -> bytes:
        values = tuple(block(OF.pmus[0], 0))
        return data_frame(layout, Data(soc, quality, 0, values))  # type: ignore[arg-type]

    found = read(CONFIG + at(midnight - 1, 0x10) + at(midnight, 0x10) + at(midnight, 0x20))
    assert [one.time_us // 1_000_000 for one in found.frames] == [midnight - 1, midnight]
    [told] = found.refused
    assert (told.code, told.field) == ("time-leap-second", "/frames/2")
    deleted = read(CONFIG + at(midnight - 2, 0x50) + at(midnight, 0x50))
    assert len(deleted.frames) == 2


def test_scales_of_floats_are_told(read: Take) -> None:
    phasor = Phasor("VA", component=4, scale=2.0)
    found = read(one_pmu([phasor], 15, [0, 230.0, 0.0, 50.0, 0.0], kind=CFG_3))
    assert [one.code for one in found.findings] == ["scale-not-applied"]
    assert only(found)["readings"][0]["data"] == "230"


def test_what_windows_turned_away_is_told(read: Take) -> None:
    of = config(pmu(1), pmu(2))
    [raw] = messages(of, 0, 3)
    why = {3: ("frame-conflict", "another"), 4: ("frame-duplicate", "again")}
    told = list(turned_away(raw, "c37118", why))
    assert [(one.code, one.severity, one.field) for one in told] == [
        ("frame-conflict", "refused", "/frames/1/pmus/1"),
        ("frame-duplicate", "info", "/frames/2/pmus/0"),
    ]
    assert list(turned_away(raw, "c37118", {})) == []


def test_windows_have_the_quality_of_their_frames(read: Take) -> None:
    windows = Windows(rate_of)
    layout = Layout(OF)
    stream = [frame(layout, n, stat=0x2000 if n == 7 else 0) for n in range(160)]
    found = read(CONFIG + b"".join(stream))
    fed = windows.feed("pdc", 0, (BEGIN_S + 60) * 1_000_000, found.frames)
    assert [one.quality for one in fed.closed] == [("1.0.0", "1.10.0"), ("1.0.0",)]
    assert [len(one.frames) for one in fed.closed] == [50, 50]


# --- any bytes ------------------------------------------------------------------------------------


def settle(read: Take, raw: bytes) -> Harmonised | None:
    try:
        found = read(raw)
    except Rejected:
        return None
    for one in found.frames:
        said = jcs.decode(one.data)
        assert jcs.encode(said) == one.data
        channels = [(r["component"], r["measurand"], r["phase"]) for r in said["readings"]]
        assert tuple(channels) == one.channels
        assert len(set(channels)) == len(channels)
    assert len({one.number for one in found.frames}) == len(found.frames)
    assert json.dumps([one.as_json() for one in [*found.findings, *found.refused]])
    return found


@settings(max_examples=200)
@given(st.sampled_from([3, CFG_3]), st.data())
def test_any_stream_is_read(read: Take, kind: int, data: st.DataObject) -> None:
    of: Config = data.draw(configs(kind))
    layout = Layout(of)
    frames = [data_frame(layout, data.draw(data_of(of))) for _ in range(2)]
    settle(read, b"".join([*config_frames(of), *frames]))


@settings(max_examples=300)
@given(st.data())
def test_damaged_messages(read: Take, data: st.DataObject) -> None:
    settle(read, damaged(CONFIG + b"".join(FRAMES), data))


@given(st.binary(max_size=200))
def test_any_bytes(read: Take, raw: bytes) -> None:
    settle(read, raw)
    settle(read, CONFIG + raw)
