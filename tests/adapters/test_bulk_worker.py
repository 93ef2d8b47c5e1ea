"""Bulk messages worked through by another process become what they would have become here."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.model import RawMessage
from bal.pipeline import COMMAND_FORMAT, OPERATOR, Worked, Worker
from bal.registry import Registry
from bal.subjects import identity_of_name
from infra import bulk_process, bulk_worker
from infra.archive_seal import Sealer
from infra.bulk_process import BulkProcess
from infra.bulk_worker import BulkWorker
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock

NAMESPACE = "http://iec.ch/TC57/2011/MeterReadings#"
READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
AT_US = 1_768_471_200_000_000
YEAR_US = 366 * 86_400_000_000
START_S = 20


def element(meter: str, value: str, end: str = "2026-01-15T11:00:00+01:00", more: str = "") -> str:
    return (
        f"<MeterReading><Meter><Names><name>{meter}</name></Names></Meter>"
        f"<Readings><timeStamp>{end}</timeStamp><value>{value}</value>"
        f'{more}<ReadingType ref="{READING_TYPE}"/></Readings></MeterReading>'
    )


def cim(*elements: str) -> bytes:
    return f'<MeterReadings xmlns="{NAMESPACE}">{"".join(elements)}</MeterReadings>'.encode()


def readings(meters: int, value: str = "1.5") -> bytes:
    return cim(*(element(f"m-{meter}", value) for meter in range(meters)))


class Two:
    """Two workers on one vault, with registries of their own: one works alone, one is helped."""

    def __init__(self, folder: Path, processes: int = 1) -> None:
        self.vault = SqliteVault(folder, SystemClock())
        self.registries = (Registry(), Registry())
        self.alone, self.helped = (Worker(self.vault, one) for one in self.registries)
        self.bulk = BulkWorker(self.helped, processes, lambda *of: repr(of).encode())
        self.sealer, self.sealed = Sealer(), 0
        self._offset = 0
        self.enrol("headend", "any")

    def messages(self, *sent: tuple[str, str, bytes], at_us: int = AT_US) -> list[RawMessage]:
        """As the bus gives them: credential, format, bytes."""
        found = [
            RawMessage("e", 0, self._offset + i, credential, form, at_us, raw)
            for i, (credential, form, raw) in enumerate(sent)
        ]
        self._offset += len(found)
        return found

    def take(self, message: RawMessage) -> Worked:
        """Both ways, compared."""
        expected = self.alone.process(message)
        worked = self.bulk.worked(message) or self.helped.process(message)
        assert worked == expected
        if worked.sealed is not None:
            spans = [(part.start, part.end, part.subject) for part in expected.parts]
            assert worked.sealed == self.sealer.seal(message, worked.sealed.tag, spans)
            self.sealed += 1
        assert worked.rows(7) == expected.rows(7)
        assert worked.batches(-1, {}) == expected.batches(-1, {})
        self.alone.apply(expected.drafts)
        self.helped.apply(worked.drafts)
        return worked

    def play(self, *sent: tuple[str, str, bytes], at_us: int = AT_US) -> list[Worked]:
        messages = self.messages(*sent, at_us=at_us)
        self.ahead(messages)
        return [self.take(message) for message in messages]

    def ahead(self, messages: list[RawMessage]) -> None:
        self.bulk.ahead([(one, sha256(one.raw).digest()) for one in messages])

    def command(self, **command: Any) -> None:
        self.play((OPERATOR, COMMAND_FORMAT, jcs.encode(command)))

    def enrol(self, name: str, subjects: str, command: str = "enrol", **more: Any) -> None:
        own = identity_of_name(name)
        pseudonym = self.vault.pseudonyms([own])[own]
        item = {"device": pseudonym, "group": "g", "zone": "UTC", "kind": "meter"}
        self.command(**{
            "command": command, "name": name, "subject": pseudonym, "certificate": "c",
            "password": "p", "subjects": subjects, "allowed": [], "group": "g", "zone": "UTC",
            "bulk": "true", "devices": [item] if subjects == "self" else [], **more,
        })  # fmt: skip

    def started(self) -> BulkProcess:
        """The process, once it is ready; a bulk message must have been seen."""
        deadline = time.monotonic() + START_S
        while True:
            helpers = self.bulk._helpers
            if helpers and helpers[0].process.ready():
                return helpers[0].process
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self) -> None:
        self.bulk.close()
        self.vault.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes is a bulk message."""
    monkeypatch.setattr(bulk_worker, "BULK_BYTES_MIN", 1)
    monkeypatch.setattr(bulk_worker, "RESTART_AFTER_S", 0.0)


