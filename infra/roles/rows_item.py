"""What a worker tells the storer of a message: one part of its rows (docs/spec/rows.md).

A line of JSON says which part it is; the rest is compressed, and stays so until the log has it. No
salt key is in it, or what was erased could be opened for as long as the topic keeps it: whoever
reads it asks the vault for them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any, cast

from cramjam import zstd

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES
from bal.certify.log import Batch
from bal.model import Digest, Draft, Finding, Part, Pseudonym, Rank, RawMessage, Subject
from bal.pipeline import BATCH_ENTRIES_MAX, Worked
from bal.ports import Vault
from bal.times import year
from infra.squeezed import content_of

ROWS_V1 = "gridseal/rows/v1"
CONTENT_BYTES_MAX = 1 << 30  # of a part, before it was compressed: nothing comes near it
_LEVEL = 1  # of zstd: a twentieth is left of readings, by higher ones not much less

_Columns = dict[str, Any]
_MEMBERS = {"whose", "shapes", "records", "frames", "subjects"}


@dataclass(frozen=True, slots=True)
class RowsItem:
    """One part of what a message became."""

    source: str  # <epoch>/<partition>
    offset: int
    part: int
    digest: str  # `rows` of the batch header that takes it
    size: int  # of the content
    payload: bytes  # the content, compressed


def encode(worked: Worked, batch: Batch) -> bytes:
    """The item of `bal.rows` for one part; batch: one of `worked.batches`.

    Part 0 brings the message, whose parts it has, and what was found. Raises ValueError for a
    retry, which has no rows, and where the parts of the message are not consecutive.
    """
    if worked.again:
        raise ValueError("a retry has no rows")
    content = _content(worked, batch)
    source, offset, part = batch.source, batch.offset, batch.part
    payload = bytes(zstd.compress(content, _LEVEL))
    item = RowsItem(source, offset, part, batch.rows, len(content), payload)
    return _head(item) + b"\n" + payload


def decode(data: bytes) -> RowsItem:
    """Which part an item is; its content is read by `worked_of`. Raises ValueError."""
    head, _, payload = data.partition(b"\n")
    found: Any = jcs.decode(head)
    try:
        source = f"{found['epoch']}/{found['partition']}"
        numbers = [int(found[name]) for name in ("offset", "part", "size")]
        item = RowsItem(source, numbers[0], numbers[1], found["rows"], numbers[2], payload)
    except (KeyError, TypeError) as error:
        raise ValueError("not an item of rows") from error
    if min(numbers) < 0 or item.size > CONTENT_BYTES_MAX or _head(item) != head:
        raise ValueError("not an item of rows as it is written")
    return item


def worked_of(items: Sequence[RowsItem], vault: Vault) -> Worked:
    """What `encode` was given, of all parts of one batch, in order.

    Raises ValueError where they are no such parts, or their content is not what the digest says;
    KeyError where the vault knows one of the subjects no longer; whatever the vault raises.
    """
    if not items or [item.part for item in items] != list(range(len(items))):
        raise ValueError("not all parts of a batch, in order")
    if len({(item.source, item.offset) for item in items}) > 1:
        raise ValueError("parts of several batches")
    try:
        return _worked(items, vault)
    except (LookupError, TypeError, AttributeError) as error:
        if isinstance(error, UnknownSubject):
            raise
        raise ValueError("not the content of rows") from error


class UnknownSubject(KeyError):
    """A subject that the vault no longer knows: it was erased."""


# -- writing ------------------------------------------------------------------------------------


def _head(item: RowsItem) -> bytes:
    epoch, _, partition = item.source.rpartition("/")
    return jcs.encode(
        {
            "v": ROWS_V1,
            "epoch": epoch,
            "partition": partition,
            "offset": str(item.offset),
            "part": str(item.part),
            "rows": item.digest,
            "size": str(item.size),
        }
    )


def _content(worked: Worked, batch: Batch) -> bytes:
    cut = slice(batch.part * BATCH_ENTRIES_MAX, (batch.part + 1) * BATCH_ENTRIES_MAX)
    drafts = worked.drafts[cut]
    table = _Table()
    columns: _Columns = {
        "whose": _runs([table.number(one.subject) for one in drafts]),
        "shapes": [
            [*shape, len(list(same))]
            for shape, same in groupby(
                (one.kind, one.register, one.begin_us, one.end_us, int(one.rank)) for one in drafts
            )
        ],
        "records": [len(one.record) for one in drafts],
        "frames": [[i, len(one.frames)] for i, one in enumerate(drafts) if one.frames],
    }
    pieces: list[bytes] = []
    if batch.part == 0:
        columns["message"] = _message(worked, table)
        pieces.append(worked.message.raw)
    columns["subjects"] = table.rows
    pieces += [one.record for one in drafts]
    pieces += [one.frames for one in drafts if one.frames]
    pieces += worked.entries[cut]
    if batch.part == 0:
        pieces += [part.commitment for part in worked.parts]
    line = json.dumps(columns, separators=(",", ":")).encode()
    return b"".join([line, b"\n", *pieces])


def _message(worked: Worked, table: "_Table") -> _Columns:
    message, parts = worked.message, worked.parts
    ends = [part.end for part in parts]
    if [part.start for part in parts] != [0, *ends][: len(ends)]:
        raise ValueError("the parts are not consecutive")
    return {
        "credential": message.credential,
        "format": message.format,
        "received_us": message.received_us,
        "size": len(message.raw),
        "whose": _runs([table.number(part.subject) for part in parts]),
        "ends": ends,
        "findings": [_of_finding(one) for one in worked.findings],
        "refused": [_of_finding(one) for one in worked.refused],
        "taken": worked.taken,
    }


class _Table:
    """The subjects of an item, each once."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._by_id: dict[int, int] = {}  # what was worked keeps them alive

    def number(self, subject: Subject) -> int:
        """Its place in the table."""
        found = self._by_id.get(id(subject))
        if found is None:
            row = subject.pseudonym, subject.group, subject.shard
            found = self._numbers.setdefault(row, len(self.rows))
            if found == len(self.rows):
                self.rows.append(row)
            self._by_id[id(subject)] = found
        return found


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    return [[number, len(list(same))] for number, same in groupby(numbers)]


