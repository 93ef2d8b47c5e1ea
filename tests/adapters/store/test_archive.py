"""The RawArchive port: what was put comes back, and nothing of it once its key is gone."""

import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from hmac import digest as hmac_digest
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.errors import Stop
from bal.model import Pseudonym, RawMessage, Subject
from bal.ports import ArchiveItem
from infra.archive_seal import Sealer
from infra.sqlite_archive import SqliteArchive

EPOCH = "00112233445566aa"
RECEIVED_US = 1_768_471_200_000_000  # 2026-01-15T10:00:00Z
Cut = list[tuple[int, int, Subject]]
Erased = set[tuple[Pseudonym, int]]
Adapter = SqliteArchive  # the port, and `put`, `parts`, `close`


def salt_key(pseudonym: str, year: int) -> bytes:
    return sha256(f"{pseudonym} {year}".encode()).digest()


def subject(name: str, year: int = 2026) -> Subject:
    return Subject(Pseudonym(name.ljust(43, "-")), salt_key(name.ljust(43, "-"), year), "g", "g/0")


def sqlite(folder: Path, erased: Erased) -> Adapter:
    def key(pseudonym: Pseudonym, year: int) -> bytes | None:
        return None if (pseudonym, year) in erased else salt_key(pseudonym, year)

    return SqliteArchive(folder / "archive", b"a" * 32, key)


ADAPTERS: list[Callable[[Path, Erased], Adapter]] = [sqlite]


@pytest.fixture
def erased() -> Erased:
    """Keys that the vault no longer has."""
    return set()


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, erased: Erased
) -> Iterator[Callable[[], Adapter]]:
    made: list[Adapter] = []

    def open_() -> Adapter:
        made.append(request.param(tmp_path, erased))
        return made[-1]

    yield open_
    for adapter in made:
        adapter.close()


@pytest.fixture
def archive(opened: Callable[[], Adapter]) -> Adapter:
    return opened()


def a_message(offset: int, raw: bytes, **changes: object) -> RawMessage:
    plain = RawMessage(EPOCH, 0, offset, "head-end-1", "cim", RECEIVED_US, raw)
    return replace(plain, **changes)  # type: ignore[arg-type]


def put(archive: Adapter, message: RawMessage, parts: Cut, summary: bytes = b"") -> None:
    archive.put(message, sha256(message.raw).digest(), parts, summary)


def whole(raw: bytes, name: str = "meter-1") -> Cut:
    return [(0, len(raw), subject(name))]


@st.composite
def cut_messages(draw: st.DrawFn) -> tuple[bytes, Cut]:
    """Any bytes, cut anywhere (empty parts too), each part of one of four subjects."""
    raw = draw(st.binary(max_size=200))
    inner = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    bounds = [0, *inner, len(raw)]
    return raw, [
        (start, end, subject(draw(st.sampled_from(["platform", "m1", "m2", "m3"]))))
        for start, end in pairwise(bounds)
    ]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.__name__)
@settings(max_examples=60, deadline=None)
@given(cut=cut_messages(), gone=st.sets(st.sampled_from(["platform", "m1", "m2", "m3"])))
def test_each_part_opens_exactly_while_its_key_exists(
    adapter: Callable[[Path, Erased], Adapter], cut: tuple[bytes, Cut], gone: set[str]
) -> None:
    raw, parts = cut
    erased: Erased = set()
    with TemporaryDirectory() as folder, closing(adapter(Path(folder), erased)) as archive:
        put(archive, a_message(0, raw), parts)
        assert archive.raw(EPOCH, 0, 0) == a_message(0, raw)
        erased |= {(subject(name).pseudonym, 2026) for name in gone}
        names = {(owner.pseudonym, 2026) for _, _, owner in parts}
        assert archive.raw(EPOCH, 0, 0) == (None if names & erased else a_message(0, raw))
        assert archive.parts(EPOCH, 0, 0) == [
            (
                start,
                end,
                owner.pseudonym,
                None if (owner.pseudonym, 2026) in erased else raw[start:end],
            )
            for start, end, owner in parts
        ]


