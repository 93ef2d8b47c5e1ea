"""`gridseal inspect`: what it says of published and of bad messages, and how it ends."""

import json
import re
import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.c37118.data import Layout
from bal.c37118.writer import config_frames
from bal.harmonise import FORMATS
from bal.inspection import guess, inspect
from bal.recognition import recognise, uncommented
from infra.cli import main
from infra.inspect_text import printable
from tests.c37118_streams import config, frame

ROOT = Path(__file__).resolve().parents[3]
ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
Run = Callable[..., tuple[int, str]]


def meter(*readings: str, name: str = "meter-1") -> str:
    inside = "\n".join(readings)
    return (
        f"<MeterReading>\n<Meter><Names><name>{name}</name></Names></Meter>\n{inside}\n"
        "</MeterReading>\n"
    )


def message(*meters: str) -> bytes:
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    return f'<MeterReadings xmlns="{namespace}">\n{"".join(meters)}</MeterReadings>\n'.encode()


def reading(time: str, value: str = "0.21", kind: str = ENERGY) -> str:
    return (
        f"<Readings><timeStamp>{time}</timeStamp><value>{value}</value>"
        f'<ReadingType ref="{kind}"/></Readings>'
    )


def day(value: str = "0.21") -> list[str]:
    return [reading(f"2026-01-15T{n // 4:02}:{n % 4 * 15:02}:00Z", value) for n in range(96)]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def of(*arguments: str, **files: bytes) -> tuple[int, str]:
        for name, raw in files.items():
            (tmp_path / name).write_bytes(raw)
        code = main(["inspect", *arguments, *files])
        return code, capsys.readouterr().out

    return of


def test_the_page_shows_what_is_printed() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "inspect_page.py"))
    assert page["PAGE"].read_text(encoding="utf-8") == page["page"](), "run `make fix`"


def test_every_format_stands_where_senders_look() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)) == FORMATS.keys()
    rest = (ROOT / "docs" / "spec" / "rest.md").read_text(encoding="utf-8")
    [named] = re.findall(r"`POST /v1/messages\?format=([^`]*)`", rest)
    assert set(named.split("\\|")) == FORMATS.keys()
    intake = (ROOT / "docs" / "spec" / "intake.md").read_text(encoding="utf-8")
    [row] = [line for line in intake.splitlines() if line.startswith("| `in/<name>/<format>`")]
    assert {name for name in FORMATS if f"`{name}`" in row} == FORMATS.keys()


