"""The Vault port: one pseudonym an identity, one key a subject and year, and nothing forgotten."""

import re
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from hmac import digest as hmac_digest
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from bal.model import Identity, Pseudonym
from infra.sqlite_vault import SqliteVault

Adapter = SqliteVault  # the port, and `salt_key`, `archive_key`, `close`
METERS = [Identity(f"name:authority/meter/{number:08d}") for number in range(40)]


class FixedClock:
    def now_us(self) -> int:
        return 1_768_471_200_000_000


def sqlite(folder: Path, random_bytes: Callable[[int], bytes]) -> Adapter:
    return SqliteVault(folder / "vault", FixedClock(), random_bytes)


ADAPTERS: list[Callable[[Path, Callable[[int], bytes]], Adapter]] = [sqlite]


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Adapter]]:
    made: list[Adapter] = []
    source = Random(3)

    def open_() -> Adapter:
        made.append(request.param(tmp_path, source.randbytes))
        return made[-1]

    yield open_
    for adapter in made:
        adapter.close()


@pytest.fixture
def vault(opened: Callable[[], Adapter]) -> Adapter:
    return opened()


def test_a_new_vault_knows_nobody(vault: Adapter) -> None:
    assert vault.find(METERS) == {}
    assert vault.identity(Pseudonym("A" * 43)) is None
    assert vault.salt_key(Pseudonym("A" * 43), 2026) is None


def test_everybody_gets_one_pseudonym_and_keeps_it(vault: Adapter) -> None:
    first = vault.pseudonyms(METERS[:3])
    assert list(first) == METERS[:3]
    assert len(set(first.values())) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", name) for name in first.values())
    again = vault.pseudonyms([METERS[4], METERS[1], METERS[1]])
    assert again[METERS[1]] == first[METERS[1]]
    assert again[METERS[4]] not in first.values()
    assert vault.find(METERS) == first | again
    assert [vault.identity(name) for name in first.values()] == METERS[:3]


def test_finding_creates_nobody(vault: Adapter) -> None:
    assert vault.find(METERS[:2]) == {}
    assert vault.find([]) == vault.pseudonyms([]) == {}
    assert vault.find(METERS[:2]) == {}


def test_a_key_a_subject_and_year(vault: Adapter) -> None:
    names = list(vault.pseudonyms(METERS[:3]).values())
    keys = vault.salt_keys(names[:2], 2026)
    later = vault.salt_keys(names, 2027)
    assert list(keys) == names[:2]
    assert {len(key) for key in [*keys.values(), *later.values()]} == {32}
    assert len({*keys.values(), *later.values()}) == 5
    assert vault.salt_keys([names[1], names[1], names[0]], 2026) == keys
    assert vault.salt_key(names[0], 2026) == keys[names[0]]


def test_reading_a_key_creates_none(vault: Adapter) -> None:
    name = vault.pseudonyms(METERS[:1])[METERS[0]]
    assert vault.salt_key(name, 2026) is None
    assert vault.salt_key(name, 2026) is None
    assert vault.salt_keys([name], 2026) == {name: vault.salt_key(name, 2026)}


def test_who_only_looks_makes_no_key(opened: Callable[[], Adapter], tmp_path: Path) -> None:
    """It asks for those of rows that are there: where one is gone, it was erased."""
    vault = opened()
    names = list(vault.pseudonyms(METERS[:2]).values())
    key = vault.salt_keys(names[:1], 2026)
    with closing(SqliteVault(tmp_path / "vault", FixedClock(), read_only=True)) as looked_at:
        assert looked_at.salt_keys(names[:1], 2026) == key
        for year, wanted in ((2026, names), (2027, names[:1])):
            with pytest.raises(KeyError):
                looked_at.salt_keys(wanted, year)
    assert vault.salt_key(names[1], 2026) is None


def test_a_stranger_gets_no_key_and_nobody_else_beside_him(vault: Adapter) -> None:
    name = vault.pseudonyms(METERS[:1])[METERS[0]]
    with pytest.raises(KeyError):
        vault.salt_keys([name, Pseudonym("A" * 43)], 2026)
    assert vault.salt_key(name, 2026) is None


def test_everything_is_there_after_opening_again(opened: Callable[[], Adapter]) -> None:
    with closing(opened()) as first:
        names = first.pseudonyms(METERS)
        keys = first.salt_keys(list(names.values()), 2026)
        archive_key = first.archive_key()
    vault = opened()
    assert vault.find(METERS) == names
    assert vault.salt_keys(list(names.values()), 2026) == keys
    assert vault.archive_key() == archive_key
    assert len(archive_key) == 32


