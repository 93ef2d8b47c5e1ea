"""An upgrade: what an older version mapped, and this one maps otherwise (docs/spec/log.md)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bal import jcs, pipeline
from bal.certify.log import OWN_SOURCE
from bal.errors import Stop
from bal.harmonise import harmonise
from bal.model import Harmonised
from infra.audit import report
from infra.file_log import FileLog
from infra.fsck import fsck
from infra.replay import replay
from tests.journey.small_platform import Small, cim
from tests.journey.test_recovery import begun, readings

OLD = {"mapper": "0.0.9", "context": "c" * 64, "tzdata": "2019a"}
ALIKE = "1.5"  # a value that both versions map alike


def old_mapper(real: Callable[..., Harmonised]) -> Callable[..., Harmonised]:
    """As `harmonise`, but that some values get another record."""

    def other(*arguments: Any, **more: Any) -> Harmonised:
        found = real(*arguments, **more)
        for draft in found.records:
            draft.record = draft.record.replace(b'"value":"7000"', b'"value":"7000.0"')
        return found

    return other


def as_old(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(pipeline, "harmonise", old_mapper(harmonise))
    return monkeypatch


def crashed(root: Path, value: str) -> None:
    """The old version took five readings, which are in the log, and stored nothing of them."""
    small = Small(root, rules_of=OLD)
    small.start()
    small.enrol("headend")
    small.stores.projector.sync()
    small.stores.projector.store = lambda *_: None  # type: ignore[method-assign]
    small.take("headend", cim(0, range(5), value))
    small.kill()


def test_what_is_mapped_alike_is_stored_by_the_new_version(tmp_path: Path) -> None:
    crashed(tmp_path, ALIKE)
    small = Small(tmp_path)
    assert readings(small) == 5
    small.close()
    audit = replay(tmp_path)
    assert (audit.differences, audit.other_rules, dict(audit.unchecked)) == ([], 0, {})
    assert fsck(tmp_path).differences == []


def test_what_is_mapped_otherwise_needs_the_old_version_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        as_old(patch)
        crashed(tmp_path, "7")
    for _ in range(2):  # it changes nothing
        with pytest.raises(Stop) as caught:
            Small(tmp_path)
        assert caught.value.code == "rules-differ"
        assert "were mapped by tzdata 2019a, mapper 0.0.9, context cccc" in str(caught.value)
    with monkeypatch.context() as patch:
        as_old(patch)
        Small(tmp_path, rules_of=OLD).close()
    small = Small(tmp_path)
    assert readings(small) == 5
    small.close()


def test_without_another_version_a_difference_is_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        as_old(patch)
        crashed(tmp_path, "7")
    with pytest.raises(Stop) as caught:
        Small(tmp_path, rules_of=OLD)
    assert caught.value.code == "worker-differs"


@pytest.fixture
def upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Messages of both versions; the first names new devices and is mapped otherwise now."""
    with monkeypatch.context() as patch:
        as_old(patch)
        small = Small(tmp_path, rules_of=OLD)
        small.start()
        small.enrol("headend")
        small.take("headend", cim(0, range(5), "7"), cim(1, range(5), ALIKE))
        small.close()
    small = Small(tmp_path)
    small.start()
    small.take("headend", cim(2, range(7), "7"))
    small.close()
    return tmp_path


def test_a_replay_tells_other_rules_from_a_difference(
    upgraded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = replay(upgraded)
    assert audit.differences == []
    assert audit.counts["messages made again"] == 3  # the enrolment, one of each version
    (text,) = audit.unchecked
    assert text.startswith("messages that this version maps otherwise: tzdata 2019a, mapper 0.0.9")
    assert (audit.unchecked[text], audit.other_rules) == (1, 1)
    assert report("replay", audit, as_json=False) == 2
    assert "must be looked at with the version that made them" in capsys.readouterr().out


def test_a_header_can_not_put_a_difference_down_to_other_rules(
    upgraded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rules must be those of the newest rules record, which the log's root binds."""
    real = FileLog.headers

    def headers(self: FileLog, *asked: Any) -> list[tuple[tuple[int, int], bytes]]:
        return [(place, _altered(header)) for place, header in real(self, *asked)]

    monkeypatch.setattr(FileLog, "headers", headers)
    assert [one.check for one in replay(upgraded).differences] == ["header-differs"]


def _altered(header: bytes) -> bytes:
    data = jcs.decode(header)
    if data["epoch"] != OWN_SOURCE and data["offset"] == "3":  # the last message's
        data["inputs"]["rules"] = "0" * 64
    return jcs.encode(data)


def test_the_same_version_goes_on_without_a_word(tmp_path: Path) -> None:
    begun(tmp_path).close()
    small = Small(tmp_path)
    heads = small.sequencer.heads
    small.close()
    small = Small(tmp_path)
    assert small.sequencer.heads == heads
    small.close()
