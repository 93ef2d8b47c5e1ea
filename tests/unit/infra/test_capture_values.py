"""`gridseal replay-capture`: what it prints of frames, compared with another decoder's words."""

import json
from pathlib import Path
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise.c37118_channels import QUESTIONABLE, qualities
from bal.harmonise.c37118_words import doubts, stat_words, time_words
from infra.cli import main


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "captures" / "c37118"


def test_what_frames_say_is_what_tshark_decodes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "C37.118_1PMU_UDP_minimal"
    assert main(["replay-capture", str(folder / f"{name}.pcap"), "--values"]) == 0
    told = capsys.readouterr().out
    packets = json.loads((folder / f"tshark_{name}.json").read_text(encoding="utf-8"))
    found = [one["_source"]["layers"]["synphasor"] for one in packets]
    [data] = [one for one in found if one["synphasor.sync"] == "0xaa01"]
    assert data["synphasor.soc"].startswith("Aug  1, 2008 16:18:11")
    assert data["synphasor.fracsec_raw"] == "580000"  # of a time base of a million
    assert "  data frame 1: 2008-08-01T16:18:11.58Z\n" in told
    assert data["Time quality flags"]["synphasor.timeqal.timequalindic"] == "0x00"
    assert "    time quality 00: clock locked to UTC\n" in told
    station = data["synphasor.data_tree"]['Station: "PMU1            "']
    assert station["Flags"]["synphasor.data.status"] == "0x0000"
    assert "    PMU1, IDCODE 61: STAT 0000: good, synchronised\n" in told
    # tshark's JSON names the phasors only; their floats stand in its `synphasor.data`
    sent = unpack(">H6f2hH", bytes.fromhex(data["synphasor.data"].replace(":", "")))
    rows = [line.split() for line in told.splitlines() if line.startswith("      ")]
    phasors = [row for row in rows if row[1].startswith("volt")]
    assert [(row[0], row[1], row[3]) for row in phasors] == [
        (name, *what)
        for name in ("VA", "VB", "VC")
        for what in (("voltmagnitude", "V"), ("voltangle", "rad"))
    ]
    assert [float(row[2]) for row in phasors] == pytest.approx(list(sent[1:7]), rel=1e-7)
    assert station["synphasor.frequency_deviation_from_nominal"] == "0"
    assert ["FREQ", "frequency", "50", "Hz"] in rows
    assert station["synphasor.rate_change_frequency"] == "0"
    assert ["DFREQ", "rocof", "0", "Hz/s"] in rows
    words = station["Digital status words (1)"]["synphasor.digital_status_word"]
    assert ["DIGITAL", "1", "digital", words.removeprefix("0x")] in rows


def test_of_each_stream_the_first_frame_is_told_else_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(folder / "C37.118_1PMU_UDP.pcap")
    assert main(["replay-capture", file]) == 0
    told = capsys.readouterr().out
    assert told.count(": STAT ") == 1
    assert "data frame 1 of 356, all with --values: 2008-08-01T16:18:11.58Z" in told
    assert main(["replay-capture", file, "--values"]) == 0
    told = capsys.readouterr().out
    assert (told.count(": STAT "), told.count("\n      FREQ ")) == (356, 356)


def test_no_such_stream_and_no_frame_end_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay-capture", str(folder / "C37.118_1PMU_UDP.pcap"), "--idcode", "99"]) == 1
    assert "no stream has IDCODE 99; there are 60\n" in capsys.readouterr().out
    other = folder.parent / "iec61850" / "iec61850_read.pcap"
    assert main(["replay-capture", str(other)]) == 1
    assert "no frame of IEEE C37.118.2 with a right checksum" in capsys.readouterr().out


def test_words_of_stat_and_time_quality() -> None:
    assert stat_words(0x2231) == (
        "good", "not synchronised", "data modified", "unlocked for 1000 s or more",
    )  # fmt: skip
    assert stat_words(0xC000)[0] == "PMU error: not to be used"
    assert stat_words(0x0805) == ("good", "synchronised", "trigger: df/dt high")
    assert time_words(0x5B) == ("time within 10 s of UTC", "a leap second will be deleted")
    assert time_words(0x0F) == ("clock failed",)


@given(st.integers(0, 0x7FFF), st.integers(0, 0xFF))
def test_what_is_questionable_has_a_reason(stat: int, time_quality: int) -> None:
    assert bool(doubts(stat, time_quality)) == (QUESTIONABLE in qualities(stat, time_quality))