def test_what_never_was_is_not_there(archive: Adapter) -> None:
    put(archive, a_message(3, b"x"), whole(b"x"))
    for place in ((EPOCH, 0, 4), (EPOCH, 1, 3), ("0" * 16, 0, 3)):
        assert archive.raw(*place) is None
        assert archive.parts(*place) is None


def test_an_empty_message_is_kept(archive: Adapter) -> None:
    put(archive, a_message(0, b""), [])
    put(archive, a_message(1, b""), whole(b""))
    assert archive.raw(EPOCH, 0, 0) == a_message(0, b"")
    assert archive.raw(EPOCH, 0, 1) == a_message(1, b"")
    assert archive.parts(EPOCH, 0, 0) == []


def test_it_is_there_after_opening_again(opened: Callable[[], Adapter]) -> None:
    with closing(opened()) as first:
        put(first, a_message(0, b"abc"), whole(b"abc"), b"{}")
    archive = opened()
    assert archive.raw(EPOCH, 0, 0) == a_message(0, b"abc")
    assert archive.summary("head-end-1", sha256(b"abc").digest()) == b"{}"


def test_the_key_is_that_of_the_year_of_receipt(archive: Adapter, erased: Erased) -> None:
    message = a_message(0, b"abc", received_us=RECEIVED_US - 20 * 86_400_000_000)
    put(archive, message, [(0, 3, subject("meter-1", 2025))])
    erased.add((subject("meter-1").pseudonym, 2026))
    assert archive.raw(EPOCH, 0, 0) == message


@pytest.mark.parametrize(
    "bounds",
    [[], [(0, 2)], [(1, 3)], [(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 4)], [(0, 5), (5, 3)]],
)
def test_parts_that_do_not_cover_the_message_are_refused(
    archive: Adapter, bounds: Sequence[tuple[int, int]]
) -> None:
    with pytest.raises(ValueError, match="consecutive"):
        put(archive, a_message(0, b"abc"), [(a, b, subject("m")) for a, b in bounds])
    assert archive.raw(EPOCH, 0, 0) is None


@pytest.mark.parametrize("message_id", [b"", b"\0" * 31, b"\0" * 33])
def test_a_message_id_is_as_long_as_a_hash(archive: Adapter, message_id: bytes) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        archive.put(a_message(0, b"abc"), message_id, whole(b"abc"))


def item(offset: int, raw: bytes, summary: bytes = b"") -> ArchiveItem:
    return ArchiveItem(a_message(offset, raw), sha256(raw).digest(), whole(raw), summary)


def test_what_another_sealed_is_stored_as_if_it_were_sealed_here(archive: Adapter) -> None:
    message = a_message(0, b"abcdef")
    message_id = sha256(message.raw).digest()
    parts = [(0, 2, subject("m-1")), (2, 3, subject("m-2")), (3, 6, subject("m-1"))]
    sealed = Sealer().seal(message, archive.tag(message.credential, message_id), parts)
    archive.put_many([ArchiveItem(message, message_id, [], b"summary", sealed)])
    assert archive.raw(EPOCH, 0, 0) == message
    assert archive.summary(message.credential, message_id) == b"summary"
    stored = archive.parts(EPOCH, 0, 0)
    assert stored == [(a, b, whose.pseudonym, message.raw[a:b]) for a, b, whose in parts]


def test_what_was_sealed_for_another_archive_is_sealed_anew(archive: Adapter) -> None:
    message = a_message(0, b"abc")
    foreign = Sealer().seal(message, bytes(32), whole(b"abc"))
    archive.put_many([replace(item(0, b"abc"), sealed=foreign)])
    assert archive.raw(EPOCH, 0, 0) == message


