"""`gridseal inspect` of a capture: what its origin's own decoder says of it, in text and JSON."""

import json
from pathlib import Path
from struct import unpack
from typing import Any

import pytest

from infra.cli import main

MINIMAL = "C37.118_1PMU_UDP_minimal"


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "captures"


@pytest.fixture
def decoded(folder: Path) -> list[Any]:
    """The frames of the minimal capture, by tshark."""
    text = (folder / "c37118" / f"tshark_{MINIMAL}.json").read_text(encoding="utf-8")
    return [one["_source"]["layers"]["synphasor"] for one in json.loads(text)]


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["inspect", "--json", *arguments]) == code
    return json.loads(capsys.readouterr().out)


def test_as_json_it_has_what_tshark_decodes(
    folder: Path, decoded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """IEEE C37.118.2 §6.3, §6.4."""
    [sent] = [one for one in decoded if one["synphasor.sync"] == "0xaa01"]
    told = as_json(capsys, str(folder / "c37118" / f"{MINIMAL}.pcap"))
    assert (told["format"], told["refused"]) == ("", [])
    assert told["capture"]["packets"] == len(decoded)
    [stream] = [one for one in told["capture"]["streams"] if one["can_be_sent"]]
    assert str(stream["idcode"]) == sent["synphasor.idcode_stream_source"]
    [data] = stream["data"]
    assert data["time"] == "2008-08-01T16:18:11.58Z"
    assert sent["synphasor.soc"].startswith("Aug  1, 2008 16:18:11")
    assert str(data["fracsec"]) == sent["synphasor.fracsec_raw"]
    flags = sent["Time quality flags"]
    assert f"0x{data['time_quality']}" == flags["synphasor.timeqal.timequalindic"]
    [of] = data["stations"]
    station = sent["synphasor.data_tree"][f'Station: "{of["station"]:16}"']
    assert f"0x{of['stat']}" == station["Flags"]["synphasor.data.status"]
    # tshark's JSON names the phasors only; their floats stand in its `synphasor.data`
    numbers = unpack(">H6f2hH", bytes.fromhex(sent["synphasor.data"].replace(":", "")))
    phasors = [one for one in of["values"] if one["measurand"].startswith("volt")]
    assert [float(one["value"]) for one in phasors] == pytest.approx(list(numbers[1:7]), rel=1e-7)
    assert [(one["component"], one["unit"]) for one in phasors] == [
        (name, unit) for name in ("VA", "VB", "VC") for unit in ("V", "rad")
    ]


def test_in_words_it_tells_streams_stations_and_values(
    folder: Path, decoded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "c37118" / f"{MINIMAL}.pcap"
    assert main(["inspect", str(file)]) == 0
    told = capsys.readouterr().out
    assert f"{file}: {len(decoded)} packets, 2 streams of IEEE C37.118.2\n" in told
    assert "  station PMU1, IDCODE 61, 50 Hz\n" in told
    assert "    PMU1, IDCODE 61: STAT 0000: good, synchronised\n" in told
    rows = [line.split() for line in told.splitlines() if line.startswith("      ")]
    assert ["VA", "voltmagnitude", "100.07758", "V"] in rows
    assert ["FREQ", "frequency", "50", "Hz"] in rows
    assert "1 stream of it can be sent as format c37118: gridseal replay-capture" in told
    assert "efused" not in told


def test_all_values_are_told_when_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(folder / "c37118" / "C37.118_1PMU_UDP.pcap")
    assert main(["inspect", file]) == 0
    told = capsys.readouterr().out
    assert "data frame 1 of 356, all with --all: 2008-08-01T16:18:11.58Z" in told
    assert main(["inspect", "--all", file]) == 0
    assert capsys.readouterr().out.count(": STAT ") == 356
    streams = as_json(capsys, "--all", file)["capture"]["streams"]
    assert [len(one["data"]) for one in streams] == [0, 356]


@pytest.mark.parametrize(
    ("name", "packets"),
    [("iec104/TestDissectIec104.pcap", 147), ("iec61850/iec61850_read.pcap", 20)],
)
def test_a_capture_of_something_else_is_told_as_that(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, packets: int
) -> None:
    file = str(folder / name)
    assert main(["inspect", file]) == 1
    told = capsys.readouterr().out
    assert f": {packets} packets, 0 streams of IEEE C37.118.2\n" in told
    assert "nothing of it can be sent" in told
    found = as_json(capsys, file, code=1)
    assert [one["code"] for one in found["refused"]] == ["capture-empty"]
    assert found["capture"]["streams"] == []


def test_a_capture_that_is_cut_says_so_and_costs_no_other_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = folder / "c37118" / f"{MINIMAL}.pcap"
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole.read_bytes()[:-5])
    assert main(["inspect", str(cut), str(whole)]) == 1
    told = capsys.readouterr().out
    assert "capture-malformed" in told
    assert "the capture ends within a packet" in told
    assert "station PMU1, IDCODE 61" in told.split("capture-malformed")[1]
