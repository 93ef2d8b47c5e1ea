"""Every Book keeps the closes in order, once each, and the newest record of each date."""

from pathlib import Path

import pytest

from bal.model import Close, Digest, Pseudonym
from bal.ports import Book, BookEntry
from infra.sqlite_book import SqliteBook


def close(k: int, date: str = "2026-01-15") -> Close:
    return Close(k, date, 100 * k, 100 * k + 7, Digest(bytes([k]) * 32), Digest(bytes([99]) * 32))


def entry(name: bytes, version: int) -> BookEntry:
    digest = Digest(name * 32)
    return BookEntry(
        name * 32, Pseudonym("A" * 43), "r", 900, version, digest, name * 32, 10 * version
    )


class BookSuite:
    """What every adapter does; `make` opens what was there before."""

    def make(self, folder: Path) -> Book:
        raise NotImplementedError

    def test_closes_are_kept_in_order(self, tmp_path: Path) -> None:
        book = self.make(tmp_path)
        assert book.closes() == []
        for k in (1, 2, 3):
            book.add(close(k))
        assert book.closes() == [close(1), close(2), close(3)]
        assert book.closes(2) == [close(3)]
        book.sync()
        assert self.make(tmp_path).closes() == book.closes()

    def test_closes_that_are_kept_in_memory_are_those_of_the_file(self, tmp_path: Path) -> None:
        """One adapter adds, another one over the same file was asked before."""
        book, other = self.make(tmp_path), self.make(tmp_path)
        for k in range(1, 8):
            book.add(close(k))
            found = other.closes(k - 2)
            assert found == [close(n) for n in range(max(1, k - 1), k + 1)]
            found.clear()  # the caller's own
            assert other.closes() == [close(n) for n in range(1, k + 1)]
        assert other.closes(7) == other.closes(99) == []

    def test_a_close_is_added_once(self, tmp_path: Path) -> None:
        book = self.make(tmp_path)
        book.add(close(1))
        book.add(close(1))
        with pytest.raises(ValueError, match="another"):
            book.add(close(1, "2026-01-16"))
        with pytest.raises(ValueError, match="follow"):
            book.add(close(3))
        assert book.closes() == [close(1)]

    def test_the_newest_version_of_each_key_is_given_as_of_a_close(self, tmp_path: Path) -> None:
        book = self.make(tmp_path)
        book.add(close(1), [entry(b"b", 1), entry(b"a", 1)])
        book.add(close(2, "2026-01-16"), [entry(b"c", 1)])
        book.add(close(3), [entry(b"b", 2)])
        book.add(close(3), [entry(b"b", 2)])
        assert book.entries("2026-01-15", 2) == [entry(b"a", 1), entry(b"b", 1)]
        assert book.entries("2026-01-15", 3) == [entry(b"a", 1), entry(b"b", 2)]
        assert book.entries("2026-01-16", 3) == [entry(b"c", 1)]
        assert book.entries("2026-01-16", 1) == book.entries("2026-01-17", 3) == []
        assert self.make(tmp_path).entries("2026-01-15", 3) == book.entries("2026-01-15", 3)

    def test_touched_dates_keep_the_highest_index(self, tmp_path: Path) -> None:
        book = self.make(tmp_path)
        book.touch({"2026-01-15": 7, "2026-01-16": 9})
        book.touch({"2026-01-15": 5, "2026-01-16": 12})
        book.touch({})
        book.sync()
        assert self.make(tmp_path).touched() == {"2026-01-15": 7, "2026-01-16": 12}


class TestSqliteBook(BookSuite):
    def make(self, folder: Path) -> Book:
        return SqliteBook(folder)