def test_two_open_vaults_see_each_others_subjects(opened: Callable[[], Adapter]) -> None:
    one, two = opened(), opened()
    names = one.pseudonyms(METERS[:5])
    assert two.pseudonyms(METERS[:5]) == names
    keys = two.salt_keys(list(names.values()), 2026)
    assert one.salt_keys(list(names.values()), 2026) == keys
    assert one.archive_key() == two.archive_key()


def test_threads_that_ask_at_once_get_the_same(vault: Adapter) -> None:
    answers: list[tuple[dict[Identity, Pseudonym], dict[Pseudonym, bytes]]] = []

    def ask(seed: int) -> None:
        names = vault.pseudonyms(Random(seed).sample(METERS, len(METERS)))
        answers.append((names, vault.salt_keys(list(names.values()), 2026)))

    threads = [Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert all(answer == answers[0] for answer in answers)


def test_more_than_the_memory_holds_is_read_from_the_file(
    vault: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.sqlite_vault.CACHED_MAX", 3)
    names = {meter: vault.pseudonyms([meter])[meter] for meter in METERS}
    keys = {name: vault.salt_keys([name], 2026)[name] for name in names.values()}
    assert vault.pseudonyms(METERS) == names
    assert vault.salt_keys(list(names.values()), 2026) == keys


def test_after_a_move_the_meter_has_a_new_pseudonym_and_the_old_one_its_identity(
    tmp_path: Path,
) -> None:
    """A closed epoch (SQLite: nothing closes one yet) stays readable, and is nobody's any more."""
    with closing(sqlite(tmp_path, Random(1).randbytes)) as vault:
        old = vault.pseudonyms(METERS[:1])[METERS[0]]
        key = vault.salt_keys([old], 2026)[old]
    with closing(sqlite3.connect(tmp_path / "vault" / "vault.db")) as db:
        db.execute("UPDATE subject SET closed_us = 1")
        db.commit()
    with closing(sqlite(tmp_path, Random(2).randbytes)) as vault:
        assert vault.find(METERS[:1]) == {}
        new = vault.pseudonyms(METERS[:1])[METERS[0]]
        assert new != old
        assert vault.identity(old) == vault.identity(new) == METERS[0]
        assert vault.salt_key(old, 2026) == key


# --- chance and clock are handed in (SQLite) ------------------------------------------------------


def test_the_pseudonym_is_that_of_the_key_that_chance_gave(tmp_path: Path) -> None:
    key = sha256(b"chance").digest()
    with closing(sqlite(tmp_path, lambda size: key[:size])) as vault:
        found = vault.pseudonyms(METERS[:1])[METERS[0]]
    tag = hmac_digest(key, b"gridseal/pseudonym/v1", "sha256")
    assert found == urlsafe_b64encode(tag).rstrip(b"=").decode()


def test_without_being_handed_chance_it_is_not_the_same_twice(tmp_path: Path) -> None:
    found = set()
    for folder in ("a", "b"):
        with closing(SqliteVault(tmp_path / folder, FixedClock())) as vault:
            found |= set(vault.pseudonyms(METERS[:1]).values()) | {vault.archive_key()}
    assert len(found) == 4


# --- subject epochs (SQLite) ----------------------------------------------------------------------


def test_a_later_epoch_is_the_open_one_and_the_earlier_stay(opened: Callable[[], Adapter]) -> None:
    one, other = opened(), opened()
    first = one.pseudonyms(METERS[:1])[METERS[0]]
    assert other.find(METERS[:1]) == {METERS[0]: first}
    second = one.begin(METERS[0], "K-2")
    assert one.pseudonyms(METERS[:1]) == one.find(METERS[:1]) == {METERS[0]: second}
    assert one.epochs(METERS[0]) == other.epochs(METERS[0]) == [second, first]
    assert one.identity(first) == one.identity(second) == METERS[0]
    assert one.epochs(METERS[1]) == []


def test_who_is_found_by_pseudonym_identity_and_holder(vault: Adapter) -> None:
    first = vault.pseudonyms(METERS[:1])[METERS[0]]
    vault.salt_keys([first], 2025)
    vault.salt_keys([first], 2026)
    vault.hold(first, "K-1")
    second = vault.begin(METERS[0], "K-2")
    other = vault.begin(METERS[1], "K-2")
    assert vault.who(first) == [(METERS[0], first, "K-1", (2025, 2026))]
    assert [one.pseudonym for one in vault.who(METERS[0])] == [first, second]
    assert [one.pseudonym for one in vault.who("K-2")] == [second, other]
    assert vault.who("") == vault.who("nobody") == []
    with pytest.raises(KeyError):
        vault.hold(Pseudonym("A" * 43), "K-1")
