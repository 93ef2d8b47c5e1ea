"""`gridseal inspect` names devices, and tells a gateway's status, in the words of their format."""

import json
import re
from pathlib import Path

import pytest

from bal.c37118.data import Layout
from bal.c37118.writer import config_frames
from bal.inspected import names_of, quality_of
from bal.inspection import inspect
from bal.wording import device
from field import cls_writer
from infra.cli import main
from tests.c37118_streams import config, frame, pmu
from tests.unit.harmonise.cls_pki import GATEWAY, made

ROOT = Path(__file__).resolve().parents[3]
TAF_7 = Path("smgw", "trudi_IF_Adapter_TRuDI_DatenTAF7.xml")
NOW_US = 1_800_000_000_000_000


def page(name: str, language: str) -> bytes:
    """The first example of a page of the specification."""
    text = (ROOT / "docs" / "spec" / f"{name}.md").read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1].encode()


def named(raw: bytes, form: str) -> list[str]:
    return [names_of(one) for one in inspect(raw, form, received_us=NOW_US).devices]


@pytest.mark.parametrize(
    ("example", "language", "form", "words"),
    [
        ("ieee-2030-5", "xml", "sep2", "LFDI 3E4F45AB31EDFE5B67E343E5E4562E31984E23E5"),
        ("vde-ar-2418-6", "xml", "vde2418", "meter 1EMH0012345678"),
        ("sunspec", "json", "sunspec", "Sunny Works, serial number 9999abcd"),
    ],
)
def test_devices_of_the_pages(example: str, language: str, form: str, words: str) -> None:
    assert named(page(example, language), form) == [words]


def test_devices_of_published_files(shared_data: Path) -> None:
    """The numbers are those that stand in the files."""
    raw = (shared_data / TAF_7).read_bytes()
    [number] = set(re.findall(rb"<(?:\w+:)?meterId>(.*?)<", raw))
    assert named(raw, "vde2418") == [f"meter {number.decode().upper()}"]
    raw = (shared_data / "greenbutton" / "gbsdk_Electric.xml").read_bytes()
    [told] = named(raw, "espi")
    assert told.startswith("UsagePoint ")
    assert told.removeprefix("UsagePoint ").encode() in raw.lower()


def test_stations_of_pmus() -> None:
    of = config(pmu(), pmu(8, station=""))
    raw = b"".join([*config_frames(of), frame(Layout(of), 0)])
    assert named(raw, "c37118") == ["station North, IDCODE 7", "IDCODE 8"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("", "", "M-17"), "name M-17"),
        (("DEDDIE", "MeterNumber", "M-17"), "name M-17 (type MeterNumber, authority DEDDIE)"),
        (("", "serialNumber", "9"), "serial number 9"),
        (("vde2418", "usage-point", "DE01"), "usage point DE01"),
    ],
)
def test_other_names(parts: tuple[str, str, str], words: str) -> None:
    assert device(*parts) == words


def test_registers_that_are_named_by_obis() -> None:
    """As a gateway signs them; an invalid value's is told, too, and nothing is made up."""
    first = {"obis": "1-0:1.8.0*255", "time": "2026-01-15T10:15:00Z", "value": "5", "unit": "Wh"}
    interval = {"begin": "2026-01-15T10:00:00Z", "end": "2026-01-15T10:15:00Z"}
    invalid = {**first, "obis": "1-0:2.8.0*255", "status": {"ptb": "4"}}
    other = {**first, "obis": "1-0:99.99.9*255"}
    second = {"obis": "0100011D00FF", "value": "210", "unit": "Wh", **interval}
    content = cls_writer.content(GATEWAY, {"M": [first, second, invalid, other]})
    [device] = inspect(made().message(content), "cls").devices
    words = {one.code: one.meaning for one in device.seen}
    assert words == {
        "1-0:1.8.0*255": "energy in Wh, forward, electricity secondary metered, bulk quantity",
        "1-0:1.29.0*255": "energy in Wh, forward, electricity secondary metered, delta data,"
        " 15-minute interval",
        "1-0:2.8.0*255": "energy in Wh, reverse, electricity secondary metered, bulk quantity;"
        " invalid, kept as sent",
        "1-0:99.99.9*255": "an OBIS code; has no meaning here, kept as sent",
    }


def test_an_obis_code_in_the_place_of_a_reading_type_is_not_told_as_read() -> None:
    raw = (
        b"<MeterReadings><MeterReading><Meter><Names><name>M</name></Names></Meter><Readings>"
        b"<timeStamp>2026-01-15T10:15:00Z</timeStamp><value>5</value>"
        b'<ReadingType ref="1-0:1.8.0*255"/></Readings></MeterReading></MeterReadings>'
    )
    [device] = inspect(raw, "cim").devices
    assert [one.meaning for one in device.seen] == [
        "an OBIS code; has no meaning here, kept as sent"
    ]


def test_a_code_of_19_fields_is_told_in_the_unit_of_its_values(shared_data: Path) -> None:
    """Platone D2.9 figure 1: 1.234 kWh, which are 1234 Wh."""
    [device] = inspect((shared_data / "d29_figure_1.xml").read_bytes(), "cim").devices
    told = [(one.value, one.unit, one.meaning) for one in device.seen]
    rest = "phases ABC, 19 fields instead of 18: the others are not decoded"
    assert told == [
        ("1234", "Wh", f"active energy in Wh, {rest}; sent in kWh"),
        ("321", "varh", f"reactive energy in varh, {rest}; sent in kvarh"),
    ]


def test_text_and_json_say_the_same(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(shared_data / TAF_7)
    assert main(["inspect", file]) == 0
    told = capsys.readouterr().out
    assert main(["inspect", "--json", file]) == 0
    [one] = json.loads(capsys.readouterr().out)["devices"]
    assert f"\nDevice {one['in_words']}  (lines" in told


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "no error"),
        (1, "warning, no action needed, the value is valid"),
        (2, "temporary error, marked invalid, may be used as a substitute value"),
        (3, "temporary error, the value is invalid and no substitute"),
        (4, "fatal error, this value and all later ones are invalid"),
    ],
)
def test_a_gateways_status_is_told_in_ptbs_words(
    shared_data: Path, status: int, words: str
) -> None:
    """PTB-A 50.8, as VDE AR 2418-6 statusPTB has it: the gateway says it, not the meter."""
    raw = (shared_data / TAF_7).read_bytes()
    raw = re.sub(rb"\s*<statusPTB>.*?</statusPTB>", b"", raw)
    sent = b"<statusPTB>%d</statusPTB>" % status
    alone = re.sub(rb"<statusFNN>.*?</statusFNN>", sent, raw)
    [device] = inspect(alone, "vde2418").devices
    assert [quality_of(one) for one in device.seen] == [f"PTB status {status}: {words}"] * 3
    # a word without a bit that says more: where the two differ, the value is questionable
    both = rb"<statusFNN>A000000020000000</statusFNN>" + sent
    [device] = inspect(re.sub(rb"<statusFNN>.*?</statusFNN>", both, raw), "vde2418").devices
    told = {quality_of(one) for one in device.seen}
    doubt = "; questionable" if status else ""
    assert told == {f"PTB status {status}: {words}{doubt}"}