def test_advice_is_of_codes_that_stand_on_the_page_of_codes() -> None:
    advice = tomllib.loads((ROOT / "infra" / "inspect_advice.toml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "spec" / "limits-and-codes.md").read_text(encoding="utf-8")
    messages = page.split("\n### Messages\n")[1].split("\n### ")[0]
    cells = re.findall(r"^\| (`.*?) \|", messages, re.MULTILINE)
    codes = {code for cell in cells for code in re.findall(r"`([a-z0-9-]+)`", cell)}
    assert advice.keys() <= codes, "no message has this code any more"


def test_a_good_message_ends_with_0_and_a_bad_reading_with_1(run: Run) -> None:
    good = message(meter(reading("2026-01-15T10:15:00Z")))
    code, told = run(good=good)
    assert code == 0
    assert "format cim, guessed from its content: IEC 61968-9 MeterReadings" in told
    assert "Device name meter-1  (lines 1–6)" in told
    assert "2026-01-15 10:00 to 10:15Z  210 Wh  assumed good" in told
    assert told.endswith("good: 1 value of 1 device would be taken, 0 refused; 0 findings.\n")
    bad = message(meter(reading("2026-01-15T10:15:00Z"), reading("2026-01-15T10:30:00")))
    code, told = run(bad=bad)
    assert code == 1
    assert "bad:5  time-without-offset" in told
    assert "clause  RFC" in told
    assert "do      Add Z or the offset from UTC" in told
    assert "1 value of 1 device would be taken, 1 refused" in told


def test_the_same_mistake_is_told_once_with_its_lines(run: Run) -> None:
    _, told = run(bad=message(meter(*day("1,5"))))
    assert told.count("value-not-decimal") == 1
    assert "bad:4  value-not-decimal  and 95 times more: lines 5, 6, 7, 8, 9, 10, …" in told
    assert "nothing would be taken, 96 refused." in told


def test_of_a_long_message_it_shows_the_beginning(run: Run) -> None:
    long = message(*(meter(*day(), name=f"meter-{n}") for n in range(11)))
    code, told = run(long=long)
    assert (code, told.count("210 Wh")) == (0, 80)
    assert told.count("… and 88 more (--all shows them)") == 10
    assert "… and 1 more device (--all shows them)" in told
    assert "1,056 values of 11 devices would be taken" in told
    assert run("--all", long=long)[1].count("210 Wh") == 1056


def test_what_is_refused_before_the_bus_is_told_with_its_line(run: Run) -> None:
    code, told = run(dtd=b"<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY b 'c'>]>\n<MeterReadings/>")
    assert code == 1
    assert "dtd:2  dtd-forbidden" in told
    assert told.endswith("dtd: would be refused as a whole: nothing of it is taken.\n")
    _, told = run("--format", "der", cut=b'{"device": "a",\n "readings": [')
    assert "cut:2  json-malformed" in told
    assert "format der, as told: DER telemetry" in told


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("d29_figure_1.xml", "cim"),
        ("d29_figure_1_as_printed.xml", "cim"),
        ("ieee2030_5/epri_DERStatus.xml", "sep2"),
        ("ieee2030_5/bsgip_envoy_meter_mirroring_mirrormeterreading.xml", "sep2"),
        ("greenbutton/gbsdk_Electric.xml", "espi"),
        ("greenbutton/openespi_test_usage_data_01.xml", "espi"),
        ("smgw/trudi_IF_Adapter_TRuDI_DatenTAF7.xml", "vde2418"),
    ],
)
@pytest.mark.parametrize("columns", ["80", "120"])
def test_published_messages(
    shared_data: Path, run: Run, monkeypatch: pytest.MonkeyPatch, file: str, *, form: str,
    columns: str,
) -> None:  # fmt: skip
    """Each is known by its content, and told within the terminal."""
    monkeypatch.setenv("COLUMNS", columns)
    code, told = run(m=(shared_data / file).read_bytes())
    assert code == 0
    assert f"  format {form}, guessed from its content" in told
    assert "Refused" not in told
    wide = [line for line in told.splitlines() if len(line) > int(columns) and "m:" not in line]
    assert wide == []


def test_published_phasors(shared_data: Path, run: Run) -> None:
    text = (shared_data / "pmu_json" / "sogno_sogno_input.json").read_text()
    frame = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    code, told = run(frame=frame.encode())
    assert code == 0
    assert "format pmu" in told
    assert "voltage, magnitude (RMS, to ground), phase A, at BUS1" in told
    assert "2020-05-20 10:27:57.980802Z  123 V" in told


def test_as_json_it_says_the_same(run: Run) -> None:
    raw = message(meter(reading("2026-01-15T10:15:00Z"), reading("2026-01-15T10:30:00")))
    code, text = run("--json", a=raw, b=b"{")
    one, two = (json.loads(line) for line in text.splitlines())
    assert (code, one["file"], two["file"]) == (1, "a", "b")
    [device] = one["devices"]
    [value] = device["readings"]
    assert device["names"] == [{"authority": "", "type": "", "name": "meter-1"}]
    assert {name: value[name] for name in ("begin", "end", "value", "unit", "lines")} == {
        "begin": "2026-01-15T10:00:00Z",
        "end": "2026-01-15T10:15:00Z",
        "value": "210",
        "unit": "Wh",
        "lines": [1, 7],
    }
    assert [(f["code"], f["line"]) for f in one["refused"]] == [("time-without-offset", "5")]
    assert one["refused"][0]["advice"]
    assert [f["code"] for f in two["refused"]] == ["json-malformed"]


def test_devices_are_told_apart_by_all_their_names(run: Run) -> None:
    both = "<Meter><mRID>m-1</mRID><Names><name>meter-1</name></Names></Meter>"
    first = meter(reading("2026-01-15T10:15:00Z")).replace(
        "<Meter><Names><name>meter-1</name></Names></Meter>", both
    )
    others = (meter(reading("2026-01-15T10:30:00Z"), name=name) for name in ("meter-1", "meter-2"))
    _, told = run(two=message(first, *others))
    assert "Device mRID m-1; name meter-1  (lines 2–5, 6–9)\n" in told
    assert "Device name meter-2  (lines 10–13)" in told
    assert "line 4  2026-01-15 10:00 to 10:15Z  210 Wh  assumed good" in told
    assert "line 8  2026-01-15 10:15 to 10:30Z  210 Wh  assumed good" in told


@pytest.mark.parametrize("arguments", [["nowhere"], ["--format", "cin", "f"], [], ["."]])
def test_wrong_use(arguments: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"<a/>")
    assert run(*arguments)[0] == 3


