"""Asking sources again: who is asked for what, how often, and what comes of it; real TLS."""

import asyncio
import gzip
import json
import ssl
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

from bal import jcs
from bal.errors import Rejected, Stop, Unavailable
from bal.model import Identity
from infra import rerequest_cli
from infra.certificates import create_ca, issue_device, issue_server
from infra.gaps import Gaps
from infra.rerequest import (
    ANSWER_BYTES_MAX,
    BACK_OFF_S,
    TRIES_MAX,
    Asked,
    Gap,
    Later,
    Source,
    dates,
    fetch,
    is_due,
    load,
    name_of,
    one_round,
)
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.journey.conftest import cim
from tests.unit.harmonise.conftest import take_message
from tests.unit.harmonise.test_vde2418 import METER, list_of, point, reading, readout

ENERGY = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
GAP = Gap(
    "P" * 43, "name:a/b/M%2F1", "headend", ENERGY, "2026-01-15T10:00:00Z", "2026-01-15T10:30:00Z"
)
GAP_AT = "2026-01-15T10:15:00Z"  # the end of its first quarter-hour
SECOND_US = 1_000_000
NOW, HOUR_ON = "Thu, 15 Jan 2026 10:00:00 GMT", "Thu, 15 Jan 2026 11:00:00 GMT"


def named(
    name: str, end: str = GAP_AT, value: str = "0.2", mrid: str = "", kind: str = "b"
) -> bytes:
    """A quarter-hour of the meter of GAP, as its source names it."""
    own = f"<mRID>{mrid}</mRID>" if mrid else ""
    kinds = f"<NameType><name>{kind}</name><NameTypeAuthority><name>a</name></NameTypeAuthority>"
    made = cim((name, end, value)).decode()
    made = made.replace("<Meter>", f"<Meter>{own}")
    return made.replace("</Names>", f"{kinds}</NameType></Names>").encode()


ANSWER = named("M/1")
OTHERS = ("M-2", GAP_AT, "0.3")


class Answers(ThreadingHTTPServer):
    """A source: what it is asked, and what it answers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        named = parse_qs(at.query)
        self.server.asked.append((at.path, named, self.headers.get("Authorization", "")))
        status, headers, body = self.server.answers.pop(0)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Answers]:
    """With the parameter "asks" one that asks for a client's certificate of `ca.crt`."""
    ca = create_ca(tmp_path, SystemClock())
    certificate, key = issue_server(ca, [], SystemClock())
    shown, its_key = issue_device(ca, "operator", SystemClock())
    files = {"c.pem": certificate, "k.pem": key, "shown.pem": shown, "shown.key": its_key}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    if getattr(request, "param", "") == "asks":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tmp_path / "ca.crt")
    server = Answers(context)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "token").write_text("secret\n")
    path = tmp_path / "sources.toml"
    path.write_text(text)
    return path


def dso(tmp_path: Path, source: Answers, more: str = "") -> Path:
    url = f"https://127.0.0.1:{source.server_port}"
    return written(
        tmp_path,
        f'[[source]]\nname = "dso"\nkind = "dso-server"\nurl = "{url}"\nca = "ca.crt"\n'
        f'token_file = "token"\n{more}\n',
    )


def test_a_dso_server_is_asked_for_the_meter_and_the_stretch(
    source: Answers, tmp_path: Path
) -> None:
    [one] = load(dso(tmp_path, source))
    source.answers = [(200, {}, b'{"values": [{}], "next": null}'), (200, {}, b"<MeterReadings/>")]
    assert fetch(one, GAP) == b"<MeterReadings/>"
    named = {"meter": ["M/1"], "register": [ENERGY], "from": [GAP.begin], "to": [GAP.end]}
    assert source.asked == [
        ("/v1/values", named, "Bearer secret"),
        ("/v1/values", {**named, "format": ["cim"], "limit": ["10000"]}, "Bearer secret"),
    ]