def _of_finding(one: Finding) -> list[object]:
    said: list[object] = [one.code, one.severity, one.text, one.field, one.line, one.clause]
    return [*said, one.device, one.group] if one.device else said


# -- reading ------------------------------------------------------------------------------------


class _Content:
    """The content of one item: its columns, and bytes to take from in order."""

    def __init__(self, item: RowsItem) -> None:
        data = decompressed(item)
        self._at = data.index(b"\n") + 1
        self._data = data
        self.columns: _Columns = json.loads(data[: self._at])
        if self.columns.keys() != _MEMBERS | ({"message"} if item.part == 0 else set()):
            raise ValueError("the content of rows has other members")

    def take(self, length: int) -> bytes:
        """The next bytes."""
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise ValueError("the content of rows is cut off")
        found, self._at = self._data[self._at : end], end
        return found

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise ValueError("the content of rows has more than it says")


def decompressed(item: RowsItem) -> bytes:
    """The content of an item. Raises ValueError."""
    try:
        return content_of(item.payload, item.size)
    except ValueError as error:
        raise ValueError(f"the content of rows can't be read: {error}") from error


def _worked(items: Sequence[RowsItem], vault: Vault) -> Worked:
    contents = [_Content(item) for item in items]
    said = contents[0].columns["message"]
    source, first = items[0].source, contents[0]
    epoch, partition = source.rsplit("/", 1)
    credential, form, at = said["credential"], said["format"], said["received_us"]
    raw = first.take(said["size"])
    message = RawMessage(epoch, int(partition), items[0].offset, credential, form, at, raw)
    rows = [tuple(row) for content in contents for row in content.columns["subjects"]]
    subjects = _subjects(rows, vault, year(at))
    worked = Worked(message, taken=said["taken"])
    for item, content in zip(items, contents, strict=True):
        drafts, entries = _drafts(content, subjects)
        if sha256(b"".join(entries)).hexdigest() != item.digest:
            raise ValueError("these are not the entries that the digest of rows names")
        worked.drafts += drafts
        worked.entries += entries
        if item.part == 0:
            worked.parts = _parts(content, said, subjects)
        content.end()
    worked.findings = [Finding(*one) for one in said["findings"]]
    worked.refused = [Finding(*one) for one in said["refused"]]
    return worked


_Row = tuple[str, str, str]


def _subjects(rows: Sequence[Any], vault: Vault, of_year: int) -> dict[_Row, Subject]:
    names = [Pseudonym(name) for name, _, _ in dict.fromkeys(rows)]
    try:
        keys = vault.salt_keys(list(dict.fromkeys(names)), of_year)
    except KeyError as error:
        raise UnknownSubject(*error.args) from error
    return {
        row: Subject(Pseudonym(row[0]), keys[Pseudonym(row[0])], row[1], row[2]) for row in rows
    }


def _owners(
    content: _Content, runs: Sequence[Sequence[int]], subjects: dict[_Row, Subject]
) -> list[Subject]:
    table = [subjects[cast("_Row", tuple(row))] for row in content.columns["subjects"]]
    if any(number < 0 or count < 1 for number, count in runs):
        raise ValueError("runs of nobody")
    return [table[number] for number, count in runs for _ in range(count)]


def _drafts(content: _Content, subjects: dict[_Row, Subject]) -> tuple[list[Draft], list[Digest]]:
    columns = content.columns
    owners = _owners(content, columns["whose"], subjects)
    records = [content.take(length) for length in columns["records"]]
    drafts = [
        Draft(owner, kind, register, begin_us, end_us, rank, record)
        for owner, record, (kind, register, begin_us, end_us, rank) in zip(
            owners, records, _shapes(columns["shapes"]), strict=True
        )
    ]
    for number, length in columns["frames"]:
        drafts[number].frames = content.take(length)
    return drafts, [Digest(content.take(COMMITMENT_BYTES)) for _ in drafts]


def _shapes(runs: Sequence[Any]) -> Iterator[tuple[str, str, int, int, Rank]]:
    for kind, register, begin_us, end_us, number, count in runs:
        rank = Rank(number)
        for _ in range(count):
            yield kind, register, begin_us, end_us, rank


def _parts(content: _Content, said: _Columns, subjects: dict[_Row, Subject]) -> list[Part]:
    ends: list[int] = said["ends"]
    owners = _owners(content, said["whose"], subjects)
    starts = [0, *ends][: len(ends)]
    return [
        Part(start, end, owner, Digest(content.take(COMMITMENT_BYTES)))
        for start, end, owner in zip(starts, ends, owners, strict=True)
    ]
