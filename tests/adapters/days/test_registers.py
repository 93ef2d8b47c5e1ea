"""What devices measure, as the book of days has it: for the metadata graph (docs/semantics.md)."""

from datetime import date
from typing import Any

from bal.derive.local_day import local_day
from bal.ports import Book
from infra.day_proofs import DayProofs

DAY, NEXT = date(2026, 1, 15), date(2026, 1, 16)
FORWARD = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
REVERSE = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0"


def test_registers_are_those_of_the_newest_date(log: Any, day_log_module: Any) -> None:
    tiles = object()  # none is read
    proofs = DayProofs(log.customer_db, log.book, tiles, log.vault, lambda: None)  # type: ignore[arg-type]
    assert proofs.registers() == {}
    first, last = (local_day(day, "Europe/Berlin")[0] for day in (DAY, NEXT))
    for name in ("m", "n"):
        log.enrol(name)
        log.read(name, first, "1", register=FORWARD)
    log.close(DAY)
    m, n = map(day_log_module.device, ("m", "n"))
    assert proofs.registers() == {m: [FORWARD], n: [FORWARD]}
    log.read("m", last, "1", register=REVERSE)
    log.enrol("n", state="revoked")
    log.close(NEXT)
    found = {device: set(registers) for device, registers in proofs.registers().items()}
    assert found == {m: {FORWARD, REVERSE}}
    log.read("n", first, "2", register=REVERSE)  # late, of a date before
    log.close(DAY)
    assert {device: set(registers) for device, registers in proofs.registers().items()} == found


def test_the_book_is_read_once_a_close(log: Any) -> None:
    asked: list[str] = []

    class Counted:
        """Port Book, counting."""

        def __init__(self, book: Book) -> None:
            self.closes, self._book = book.closes, book

        def entries(self, date: str, k: int) -> Any:
            asked.append(date)
            return self._book.entries(date, k)

    log.enrol("m")
    log.read("m", local_day(DAY, "Europe/Berlin")[0], "1")
    log.close(DAY)
    counted: Any = Counted(log.book)
    proofs = DayProofs(log.customer_db, counted, log, log.vault, lambda: None)
    assert proofs.registers() == proofs.registers() != {}
    assert asked == ["2026-01-15"]