def test_a_document_is_asked_for_where_its_url_says(source: Answers, tmp_path: Path) -> None:
    url = (
        f"https://127.0.0.1:{source.server_port}/espi/{{meter}}?min={{from}}&max={{to}}&r={{obis}}"
    )
    [one] = load(
        written(
            tmp_path,
            f'[[source]]\nname = "e"\nkind = "document"\nurl = "{url}"\nca = "ca.crt"\n'
            'format = "espi"\n',
        )
    )
    source.answers = [(200, {}, b"<feed/>")]
    assert fetch(one, GAP) == b"<feed/>"
    [(path, named, _)] = source.asked
    assert path == "/espi/M%2F1"
    assert (named["min"], named["max"]) == ([GAP.begin], [GAP.end])
    assert named["r"][0].startswith("1-0:1.")


SHOWN = 'certificate = "shown.pem"\nkey = "shown.key"\n'


@pytest.mark.parametrize("source", ["asks"], indirect=True)
def test_a_source_that_asks_for_a_certificate_is_shown_one(source: Answers, tmp_path: Path) -> None:
    source.answers = [(200, {}, b'{"values": [{}]}'), (200, {}, b"<MeterReadings/>")]
    [without] = load(dso(tmp_path, source))
    with pytest.raises(Later, match="does not answer"):
        fetch(without, GAP)
    assert source.asked == []
    [one] = load(dso(tmp_path, source, SHOWN))
    assert fetch(one, GAP) == b"<MeterReadings/>"


def test_a_key_under_a_passphrase_is_not_asked_for_at_a_terminal(
    source: Answers, tmp_path: Path
) -> None:
    key = serialization.load_pem_private_key((tmp_path / "shown.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    (tmp_path / "shown.key").write_bytes(locked)
    with pytest.raises(Stop, match="open key"):
        load(dso(tmp_path, source, SHOWN))


def test_a_gateway_is_a_source_of_its_own_and_its_readout_is_taken(
    source: Answers, tmp_path: Path
) -> None:
    gap = GAP._replace(identity=f"name:vde2418/meter/{METER}")
    url = f"https://127.0.0.1:{source.server_port}/smgw/{{obis}}?from={{from}}&to={{to}}"
    path = written(
        tmp_path,
        f'[[source]]\nname = "gateway-1"\nkind = "document"\nurl = "{url}"\nca = "ca.crt"\n'
        f'format = "vde2418"\nsenders = ["{gap.sender}"]\n{SHOWN}',
    )
    profile = list_of(reading(duration=900), obis="0100011d00ff")
    source.answers = [(200, {}, readout(point(profile)))]
    taken: list[dict[str, str]] = []

    def submit(form: str, raw: bytes) -> str:
        taken.extend(jcs.decode(draft.record) for draft in take_message(raw, form).records)
        return "certified"

    asked = Asked(tmp_path / "asked.db")
    assert one_round(load(path), [gap], asked, 0, submit) == (1, 1, 1, 0)
    asked.close()
    assert [(one["register"], one["value"]) for one in taken] == [(ENERGY, "63910.8")]
    assert source.asked[0][0] == "/smgw/1-0%3A1.29.0%2A255"


@pytest.mark.parametrize(
    ("answer", "later_s"),
    [
        ((200, {}, b'{"values":[],"next":null}'), 0),
        ((404, {}, b""), 0),
        ((204, {}, b""), 0),
        ((503, {"Retry-After": "7200"}, b""), 7_200),
        ((503, {"Retry-After": "soon"}, b""), 0),
        ((503, {"Retry-After": "-1"}, b""), 0),
        ((429, {"Retry-After": "9" * 30}, b""), 86_400),
        ((503, {"Retry-After": HOUR_ON, "Date": NOW}, b""), 3_600),
        ((503, {"Retry-After": NOW, "Date": HOUR_ON}, b""), 0),
        ((503, {"Retry-After": NOW, "Date": "today"}, b""), 0),
        ((302, {"Location": "https://127.0.0.1:1/"}, b""), 0),
        ((200, {}, b"x" * (ANSWER_BYTES_MAX + 1)), 0),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(1 << 20))), 0),  # nobody asked
        ((200, {"Content-Length": "1000"}, b"cut"), 0),
        ((200, {"Transfer-Encoding": "chunked", "Content-Length": ""}, b"zz\r\n"), 0),
    ],
)
def test_what_is_no_answer_is_asked_for_later(
    source: Answers, tmp_path: Path, answer: tuple[int, dict[str, str], bytes], later_s: int
) -> None:
    """RFC 9110 §10.2.3: Retry-After in seconds or as a date."""
    [one] = load(dso(tmp_path, source))
    source.answers = [answer]
    with pytest.raises(Later) as why:
        fetch(one, GAP)
    assert why.value.later_s == later_s
    assert len(source.asked) == 1