@pytest.fixture
def two(tmp_path: Path, small: None) -> Iterator[Two]:
    """With a process that is ready and a head-end whose twenty meters are known."""
    both = Two(tmp_path / "vault")
    both.play(*headend(readings(20)))  # makes them devices
    both.play(*headend(readings(20, "0")))  # they are known from here on
    both.started()
    yield both
    both.close()


def headend(*raws: bytes) -> list[tuple[str, str, bytes]]:
    return [("headend", "cim", raw) for raw in raws]


# -- the same, whoever works -------------------------------------------------------------------

NAMES = [f"m-{number}" for number in range(12)]
ELEMENTS = st.builds(
    element,
    st.sampled_from([*NAMES, " m-1 ", "", "foreign", "m-1\x7f"]),
    st.sampled_from(["1.5", "0", "-3", "1e400", "NaN", "", "12,5", "7.000001"]),
    st.sampled_from([
        "2026-01-15T11:00:00+01:00", "2026-01-15T10:15:00Z", "2026-01-15T10:15:00", "never",
        "2026-01-15T10:15:00.1234567Z",
    ]),
    st.sampled_from([
        "", "", "<source>x</source>", "<value>2</value>",
        '<ReadingQualities><ReadingQualityType ref="1.0.0"/></ReadingQualities>',
        '<ReadingQualities><ReadingQualityType ref="bad"/></ReadingQualities>',
        '<timePeriod><start>2026-01-15T10:00:00Z</start><end>2026-01-15T09:00:00Z</end></timePeriod>',
        '<ReadingType ref="9.9.9"/>',
    ]),
)  # fmt: skip
GOOD = st.lists(st.sampled_from(NAMES), min_size=1, max_size=12).map(
    lambda names: cim(*(element(name, "2.25") for name in names))
)
DER = st.sampled_from([
    {"device": "pv-1", "timestamp": "2026-01-15T10:00:00Z", "readings": []},
    {"device": "m-1", "timestamp": "2026-01-15T10:00:00Z"},
    [],
    {"a": {"b": 1}},
]).map(lambda data: json.dumps(data).encode())  # fmt: skip
MESSAGES = st.tuples(
    st.sampled_from(["headend", "headend", "headend", "other", "m-1", "nobody"]),
    st.sampled_from(["cim", "cim", "cim", "cim", "sep2", "pmu"]),
    st.one_of(
        GOOD,
        st.lists(ELEMENTS, max_size=6).map(lambda parts: cim(*parts)),
        st.sampled_from([b"", b"<", b"<a/>", b"\xff", readings(2)[:-9], readings(3) + b" "]),
    ),
) | st.tuples(st.just("headend"), st.just("der"), DER)
STEPS = st.one_of(
    st.tuples(st.just("play"), st.lists(MESSAGES, min_size=1, max_size=8), st.booleans()),
    st.tuples(st.just("play"), st.lists(MESSAGES, min_size=1, max_size=8), st.booleans()),
    st.tuples(st.sampled_from(["revoke", "enrol"]), st.sampled_from(["headend", "other", "m-1"])),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=3, max_size=8))