def test_a_terminal_gets_nothing_that_it_might_obey() -> None:
    assert printable("a\x1b[31m\u009b2J\u202eb") == "a\ufffd[31m\ufffd2J\ufffdb"


@given(st.binary(max_size=300), st.sampled_from(sorted(FORMATS)))
def test_whatever_the_bytes_are_they_are_explained(raw: bytes, form: str) -> None:
    told = inspect(raw, form)
    assert told.form == form
    assert told.taken or told.refused or told.findings or raw
    assert guess(raw).form in {"", *FORMATS}


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"x", "nothing that is known"),
        (b"\x1f\x8b\x08\x00abc", "gzip"),
        (b"\xd4\xc3\xb2\xa1" + bytes(9), "a capture (pcap)"),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "a capture (pcapng)"),
        (b'<SCL xmlns="http://www.iec.ch/61850/2003/SCL"><Header/></SCL>', "SCL"),
        (b'<A_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-7:a:7:4"/>', "IEC 62325"),
        (b"<?xml version='1.0'?><!-- b --><a:b xmlns:a='urn:c'/>", "root b in urn:c"),
        (b"<root/>", "root root, in no namespace"),
        (b'{"a": 1}', "JSON with the members a"),
    ],
)
def test_what_is_of_no_format_is_told_as_what_it_is(run: Run, raw: bytes, what: str) -> None:
    code, told = run(m=raw)
    assert code == 1
    assert "  no known format: " in told
    assert what in told
    assert "format-unknown" in told
    assert "cim" not in told
    assert "c37118" not in told
    assert "MeterReadings" not in told
    code, text = run("--json", m=raw)
    assert (code, json.loads(text)["format"]) == (1, "")


def test_bits_of_a_gateway_are_named_once(shared_data: Path, run: Run) -> None:
    file = shared_data / "smgw" / "trudi_IF_Adapter_TRuDI_DatenTAF7.xml"
    _, told = run(m=file.read_bytes())
    flat = " ".join(told.split())
    assert "questionable; gateway: fatal error; meter: mechanical interference; see" in flat
    assert "by the meter" not in told
    status = b"<statusPTB>2</statusPTB>", b"<statusFNN>0000200500000204</statusFNN>"
    raw = file.read_bytes().replace(b"<statusPTB>0</statusPTB>", status[0])
    _, told = run(m=raw.replace(b"<statusFNN>0000010500100504</statusFNN>", status[1]))
    assert "suspect; estimated; gateway: temporary error" in " ".join(told.split())
    _, text = run("--json", m=file.read_bytes())
    readings = json.loads(text)["devices"][0]["readings"]
    assert [one["line"] for one in readings] == [172, 186, 197]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (14, "raw: not validated"),
        (17, "validated, possibly edited or estimated"),
        (18, "verified: failed a check, but is actual usage"),
        (19, "validated"),
    ],
)
def test_qualities_of_espi_are_told_in_its_own_words(
    shared_data: Path, run: Run, sent: int, words: str
) -> None:
    raw = (shared_data / "greenbutton" / "gbsdk_Electric.xml").read_bytes()
    raw, count = re.subn(rb"<quality>\d+</quality>", b"<quality>%d</quality>" % sent, raw)
    if not count:
        quality = b"<ReadingQuality><quality>%d</quality></ReadingQuality>" % sent
        raw = re.sub(rb"(<IntervalReading>)", rb"\1" + quality, raw)
    _, text = run("--json", m=raw)
    [device, *_] = json.loads(text)["devices"]
    assert device["readings"][0]["quality_in_words"] == words


def c37118(*stats: int) -> bytes:
    of = config()
    layout = Layout(of)
    data = [frame(layout, n, stat=stat) for n, stat in enumerate(stats)]
    return b"".join([*config_frames(of), *data])


def test_what_is_left_out_is_not_told_as_taken(run: Run) -> None:
    code, told = run(m=c37118(0x8000))
    assert code == 1
    assert "Left out: 1\n" in told
    assert "Doubtful, taken" not in told
    assert "1 frame whose STAT says" in " ".join(told.split())
    assert told.endswith("nothing would be taken, 0 refused, 1 finding on what is left out.\n")
    code, told = run(m=c37118(0x8000, 0))
    assert (code, "Left out: 1\n" in told) == (1, True)