def test_a_source_that_is_not_ours_is_not_asked(source: Answers, tmp_path: Path) -> None:
    text = dso(tmp_path, source).read_text().replace('ca = "ca.crt"\n', "")
    [one] = load(written(tmp_path, text))
    with pytest.raises(Later, match="SSLError"):
        fetch(one, GAP)
    assert source.asked == []


def test_a_gap_is_asked_for_later_each_time_and_no_longer_in_the_end(
    source: Answers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = load(dso(tmp_path, source))
    nothing: tuple[int, dict[str, str], bytes] = (200, {}, b'{"values":[]}')
    asked, now_us, waits = Asked(tmp_path / "asked.db"), 0, []
    for _ in range(TRIES_MAX):
        source.answers = [nothing]
        assert one_round(sources, [GAP], asked, now_us, lambda *_: "").asked == 1
        wait_s = 0
        while one_round(sources, [], asked, now_us, lambda *_: "").gaps == 0 and not asked.due(
            "dso", GAP, now_us + wait_s * SECOND_US
        ):
            wait_s += 300
            if wait_s > 2 * BACK_OFF_S[-1]:
                break
        waits.append(wait_s)
        asked.close()
        asked = Asked(tmp_path / "asked.db")  # a restart forgets nothing
        now_us += wait_s * SECOND_US
    assert waits[:5] == [*BACK_OFF_S, BACK_OFF_S[-1]]
    assert not asked.due("dso", GAP, now_us + 10**15)
    assert "no longer asked for" in caplog.text
    assert GAP.identity not in caplog.text
    asked.close()


def test_sources_are_asked_one_after_the_other_until_one_has_it(
    source: Answers, tmp_path: Path
) -> None:
    one = dso(tmp_path, source, 'senders = ["other"]').read_text()
    two = dso(tmp_path, source).read_text().replace('"dso"', '"two"', 1)
    three = two.replace('"two"', '"three"', 1)
    sources = load(written(tmp_path, one + two + three))
    source.answers = [(200, {}, b'{"values":[{}]}'), (200, {}, ANSWER)]
    handed: list[tuple[str, bytes]] = []

    def submit(form: str, raw: bytes) -> str:
        handed.append((form, raw))
        return "certified"

    asked = Asked(tmp_path / "asked.db")
    assert one_round(sources, [GAP], asked, 0, submit) == (1, 1, 1, 0)
    assert handed == [("cim", ANSWER)]
    assert not asked.due("two", GAP, 0)
    assert asked.due("three", GAP, 0)
    asked.forget(10**18)
    assert asked.due("two", GAP, 0)
    asked.close()


def one_source(source: Answers, tmp_path: Path, answer: bytes, more: str = "") -> list[Source]:
    source.answers = [(200, {}, b'{"values":[{}]}'), (200, {}, answer)]
    return load(dso(tmp_path, source, more))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (cim(OTHERS), "another meter"),
        (cim(("M/1", "2026-01-15T10:15:00Z", "0.2"), OTHERS), "another meter"),
        (named("M/1", kind="other"), "names it otherwise"),
        (named("M/1", mrid="M-2"), "names it otherwise"),
        (named("M/1", "2026-01-15T10:00:00Z"), "nothing of it"),  # the quarter-hour before
        (named("M/1", "2026-01-15T10:45:00Z"), "nothing of it"),
        (named("M/1", value="much"), "nothing of it"),
        (b"<MeterReadings/>", "no message of cim"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "no message of cim: dtd-forbidden"),
        (b"\xff\x00garbage", "no message of cim"),
    ],
)
def test_what_was_not_asked_for_does_not_come_in(
    source: Answers, tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: bytes, said: str
) -> None:
    asked, handed = Asked(tmp_path / "asked.db"), []

    def submit(_: str, raw: bytes) -> str:
        handed.append(raw)
        return "certified"

    assert one_round(one_source(source, tmp_path, answer), [GAP], asked, 0, submit).answered == 0
    assert handed == []
    assert said in caplog.text
    assert "M/1" not in caplog.text
    assert not asked.due("dso", GAP, 0)
    asked.close()