def test_it_makes_no_difference(
    steps: list[tuple[Any, ...]], small: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    two = Two(tmp_path_factory.mktemp("vault"), processes=2)
    try:
        two.enrol("m-1", "self")
        two.enrol("other", "any", groups=["g"])
        two.play(*headend(readings(8)))
        two.started()
        for step, what, *more in steps:
            if step == "play":
                two.play(*what, at_us=AT_US + YEAR_US * more[0])
            else:
                two.enrol(what, "self" if what == "m-1" else "any", command=step)
        two.enrol("headend", "any")
        good = [cim(*(element(f"z-{n}", value) for n in range(8))) for value in "1234"]
        two.play(*headend(good[0]))  # makes them devices
        two.play(*headend(good[1]))  # they are known from here on
        before = two.bulk.answered
        two.play(*headend(*good[2:]))
        assert two.bulk.answered == before + 2
    finally:
        two.close()


def test_good_messages_are_answered_by_the_process(two: Two) -> None:
    worked = two.play(*headend(*(readings(20, str(value)) for value in range(30))))
    assert two.bulk.answered == 30
    assert {len(one.drafts) for one in worked} == {21}  # and the message's own


def der(meter: str, value: int) -> bytes:
    reading = {"begin": "2026-01-15T10:00:00Z", "end": "2026-01-15T10:15:00Z", "unit": "Wh",
               "measurand": "activeEnergyExport", "value": str(value)}  # fmt: skip
    return json.dumps([{"device": meter, "readings": [reading]}]).encode()


def frames(meter: str, first: int, many: int = 10) -> bytes:
    """Of a stream of 50 a second."""
    reading = {"component": "c", "measurand": "frequency", "phase": "A", "data": 50.25}
    return json.dumps([
        {"device": meter, "readings": [reading],
         "timestamp": f"2026-01-15T10:00:{n // 50:02d}.{n % 50 * 20:03d}000+00:00"}
        for n in range(first, first + many)
    ]).encode()  # fmt: skip


@pytest.mark.parametrize("together", [1, 2_000, 40_000])
def test_small_messages_of_every_format_go_together(
    two: Two, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_worker, "BULK_BYTES_MIN", together)
    sent = [
        one
        for n in range(40)
        for one in [
            ("headend", "der", der(f"m-{n % 20}", n)),
            ("headend", "pmu", frames("m-1", 10 * n)),
            ("headend", "pmu", b"[" if n == 7 else frames(f"m-{n % 2}", 10 * n - 3)),
            *headend(readings(3, str(n))),
        ]
    ]
    taken = two.play(*sent)
    assert two.bulk.answered > 100
    assert {one.message.format for one in taken if one.findings} == {"pmu"}  # doubled frames
    assert sum(one.taken for one in taken) >= 600
    assert {draft.kind for one in taken for draft in one.drafts} >= {"phasors", "telemetry"}


def test_a_message_that_is_no_longer_the_next_one(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given out together is asked for one by one, or not at all."""
    monkeypatch.setattr(bulk_worker, "BULK_BYTES_MIN", 2_000)
    messages = two.messages(*(("headend", "der", der("m-1", n)) for n in range(200)))
    two.ahead(messages)
    for message in messages[::3]:
        two.take(message)
    assert two.bulk.answered > 20
    assert len(two.bulk._sent) < 40


def test_two_processes_answer_in_order(tmp_path: Path, small: None) -> None:
    two = Two(tmp_path, processes=2)
    two.play(*headend(readings(50)), *headend(readings(50, "0")))
    two.started()
    many = headend(*(readings(50, str(value)) for value in range(200)))
    two.play(*many)
    assert len(two.bulk._helpers) == 2
    assert two.bulk.answered > 150
    two.close()


def test_what_the_process_does_not_know_is_worked_here(two: Two) -> None:
    news = cim(element("m-1", "1"), element("new", "1"))
    refused = [b"<", cim(element("", "1")), cim()]
    two.play(*headend(news, *refused))
    assert two.bulk.answered == 0
    two.play(*headend(news))  # the registry is another one: its devices come to be known again
    two.play(*headend(news))
    assert two.bulk.answered == 1


def test_a_registry_that_changes_in_between(two: Two) -> None:
    """Handed out while the sender was good, taken when it is not."""
    first, second, third = two.messages(*headend(readings(20, "1"), readings(20, "2"), b"<a/>"))
    two.ahead([first, second, third])
    two.take(first)
    assert two.bulk.answered == 1
    sender = two.registries[0].senders["headend"]
    command = {
        "command": "revoke", "name": "headend", "subject": sender.subject, "certificate": "",
        "password": "", "subjects": "any", "allowed": [], "group": "g", "zone": "UTC",
        "bulk": "true", "devices": [],
    }  # fmt: skip
    revoke = RawMessage("e", 0, 10**6, OPERATOR, COMMAND_FORMAT, AT_US, jcs.encode(command))
    for worker in (two.alone, two.helped):
        worker.apply(worker.process(revoke).drafts)
    refused = two.take(second)
    assert [finding.code for finding in refused.refused] == ["sender-revoked"]
    assert two.bulk.answered == 1


def test_another_message_at_the_same_place_is_not_answered(two: Two) -> None:
    [message] = two.messages(*headend(readings(20, "1")))
    two.ahead([message])
    other = RawMessage("e", 0, message.offset, "headend", "cim", AT_US, readings(20, "2"))
    two.take(other)
    assert two.bulk.answered == 0


def test_messages_that_nobody_asks_for_are_forgotten(two: Two) -> None:
    """Retries are answered by the archive: their work is for nothing, and nothing waits for it."""
    for value in range(5):
        messages = two.messages(*headend(*[readings(20, str(value))] * 6, readings(20, "9")))
        two.ahead(messages)
        two.take(messages[0])
        two.take(messages[-1])
    before = two.bulk.answered

    def answered() -> bool:
        two.play(*headend(readings(20, "7")))
        return two.bulk.answered > before

    wait_for(answered)


@pytest.mark.parametrize(
    ("size", "most"), [(64 << 10, 16), (300_000, 7), (1 << 20, 4), (5 << 20, 4), (17 << 20, 1)]
)
def test_how_much_is_under_way(size: int, most: int) -> None:
    """Of small tasks more, or the process stands still while the platform commits."""
    helper = bulk_worker._Helper(None)  # type: ignore[arg-type]  # it is asked for nothing
    while helper.has_room():
        helper.under_way.append(bulk_worker._Sent([], helper, size))
    assert len(helper.under_way) == most


def test_small_messages_start_no_process(tmp_path: Path) -> None:
    two = Two(tmp_path)
    two.play(*headend(readings(20), readings(20, "2")))
    assert two.bulk._helpers == []
    two.play(*headend(readings(400)))
    assert len(two.bulk._helpers) == 1
    two.close()


def test_none_is_started_where_none_is_wanted(tmp_path: Path, small: None) -> None:
    two = Two(tmp_path, processes=0)
    two.play(*headend(readings(20)))
    assert two.bulk._helpers == []
    assert bulk_worker.processes_for(0) == 0
    assert 1 <= bulk_worker.processes_for(4) <= 4
    two.close()


def test_an_answer_that_its_place_is_too_small_for(two: Two) -> None:
    """Half a million bytes a message are in the place, ten million come through the pipe."""
    for meters in (500, 8_000):
        many = [cim(*(element(f"m-{n % 20}", f"{value}.{n}") for n in range(meters)))
                for value in range(3)]  # fmt: skip
        before = two.bulk.answered
        two.play(*headend(*many))
        assert two.bulk.answered == before + 3


# -- a process that fails ----------------------------------------------------------------------


def test_a_process_that_is_killed_is_done_without_and_replaced(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    first = two.started()
    messages = two.messages(*headend(*(readings(20, str(value)) for value in range(8))))
    two.ahead(messages)
    os.kill(first.pid, signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        for message in messages:
            two.take(message)
    assert "given up" in caplog.text
    assert not alive(first.pid)
    two.play(*headend(readings(20, "8")))
    assert two.started().pid != first.pid
    before = two.bulk.answered
    two.play(*headend(readings(20, "9")))
    assert two.bulk.answered == before + 1


def test_after_a_failure_there_is_a_pause(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_worker, "RESTART_AFTER_S", 3600.0)
    os.kill(two.started().pid, signal.SIGKILL)
    for value in range(4):
        two.play(*headend(readings(20, str(value))))
    assert two.bulk._helpers == []


def test_a_process_that_hangs_is_given_up(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_worker, "ANSWER_WITHIN_S", 0.2)
    first = two.started()
    os.kill(first.pid, signal.SIGSTOP)
    two.play(*headend(readings(20, "1")))
    assert not alive(first.pid)


def test_a_process_that_takes_nothing_is_given_up(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_process, "SEND_WITHIN_S", 0.2)
    first = two.started()
    os.kill(first.pid, signal.SIGSTOP)
    two.play(*headend(readings(20, "1") + b" " * (2 << 20)))  # more than the pipe holds
    assert not alive(first.pid)


LIES = {
    "another message": "c.Answers.to = lambda self, task: (task.number + 1, None)",
    "no pair": "c.Answers.to = lambda self, task: 7",
    "no list": "c.Answers.to = lambda self, task: (task.number, 7)",
    "no columns": "c.Answers.to = lambda self, task: (task.number, [7])",
    "one too many": "c.Answers.to = lambda self, task: (task.number, [None, None])",
    "a column too short": (
        "true = c.Answers.to; c.Answers.to = lambda self, task: (lambda number, told: (number,"
        " [one and (*one[:3], [], *one[4:]) for one in told]))(*true(self, task))"
    ),
    "no frame": "c.Places.put = lambda self, answer: b'\\0\\0\\0\\4junk'",
    "half a frame": "c.Places.put = lambda self, answer: b'\\0\\0\\0\\1('",
    "a frame without end": "c.Places.put = lambda self, answer: bytes([255] * 4 + [0] * 999)",
    "a place with nothing in it": "c.Places.put = lambda self, answer: c.frame((b'', 1 << 40))",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_process_that_answers_what_is_none(
    tmp_path: Path, small: None, lie: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    honest, begin = bulk_process._CODE, "from infra.bulk_child import main; main({memory})"
    assert honest.endswith(begin)
    lying = f"import infra.bulk_child as c; {lie}; c.main({{memory}})"
    monkeypatch.setattr(bulk_process, "_CODE", honest.replace(begin, lying))
    two = Two(tmp_path / "vault")
    two.play(*headend(readings(20)), *headend(readings(20, "0")))
    first = two.started()
    monkeypatch.setattr(bulk_process, "_CODE", honest)
    with caplog.at_level(logging.WARNING):
        two.play(*headend(readings(20, "1"), readings(20, "2")))
    assert "given up" in caplog.text
    assert two.bulk.answered == 0
    assert not alive(first.pid)

    def answered() -> bool:  # by the next one
        two.play(*headend(readings(20, "3")))
        return two.bulk.answered > 0

    wait_for(answered)
    two.close()


def test_stop_wakes_who_waits_for_an_answer(two: Two) -> None:
    [message] = two.messages(*headend(readings(20, "1")))
    os.kill(two.started().pid, signal.SIGSTOP)
    two.ahead([message])
    two.bulk.stop()
    two.take(message)
    two.play(*headend(readings(20, "2")))
    assert two.bulk._helpers == []
    assert two.bulk.answered == 0


def test_a_system_that_starts_no_process(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    two = Two(tmp_path / "vault")
    two.play(*headend(readings(20), readings(20, "2")))
    assert two.bulk._helpers == []
    two.close()


def test_it_ends_with_the_platform(tmp_path: Path) -> None:
    """Also where that was killed, and while it has work."""
    code = (
        "import sys, time\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from infra.bulk_process import BulkProcess\n"
        "child = BulkProcess()\n"
        "while not child.ready(): time.sleep(0.01)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    wait_for(lambda: not alive(child))


def test_it_imports_neither_network_nor_database_nor_chain() -> None:
    code = "import infra.bulk_child, json, sys; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    loaded = set(json.loads(told))
    unwanted = {
        "socket", "ssl", "sqlite3", "asyncio", "http", "fastapi", "starlette", "uvicorn", "web3",
        "eth", "rdflib", "subprocess", "infra.engine", "infra.stores",
    }  # fmt: skip
    assert loaded & unwanted == set()


# -- helpers -----------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
