"""Frames written and read, and read as an independent decoder reads them.

IEEE C37.118.2 §6.2, §6.3 and §6.4: what all have, data, configurations.
"""

import json
from itertools import pairwise
from math import isnan
from pathlib import Path
from struct import pack, unpack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.c37118 import config as config_module
from bal.c37118.config import Fragments, read_config
from bal.c37118.data import Layout
from bal.c37118.frame import (
    CFG_1,
    CFG_2,
    CFG_3,
    COMMAND,
    HEADER,
    SEND_CFG_3,
    command_of,
    head,
    is_whole,
    seal,
    time_us,
)
from bal.c37118.splitter import split
from bal.c37118.writer import command_frame, config_frames, data_frame, header_frame
from bal.errors import Rejected
from tests.c37118_streams import config, configs, data_of, frame, pmu
from tests.unit.c37118.captures import payloads

CAPTURES = "captures/c37118"


def bits(values: tuple[float, ...]) -> list[object]:
    """Floats by their bits, so that NaN is itself."""
    return [pack(">d", one) if isinstance(one, float) else one for one in values]


@settings(max_examples=200)
@given(st.sampled_from([CFG_1, CFG_2, CFG_3]), st.integers(0, 15), st.data())
def test_every_format_is_read_as_written(kind: int, form: int, data: st.DataObject) -> None:
    """FORMAT (IEEE C37.118.2 table 9), of each configuration (IEEE C37.118.2 tables 8, 10, 11)."""
    of = data.draw(configs(kind, form))
    frames = config_frames(of, size_max=data.draw(st.integers(32, 0xFFFF)))
    assert read_config(frames) == of
    layout, sent = Layout(of), data.draw(data_of(of))
    raw = data_frame(layout, sent)
    found = layout.read(raw)
    assert found[:3] == sent[:3]
    assert bits(found.values) == bits(unpacked(layout, sent.values))
    assert sum(span.stop - span.start for span in layout.spans) == len(found.values)
    if not any(isnan(value) for value in found.values):
        assert data_frame(layout, found) == raw


def unpacked(layout: Layout, values: tuple[float, ...]) -> tuple[float, ...]:
    """Quiet NaN, as a float of 32 bits makes it of a signalling one."""
    return tuple(unpack(">f", pack(">f", v))[0] if isinstance(v, float) else v for v in values)


@given(configs(CFG_3), st.integers(32, 90))
def test_fragments_come_together(of: Any, size: int) -> None:
    """CONT_IDX (IEEE C37.118.2 table 10)."""
    frames = config_frames(of, size_max=size)
    together = Fragments()
    if len(frames) > config_module.FRAGMENTS_MAX:
        with pytest.raises(Rejected, match="config-incomplete"):
            list(map(together.add, frames))
        return
    assert [one for raw in frames[:-1] for one in together.add(raw)] == []
    assert list(together.add(frames[-1])) == frames


@given(configs(CFG_3), st.data())
def test_a_missing_fragment_is_told_and_the_next_first_one_begins_anew(
    of: Any, data: st.DataObject
) -> None:
    frames = config_frames(of, size_max=60)[: config_module.FRAGMENTS_MAX]
    if len(frames) < 3:
        return
    missing = data.draw(st.integers(0, len(frames) - 2))
    if missing == len(frames) - 2:
        missing -= 1  # the one before the last is told by nothing but the body's end
    together = Fragments()
    with pytest.raises(Rejected, match="config-incomplete") as told:
        list(map(together.add, [*frames[:missing], *frames[missing + 1 :]]))
    assert told.value.clause == "IEEE C37.118.2-2011 §6.4"
    assert [one for raw in frames[:-1] for one in together.add(raw)] == []


