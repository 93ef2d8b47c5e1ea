"""A process that writes to a store until it is killed: `python store_child.py ROLE FOLDER …`.

It prints a line for each call that has returned: what it then says must be there for good.
"""

import sys
from hashlib import sha256
from itertools import count
from pathlib import Path

from bal.model import Identity, Pseudonym, Rank, RawMessage, StoredRecord, Subject
from bal.ports import ArchiveItem
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault

EPOCH = "00112233445566aa"
METERS_ASKED = 20  # identities a call


class FixedClock:
    def now_us(self) -> int:
        return 1_768_471_200_000_000


def row(index: int) -> StoredRecord:
    """The row of one entry, the same in every process."""
    meter = index % 7
    return StoredRecord(
        index=index,
        shard=f"feeder-{meter % 2}/0",
        device=Pseudonym(f"meter-{meter}"),
        kind="reading",
        register="r1",
        begin_us=index * 1_000_000_000,
        end_us=index * 1_000_000_000 + 900_000_000,
        rank=Rank.MEASURED,
        type=b"\x01",
        year=2026,
        record=b"%d " % index * (1 + index % 50),
    )


def sizes(start: int) -> range:
    """Log sizes after each batch from `start` on: 13 entries a batch."""
    return range(start + 13, 1_000_000, 13)


def customer_db(folder: Path) -> SqliteCustomerDb:
    """So eager to merge that kills fall into it."""
    return SqliteCustomerDb(folder, merge_at=3, small_bytes=4000, chunk_bytes=256)


def store_rows(folder: Path) -> None:
    db = customer_db(folder)
    start = db.size()
    for size in sizes(start):
        db.store([row(index) for index in range(start, size)], size)
        start = size
        print(size, flush=True)


def archive_key(pseudonym: str, year: int) -> bytes:
    return sha256(f"{pseudonym} {year}".encode()).digest()


def item(offset: int) -> ArchiveItem:
    """The message at one offset, of two subjects, the same in every process."""
    raw = b"message %d " % offset * (1 + offset % 90)
    parts = [
        (start, end, Subject(Pseudonym(name), archive_key(name, 2026), "g", "g/0"))
        for start, end, name in ((0, 8, "platform"), (8, len(raw), f"meter-{offset % 5}"))
    ]
    message = RawMessage(EPOCH, 0, offset, "head-end", "cim", FixedClock().now_us(), raw)
    return ArchiveItem(message, sha256(raw).digest(), parts, b"summary of %d" % offset)


def put_messages(folder: Path) -> None:
    archive = SqliteArchive(folder, b"a" * 32, archive_key)
    for offset in count(0, 3):
        archive.put_many([item(offset + at) for at in range(3)])
        print(offset + 3, flush=True)


def meters(call: int) -> list[Identity]:
    """Whom one call asks for: overlapping with the call before."""
    first = call * METERS_ASKED // 2
    return [Identity(f"name:a/meter/{number}") for number in range(first, first + METERS_ASKED)]


def open_subjects(folder: Path, calls: int) -> None:
    vault = SqliteVault(folder, FixedClock())
    for call in range(calls):
        names = vault.pseudonyms(meters(call))
        keys = vault.salt_keys(list(names.values()), 2026)
        for identity, name in names.items():
            print(identity, name, keys[name].hex())
        sys.stdout.flush()
    vault.close()


def main() -> None:
    role, folder = sys.argv[1], Path(sys.argv[2])
    if role == "customer":
        store_rows(folder)
    elif role == "archive":
        put_messages(folder)
    else:
        open_subjects(folder, int(sys.argv[3]))


if __name__ == "__main__":
    main()