def test_a_source_may_be_let_answer_for_several(source: Answers, tmp_path: Path) -> None:
    """A gateway gives all that hangs at it; but without the one asked for it is none."""
    both = ANSWER.replace(b"</MeterReadings>", cim(OTHERS)[len(cim()) - len(b"</MeterReadings>") :])
    asked = Asked(tmp_path / "asked.db")
    sources = one_source(source, tmp_path, both, "several = true")
    assert one_round(sources, [GAP], asked, 0, lambda *_: "certified").answered == 1
    sources = one_source(source, tmp_path, cim(OTHERS), "several = true")
    later = GAP._replace(device="Q" * 43)
    assert one_round(sources, [later], asked, 0, lambda *_: "certified").answered == 0
    asked.close()


def test_a_platform_that_is_away_is_nobodys_try(source: Answers, tmp_path: Path) -> None:
    asked = Asked(tmp_path / "asked.db")
    sources = one_source(source, tmp_path, ANSWER)

    def away(*_: object) -> str:
        raise Unavailable("away")

    for at_s in range(0, TRIES_MAX * BACK_OFF_S[0] * 2, BACK_OFF_S[0]):
        one_source(source, tmp_path, ANSWER)
        with pytest.raises(Unavailable):
            one_round(sources, [GAP], asked, at_s * SECOND_US, away)
        assert not asked.due("dso", GAP, at_s * SECOND_US)  # the other gaps come first
    later_us = at_s * SECOND_US + BACK_OFF_S[0] * SECOND_US
    assert asked.due("dso", GAP, later_us)
    assert asked.note("dso", GAP, later_us, "nothing yet") == 1
    asked.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no"),
        (
            '[[source]]\nname = "a"\nkind = "dso-server"\nurl = "https://a"\nseveral = "no"',
            "several is true",
        ),
        ('[[source]]\nname = "a"\nkind = "x"\nurl = "https://a"', "kind is"),
        ('[[source]]\nname = "a"\nkind = "dso-server"\nurl = "http://a"', "https"),
        ('[[source]]\nname = "a"\nkind = "document"\nurl = "https://a"\nformat = "x"', "format is"),
        (
            '[[source]]\nname = "a"\nkind = "dso-server"\nurl = "https://a"\nport = 1',
            "unknown: port",
        ),
        ("source = 1", "sources.toml"),
        ('[[source]]\nname = "a"\nkind = "dso-server"\nurl = 1', "url is a text"),
        (
            '[[source]]\nname = "a"\nkind = "dso-server"\nurl = "https://a"\nsenders = "h"',
            "senders is a list",
        ),
        ('[[source]]\nname = "a"\nkind = "dso-server"\nurl = "https://a"\n' * 2, "two sources"),
        (
            '[[source]]\nname = "a"\nkind = "dso-server"\nurl = "https://a"\nkey = "k"',
            "come together",
        ),
        (
            '[[source]]\nname="a"\nkind="dso-server"\nurl="https://a"\ncertificate="token"\nkey="token"',
            "no certificate",
        ),
        (
            '[[source]]\nname="a"\nkind="dso-server"\nurl="https://a"\ncertificate="absent"\nkey="absent"',
            "No such file",
        ),
    ],
)
def test_a_file_of_sources_says_what_is_wrong_with_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Stop, match=said) as refused:
        load(written(tmp_path, text))
    assert refused.value.code == "config-invalid"