def test_commands_and_headers() -> None:
    """IEEE C37.118.2 §6.5, §6.6, table 15."""
    raw = command_frame(60, SEND_CFG_3, 17)
    assert (head(raw).kind, head(raw).idcode, head(raw).soc) == (COMMAND, 60, 17)
    assert command_of(raw) == SEND_CFG_3
    with pytest.raises(Rejected, match="frame-size-wrong"):
        command_of(seal(COMMAND, 1, 2, 3, b"", version=1))
    raw = header_frame(60, 17, "a PMU")
    assert (head(raw).kind, raw[14:-2]) == (HEADER, b"a PMU")
    with pytest.raises(ValueError, match="65535 bytes"):
        seal(HEADER, 1, 2, 3, bytes(65_530), version=1)


def test_the_check_word_of_ccitt() -> None:
    """IEEE C37.118.2 table 2, CHK: the published check value of CRC-CCITT from FFFF."""
    assert is_whole(b"123456789" + (0x29B1).to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda body: bytes(4) + body[4:], "TIME_BASE is 0"),
        (lambda body: body[:4] + b"\xff\xff" + body[6:], "NUM_PMU is 65535"),
        (lambda body: body[:4] + b"\0\0" + body[6:], "NUM_PMU is 0"),
        (lambda body: body[:4] + b"\0\2" + body[6:], "within PMU 2 of 2"),
        (lambda body: body[:-1], "ends within DATA_RATE"),
        (lambda body: body + b"\0", "1 bytes are left"),
        (lambda body: body[:26] + b"\xff" * 6 + body[32:], "more than 1024 values"),
        (lambda body: body[:5], "within TIME_BASE and NUM_PMU"),
    ],
)
def test_a_malformed_configuration_says_where(change: Any, text: str) -> None:
    [good] = config_frames(config())
    raw = seal(CFG_2, 60, 1, 0, change(good[14:-2]), version=1)
    with pytest.raises(Rejected, match=text) as raised:
        read_config([raw])
    assert raised.value.code == "config-malformed"


def test_what_a_data_frame_can_have_wrong() -> None:
    """Its length is that of IEEE C37.118.2 table 6."""
    layout = Layout(config())
    good = frame(layout, 0)
    other = frame(Layout(config(idcode=61)), 0)
    for raw, code in (
        (good[:-1], "data-size-wrong"),
        (good[:-1] + b"\0", "checksum-wrong"),
        (other, "frame-unexpected"),
        (seal(HEADER, 60, 1, 0, good[14:-2], version=1), "frame-unexpected"),
    ):
        with pytest.raises(Rejected) as raised:
            layout.read(raw)
        assert raised.value.code == code


def test_times_are_rounded_to_the_nearest_microsecond() -> None:
    """IEEE C37.118.2 §6.2.2: SOC + FRACSEC / TIME_BASE."""
    assert time_us(1, 500_000, 1_000_000) == 1_500_000
    assert time_us(0, 335_544, 0xFFFFFF) == 20_000  # 0.0199999797 s
    assert time_us(0, 1, 3) == 333_333
    assert time_us(0, 2, 3) == 666_667


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_as_a_configuration(body: bytes, is_third: bool) -> None:
    kind = CFG_3 if is_third else CFG_2
    read_or_refused([seal(kind, 1, 2, 3, body, version=2)])


def read_or_refused(frames: list[bytes]) -> None:
    """A clear error, or a configuration that a layout can be made of."""
    try:
        found = read_config(frames)
    except Rejected as error:
        told = error
    else:
        Layout(found)
        return
    assert told.code == "config-malformed"


@given(configs(CFG_3) | configs(CFG_2), st.data())
def test_a_damaged_configuration(of: Any, data: st.DataObject) -> None:
    [good] = config_frames(of)
    body = bytearray(good[14:-2])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    read_or_refused([seal(of.kind, 1, 2, 3, bytes(body), version=2)])


# --- an independent decode --------------------------------------------------------------------