def test_putting_again_changes_nothing(archive: Adapter) -> None:
    archive.put_many([item(0, b"abc", b"first"), item(1, b"def")])
    archive.put_many([item(0, b"abc", b"second"), item(1, b"def", b"later"), item(2, b"ghi")])
    assert [archive.raw(EPOCH, 0, offset) for offset in range(3)] == [
        a_message(0, b"abc"),
        a_message(1, b"def"),
        a_message(2, b"ghi"),
    ]
    found = [
        archive.summary("head-end-1", sha256(raw).digest()) for raw in (b"abc", b"def", b"ghi")
    ]
    assert found == [b"first", None, None]


def test_another_message_at_the_same_place_stops(archive: Adapter) -> None:
    archive.put_many([item(0, b"abc")])
    with pytest.raises(Stop) as caught:
        archive.put_many([item(1, b"new"), item(0, b"abd")])
    assert caught.value.code == "archive-differs"
    assert archive.raw(EPOCH, 0, 0) == a_message(0, b"abc")
    assert archive.raw(EPOCH, 0, 1) is None


# --- summaries ------------------------------------------------------------------------------------


def test_a_summary_is_of_one_sender_and_one_message(archive: Adapter) -> None:
    archive.put_many([item(0, b"abc", b"{}")])
    assert archive.summary("head-end-2", sha256(b"abc").digest()) is None
    assert archive.summary("head-end-1", sha256(b"abd").digest()) is None


def test_the_same_message_at_two_places_has_one_summary(archive: Adapter) -> None:
    """Two copies that slipped through side by side: the first one's receipts are given."""
    archive.put_many([item(9, b"abc"), item(0, b"abc", b"first"), item(1, b"abc", b"second")])
    assert archive.summary("head-end-1", sha256(b"abc").digest()) == b"first"
    assert archive.raw(EPOCH, 0, 1) == a_message(1, b"abc")


# --- what the file shows (SQLite) -----------------------------------------------------------------

SECRETS = [b"0012345678", b"head-end-1", sha256(b"meter 0012345678").digest(), b"receipt of"]


def test_the_file_shows_no_name_no_sender_and_no_hash(tmp_path: Path) -> None:
    raw = b"meter 0012345678"
    with closing(sqlite(tmp_path, set())) as archive:
        put(archive, a_message(0, raw), whole(raw), b"receipt of 0012345678 " + SECRETS[2])
        data = b"".join(path.read_bytes() for path in (tmp_path / "archive").iterdir())
        assert len(data) > len(raw)
        for secret in SECRETS:
            assert secret not in data
            assert secret.hex().encode() not in data


def rows_of(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "archive" / "archive.db")) as db:
        return db.execute("SELECT * FROM message ORDER BY id").fetchall()


def test_putting_twice_makes_the_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        with closing(sqlite(folder, set())) as archive:
            archive.put_many([item(0, b"abc", b"{}"), item(1, b"abc"), item(2, b"abd")])
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    sealed = [row[-1] for row in rows_of(tmp_path / "a")]
    assert len(set(sealed)) == 3  # the same text at another place is sealed otherwise


def test_the_sealed_bytes_are_those_of_the_specification(tmp_path: Path) -> None:
    """docs/spec/store.md §Archive, followed by hand: parts of two subjects, the first twice."""
    one, two = subject("m1"), subject("m2")
    with closing(sqlite(tmp_path, set())) as archive:
        put(archive, a_message(7, b"aabbcc"), [(0, 2, one), (2, 4, two), (4, 6, one)], b"{}")
    row = rows_of(tmp_path)[0]
    identity = b"gridseal/archive-message/v1\0head-end-1\0" + sha256(b"aabbcc").digest()
    both = hmac_digest(b"a" * 32, identity, "sha512")
    tag = both[:32]
    texts = [b"\x00\x0ahead-end-1" + b"aacc", b"bb"]
    layout = struct.pack(">II", 2, 3) + (one.pseudonym + two.pseudonym).encode()
    layout += struct.pack(">II", *[len(text) + 16 for text in texts])
    layout += struct.pack(">III", 2, 4, 6) + struct.pack(">III", 0, 1, 0)
    clear = f"{EPOCH}/0/7 cim {RECEIVED_US}\n".encode()
    binding = sha256(clear + tag + layout).digest()
    sealed = b""
    for owner, text in zip((one, two), texts, strict=True):
        key = hmac_digest(owner.salt_key, b"gridseal/archive/v1", "sha256")
        sealed += AESGCM(key).encrypt(binding[:12], text, binding)
    label = b"gridseal/archive-summary-nonce/v1\0"
    nonce = hmac_digest(b"a" * 32, label + tag + b"{}", "sha256")[:12]
    summary = nonce + AESGCM(both[32:]).encrypt(nonce, b"{}", tag)
    assert row[6:] == (tag, summary, layout, sealed)