@pytest.mark.parametrize("name", ["mrid:..", "name://.", "name:a/b/"])
def test_a_name_that_would_lead_elsewhere_is_not_asked_for(tmp_path: Path, name: str) -> None:
    text = '[[source]]\nname="e"\nkind="document"\nformat="espi"\nurl="https://127.0.0.1:1/{meter}"'
    [one] = load(written(tmp_path, text))
    with pytest.raises(Later, match="by its name"):
        fetch(one, GAP._replace(identity=name))


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_source_that_drips_is_not_waited_for(
    source: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr("infra.rerequest.ANSWER_WITHIN_S", 1)
    [one] = load(dso(tmp_path, source))

    def drip(handler: _Handler) -> None:
        handler.wfile.write(begin)
        with suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b"x")
                time.sleep(0.1)

    monkeypatch.setattr(_Handler, "do_GET", drip)
    began = time.monotonic()
    with pytest.raises(Later, match="does not answer"):
        fetch(one, GAP)
    assert time.monotonic() - began < 5


def test_names_are_given_behind_a_record_and_not_of_who_was_erased(tmp_path: Path) -> None:
    vault = SqliteVault(tmp_path / "vault", SystemClock())
    meter = Identity("name:a/b/1")
    name = vault.pseudonyms([meter])[meter]
    recorded: list[list[str]] = []

    async def record(devices: list[str], _: str) -> None:
        recorded.append(devices)

    found = Gaps(None, None, None, vault, record)  # type: ignore[arg-type]
    asked = {"date": "2026-01-15", "devices": [name, "P" * 43]}
    assert asyncio.run(found.names(asked)) == {name: meter}
    assert recorded == [sorted([name, "P" * 43])]
    with pytest.raises(Rejected, match="1 to 1000"):
        asyncio.run(found.names({**asked, "devices": []}))
    vault.close()