def test_tshark_reads_the_same(shared_data: Path) -> None:
    """TShark 4.0.17 has read the capture on its own."""
    folder = shared_data / CAPTURES
    told = json.loads((folder / "tshark_C37.118_1PMU_UDP_minimal.json").read_text())
    frames = payloads(folder / "C37.118_1PMU_UDP_minimal.pcap")
    assert len(told) == len(frames) == 5
    of = read_config([frames[1]])
    layout = Layout(of)
    for raw, packet in zip(frames, told, strict=True):
        seen = packet["_source"]["layers"]["synphasor"]
        found = head(raw)
        assert (
            found.kind
            == {0: 0, 3: CFG_2, 4: COMMAND}[
                int(seen["synphasor.sync_tree"]["synphasor.frtype"], 16)
            ]
        )
        assert found.version == int(seen["synphasor.sync_tree"]["synphasor.version"])
        assert found.size == int(seen["synphasor.frsize"])
        assert found.idcode == int(seen["synphasor.idcode_stream_source"])
        assert found.fraction == int(seen["synphasor.fracsec_raw"])
        flags = seen["Time quality flags"]
        assert found.time_quality == int(flags["synphasor.timeqal.timequalindic"], 16)
        assert seen["synphasor.checksum.status"] == "1"
        if found.kind == COMMAND:
            assert command_of(raw) == int(seen["synphasor.data_tree"]["synphasor.command"], 16)
    tree = told[1]["_source"]["layers"]["synphasor"]["synphasor.data_tree"]
    station = tree['Station #1: "PMU1            "']
    assert of.time_base == int(tree["synphasor.conf.timebase"])
    assert of.rate == int(tree["synphasor.rate_of_transmission"])
    [one] = of.pmus
    assert one.station == "PMU1"
    assert one.idcode == int(station["synphasor.idcode_data_source"])
    form = station["Data format in data frame"]
    names = ("phasor_notation", "phasor_format", "analog_format", "dfreq_format")
    assert one.format == sum(int(form[f"synphasor.conf.{n}"]) << bit for bit, n in enumerate(names))
    assert len(one.phasors) == int(station["synphasor.num_phasors"])
    assert len(one.analogs) == int(station["synphasor.num_analog_values"])
    assert len(one.digitals) == int(station["synphasor.num_digital_status_words"])
    factors = station["Phasor conversion factors (3)"]["synphasor.conversion_factor"]
    assert {phasor.factor for phasor in one.phasors} == {int(factors, 16)}
    assert [phasor.name for phasor in one.phasors] == ["VA", "VB", "VC"]
    assert one.digitals[0].names[15] == "Dig Channel 16"
    assert (one.fnom, one.changes) == (
        int(station["synphasor.conf.fnom"]), int(station["synphasor.conf.cfgcnt"]),
    )  # fmt: skip
    data = layout.read(frames[3])
    seen = told[3]["_source"]["layers"]["synphasor"]
    assert (data.fraction, time_us(data.soc, data.fraction, of.time_base)) == (
        580_000, 1_217_607_491_580_000,
    )  # fmt: skip
    words = bytes(int(pair, 16) for pair in seen["synphasor.data"].split(":"))
    assert data.values == unpack(">HffffffhhH", words)


def test_a_whole_capture(shared_data: Path) -> None:
    frames = payloads(shared_data / CAPTURES / "C37.118_1PMU_UDP.pcap")
    kinds = [head(raw).kind for raw in frames]
    assert [kinds.count(kind) for kind in range(6)] == [356, 0, 0, 1, 4, 0]
    layout = Layout(read_config([frames[kinds.index(CFG_2)]]))
    read = [layout.read(raw) for raw, kind in zip(frames, kinds, strict=True) if kind == 0]
    times = [time_us(one.soc, one.fraction, layout.config.time_base) for one in read]
    assert all(after - before == 20_000 for before, after in pairwise(times))
    pieces = split(b"".join(frames))
    assert [piece.frame for piece in pieces] == frames


def test_a_frame_of_two_pmus_has_a_span_each() -> None:
    of = config(pmu(1, 0), pmu(2))
    layout = Layout(of)
    found = layout.read(frame(layout, 3, stat=0x2000))
    first, second = (found.values[span] for span in layout.spans)
    assert first[0] == second[0] == 0x2000
    assert first[1:3] == (25_003, -14_100)
    assert second[1] == pytest.approx(230.375)