def test_two_subjects_of_one_key_are_refused(tmp_path: Path) -> None:
    """They would share the key and the nonce for two texts."""
    one, two = subject("m1"), replace(subject("m2"), salt_key=subject("m1").salt_key)
    with closing(sqlite(tmp_path, set())) as archive:
        with pytest.raises(ValueError, match="one key"):
            put(archive, a_message(0, b"aabb"), [(0, 2, one), (2, 4, two)])
        assert archive.raw(EPOCH, 0, 0) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sealed", "CAST(substr(sealed, 1, 5) || x'00' || substr(sealed, 7) AS BLOB)"),
        ("sealed", "substr(sealed, 1, length(sealed) - 1)"),
        ("sealed", "CAST(sealed || x'00' AS BLOB)"),
        ("sealed", "'text'"),
        ("layout", "substr(layout, 1, length(layout) - 1)"),
        ("layout", "x''"),
        ("layout", "NULL"),
        ("received_us", "received_us + 1"),
        ("format", "'der'"),
        ("tag", "zeroblob(32)"),
        ("place", "place + 1"),
    ],
)
def test_what_was_altered_does_not_open(tmp_path: Path, column: str, value: str) -> None:
    with closing(sqlite(tmp_path, set())) as archive:
        archive.put_many([item(0, b"abcdefgh")])
    with closing(sqlite3.connect(tmp_path / "archive" / "archive.db")) as db:
        if value == "NULL":
            db.execute("PRAGMA writable_schema=ON")
            db.execute(
                "UPDATE sqlite_schema SET sql = replace(sql, 'layout BLOB NOT NULL', 'layout')"
            )
            db.execute("PRAGMA writable_schema=RESET")
        db.execute(f"UPDATE message SET {column} = {value}")
        db.commit()
    with closing(sqlite(tmp_path, set())) as archive:
        offset = 1 if column == "place" else 0
        for read in (archive.raw, archive.parts):
            with pytest.raises(Stop) as caught:
                read(EPOCH, 0, offset)
            assert caught.value.code == "store-damaged"
            assert f"{EPOCH}/0/{offset}" in caught.value.text


def test_an_altered_summary_does_not_open(tmp_path: Path) -> None:
    with closing(sqlite(tmp_path, set())) as archive:
        archive.put_many([item(0, b"abc", b"{}")])
        with closing(sqlite3.connect(tmp_path / "archive" / "archive.db")) as db:
            db.execute("UPDATE message SET summary = zeroblob(30)")
            db.commit()
        with pytest.raises(Stop, match="summary"):
            archive.summary("head-end-1", sha256(b"abc").digest())


def test_a_part_moved_to_another_subject_does_not_open(tmp_path: Path) -> None:
    """Two parts of equal length swap owners in the layout: each key exists, neither opens."""
    raw = b"aabb"
    with closing(sqlite(tmp_path, set())) as archive:
        put(archive, a_message(0, raw), [(0, 2, subject("m1")), (2, 4, subject("m2"))])
        with closing(sqlite3.connect(tmp_path / "archive" / "archive.db")) as db:
            (layout,) = db.execute("SELECT layout FROM message").fetchone()
            one, two = b"\0\0\0\0", b"\0\0\0\1"
            assert layout.endswith(one + two)
            db.execute("UPDATE message SET layout = ?", (layout[:-8] + two + one,))
            db.commit()
        with pytest.raises(Stop, match="not those that were sealed"):
            archive.raw(EPOCH, 0, 0)