def test_only_of_what_is_due_names_are_asked_for(
    source: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = GAP._replace(device="Q" * 43)
    page = [{k: v for k, v in one._asdict().items() if k != "identity"} for one in (GAP, other)]
    calls: list[list[str]] = []

    def answer(_: Path, command: str, **given: Any) -> Any:
        if command == "gaps":
            return {"gaps": page, "next": None}
        calls.append(given["devices"])
        return dict.fromkeys(given["devices"], "name://1")

    monkeypatch.setattr(rerequest_cli, "call", answer)
    sources, asked = load(dso(tmp_path, source)), Asked(tmp_path / "asked.db")
    asked.note("dso", GAP, 0, "nothing yet")

    def found(now_us: int) -> list[tuple[str, str]]:
        due = partial(is_due, sources, asked, now_us)
        gaps = rerequest_cli._gaps(tmp_path, iter(["2026-01-15"]), [], due)
        return [(one.device, one.identity) for one in gaps]

    assert found(0) == [(GAP.device, ""), (other.device, "name://1")]
    assert calls == [[other.device]]
    asked.note("dso", other, 0, "nothing yet")
    assert [identity for _, identity in found(0)] == ["", ""]
    assert calls == [[other.device]]
    assert {identity for _, identity in found(BACK_OFF_S[0] * SECOND_US)} == {"name://1"}
    asked.close()


def test_names_and_dates() -> None:
    assert name_of("mrid:0a%2Fb") == "0a/b"
    assert name_of("name://0001") == "0001"
    assert list(dates(1_768_471_200_000_000, 2)) == ["2026-01-15", "2026-01-14", "2026-01-13"]
    assert json.dumps(GAP)


@pytest.fixture
def platform(
    source: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> rerequest_cli.Platform:
    """The gateway, as the source's server plays it."""
    status = {"http": f"https://127.0.0.1:{source.server_port}", "ca": str(tmp_path / "ca.crt")}
    monkeypatch.setattr(rerequest_cli, "call", lambda *_: status)
    (tmp_path / "client.json").write_text('{"client_id": "a", "client_secret": "b"}')
    return rerequest_cli.Platform(tmp_path, tmp_path / "client.json")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_platform_that_is_busy_gives_a_token_later(
    source: Answers, platform: rerequest_cli.Platform, status: int
) -> None:
    source.answers = [(status, {}, b"{}")]
    with pytest.raises(Unavailable, match=str(status)):
        platform.submit("cim", b"x")


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, Unavailable), (429, Unavailable), (403, Stop), (422, Later), (400, Later)],
)
def test_what_the_platform_says_of_a_message(
    source: Answers, platform: rerequest_cli.Platform, status: int, error: type[Exception]
) -> None:
    token = b'{"access_token": "t", "expires_in": "600"}'
    source.answers = [(200, {}, token), (status, {}, b"{}")]
    with pytest.raises(error):
        platform.submit("cim", b"x")


def test_a_platform_that_is_gone_is_away(
    source: Answers, platform: rerequest_cli.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "_url", "https://127.0.0.1:1")
    with pytest.raises(Unavailable, match="does not answer"):
        platform.submit("cim", b"x")


def test_a_client_that_is_none_is_told_to_be(
    source: Answers, platform: rerequest_cli.Platform
) -> None:
    source.answers = [(401, {}, b"{}")]
    with pytest.raises(Stop, match="no token"):
        platform.submit("cim", b"x")


def test_a_token_that_is_no_longer_taken_is_asked_for_anew(
    source: Answers, platform: rerequest_cli.Platform
) -> None:
    """The platform was started anew."""
    token: tuple[int, dict[str, str], bytes] = (
        200,
        {},
        b'{"access_token": "t", "expires_in": "600"}',
    )
    done: tuple[int, dict[str, str], bytes] = (200, {}, b'{"type": "certified"}')
    source.answers = [token, (401, {}, b"{}"), token, done]
    with pytest.raises(Unavailable):
        platform.submit("cim", b"x")
    assert platform.submit("cim", b"x") == "certified"


def test_a_round_without_the_platform_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = '[[source]]\nname = "a"\nkind = "dso-server"\nurl = "https://127.0.0.1:1"'
    path, rounds = written(tmp_path, url), []

    def rounds_of(*_: Any) -> Iterator[Gap]:
        rounds.append(1)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        raise Unavailable("no platform runs")

    monkeypatch.setattr(rerequest_cli, "_gaps", rounds_of)
    monkeypatch.setattr(rerequest_cli, "Platform", lambda *_: None)
    monkeypatch.setattr("time.sleep", lambda _: None)
    words = Namespace(
        data=tmp_path, sources=path, client=path, state=tmp_path / "state", days=7, once=False
    )
    with pytest.raises(KeyboardInterrupt):
        rerequest_cli.rounds(words)
    words.once, rounds = True, []
    with pytest.raises(Unavailable):
        rerequest_cli.rounds(words)


def test_a_netrc_of_the_operator_says_nothing_to_a_source(
    source: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    [one] = load(dso(tmp_path, source))
    source.answers = [(404, {}, b""), (404, {}, b"")]
    with pytest.raises(Later):
        fetch(one, GAP)
    with pytest.raises(Later):
        fetch(replace(one, token=""), GAP)
    assert [said for _, _, said in source.asked] == ["Bearer secret", ""]