def test_phasors_of_c37118_are_told_by_its_own_words(run: Run) -> None:
    code, told = run(m=c37118(0x2000))
    assert code == 0
    assert "voltage phasor, magnitude, phase not stated, at VA" in told
    assert "RMS" not in told
    assert "\n  frequency\n" in told
    assert "\n  rate of change of frequency\n" in told
    assert "questionable by the PMU: not synchronised" in told
    assert "frame-questionable" in told
    assert "the meter" not in told
    assert "valid by the PMU" in run(m=c37118(0))[1]


def test_a_wrapper_of_readings_is_read_as_cim(run: Run) -> None:
    _, told = run(m=b"<Export>" + message(meter(reading("x"))) + b"</Export>")
    assert "format cim, guessed" in told


@given(
    st.sampled_from([b"<", b"<?xml ", b"<!--", b"{", b"[", b"#\n{", b"\xaa1", b"0"]), st.binary()
)
def test_any_beginning_is_recognised_or_not_and_no_more(begin: bytes, rest: bytes) -> None:
    known = recognise(begin + rest)
    assert known is None or bool(known.form) != bool(known.what)
    uncommented(begin + rest)


@pytest.mark.parametrize("namespace", ["urn:ieee:std:2030.5:ns", "http://ieee.org/2030.5"])
def test_a_reading_type_of_2030_5_is_not_cim(run: Run, namespace: str) -> None:
    _, told = run(m=f'<ReadingType xmlns="{namespace}"><uom>72</uom></ReadingType>'.encode())
    assert "format sep2, guessed" in told


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("scl/compas_example-without-xsd-validation-errors.scd", "SCL"),
        ("market/examples/fingrid_reserve_bid.xml", "IEC 62325"),
        ("eebus/spine_integration_tests_m_measurementListData_recv_notify.json", "EEBUS"),
        ("pmu_json/sogno_villas_node_input.json", "VILLASnode"),
        ("pmu_json/sogno_villas_node_output.json", "VILLASnode"),
        ("pmu_json/sogno_sogno_output.json", "SOGNO's state estimation"),
        ("openadr/openadr3-3.1.1.yaml", "nothing that is known"),
        ("openadr/enum_units.schema.yaml", "nothing that is known"),
        ("SOURCES.md", "nothing that is known"),
        ("datasets/demandlib_bdew_h25.csv", "a table (CSV)"),
        ("ontologies/sosa.ttl", "RDF in Turtle"),
        ("ontologies/harvest-prov.ttl", "RDF in Turtle"),
        ("ontologies/saref-core-v4.1.1.rdf", "RDF, perhaps a grid model"),
        ("uftp/UFTP-agr.xsd", "an XML schema"),
    ],
)
def test_published_files_that_are_of_no_format(
    shared_data: Path, run: Run, file: str, *, what: str
) -> None:
    code, told = run(m=(shared_data / file).read_bytes())
    assert code == 1
    assert "no known format" in told
    assert what in told


def test_cms_in_pem_is_told_from_der(run: Run) -> None:
    code, told = run(m=b"-----BEGIN CMS-----\nMIIE\n-----END CMS-----\n")
    assert (code, "PEM, which is text" in told, "CMS is taken in DER" in told) == (1, True, True)


def test_an_empty_file_has_no_line(run: Run) -> None:
    assert "known format: empty; 0 bytes\n" in run(m=b"")[1]


def test_no_word_is_cut_on_a_narrow_screen(
    run: Run, monkeypatch: pytest.MonkeyPatch, shared_data: Path
) -> None:
    """A code has to be searched for, and a file's name copied."""
    monkeypatch.setenv("COLUMNS", "80")
    long = "a-file-with-a-name-that-is-longer-than-the-screen-is-wide-and-then-some-more-of-it.xml"
    raw = (shared_data / "greenbutton" / "gbsdk_Electric.xml").read_bytes()
    _, told = run(**{long: raw})
    assert re.search(rf"^{long}: 2 values and 1 event", told, re.MULTILINE)
    assert told.count("see interval-length-differs") == 2
    assert "costAdditionalLastPeriod" in told
    assert max(map(len, told.replace(long, "").splitlines()[:-1])) <= 80


def test_comments_in_json_are_told_as_what_they_are(shared_data: Path, run: Run) -> None:
    code, told = run(m=(shared_data / "pmu_json" / "sogno_sogno_input.json").read_bytes())
    assert code == 1
    assert "format pmu, guessed" in told
    assert "m:1  json-malformed" in told
    assert "lines begin with #" in told
    assert "what follows is of pmu, with 2 values to take" in " ".join(told.split())
    assert "Take the lines with # out" in told
