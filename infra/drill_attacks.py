"""The drill's ten attacks, each on a copy of its own, and the check that must catch each.

An attack is made as well as somebody with that access could make it: rows, index maps, tiles and
heads are written in the platform's own form, so that only what can't be forged gives it away.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES, salt
from bal.certify.log import OWN_SOURCE, Frontier, Sequencer
from bal.certify.tiles import TILE_WIDTH, TileNodes, split_bundle, tile_index_path, tile_width
from bal.certify.tree import leaf_hash, leaf_hashes, root_of
from bal.certify.verify import verify
from bal.certify.verify_policy import parse_policy
from bal.closing import DERIVED
from bal.errors import Stop
from bal.ports import Commit, Heads
from infra import drill_rows
from infra.data_folder import DataFolder
from infra.drill_close import hide
from infra.drill_victim import Attempt, NothingToAttack, Victim, forged, said, value_of
from infra.file_log import FileLog
from infra.files import look_at_sqlite, open_sqlite, replace_file
from infra.fsck import fsck
from infra.key_signer import CheckpointSigner, last_signed
from infra.log_reader import Entries
from infra.stores import Stores
from infra.system_clock import SystemClock


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: its name, who must catch it by what code, and what to alter it on."""

    name: str
    by: str
    code: str
    alters: tuple[str, ...]  # files that are copied, not linked
    run: Callable[[DataFolder, "Victim"], Attempt]


# -- the customer database ----------------------------------------------------------------------


def edit(folder: DataFolder, victim: Victim) -> Attempt:
    """Another value in a stored row."""
    before, invented = forged(victim.row)
    drill_rows.change(folder.customer_db, victim.row.index, lambda _: [invented])
    done = f"{before} → {value_of(invented)} in the row of entry {victim.row.index}"
    return Attempt(done, f"entry {victim.row.index}", said(fsck(folder.root)))


def delete(folder: DataFolder, victim: Victim) -> Attempt:
    """A stored row less, in the index map too."""
    drill_rows.change(folder.customer_db, victim.row.index, lambda _: [])
    done = f"stored row of entry {victim.row.index} removed, from the index map too"
    return Attempt(done, f"entry {victim.row.index}", said(fsck(folder.root)))


def insert(folder: DataFolder, victim: Victim) -> Attempt:
    """A reading that nobody sent, at an index that had no row."""
    _, invented = forged(victim.row)
    invented = invented._replace(index=victim.free)
    drill_rows.change(folder.customer_db, victim.row.index, lambda row: [row, invented])
    done = f"an invented reading of {value_of(invented)} as entry {victim.free}"
    return Attempt(done, f"entry {victim.free}", said(fsck(folder.root)))


def swap_meter(folder: DataFolder, victim: Victim) -> Attempt:
    """A row, key and record, that becomes another device's."""
    if not victim.others:
        raise NothingToAttack("no reading of a second device")
    row, other = victim.row, victim.others[0].device
    record = row.record.replace(row.device.encode(), other.encode())
    moved = row._replace(device=other, record=record)
    drill_rows.change(folder.customer_db, row.index, lambda _: [moved])
    done = f"row of entry {row.index} moved from {row.device[:6]}… to {other[:6]}…"
    return Attempt(done, f"entry {row.index}", said(fsck(folder.root)))


# -- the log --------------------------------------------------------------------------------------


def reorder(folder: DataFolder, victim: Victim) -> Attempt:
    """Two entries change places, in the bundle and in the tile of their hashes."""
    with closing(FileLog(folder.log, SystemClock(), read_only=True)) as log:
        size = log.heads().size
        published = log.checkpoint()
        assert published is not None
        n, at = divmod(victim.row.index, TILE_WIDTH)
        width = tile_width(size, 0, n)
        entries, hashes = split_bundle(log.bundle(n, width)), log.tile(0, n, width)
    signed = entries[: published[0].size - n * TILE_WIDTH]
    swappable = (
        i
        for i, entry in enumerate(signed)
        if len(entry) == COMMITMENT_BYTES and entry != entries[at]
    )
    other = next(swappable, None)
    if other is None:
        raise NothingToAttack("no second commitment in the same bundle")
    entries[at], entries[other] = entries[other], entries[at]
    leaves = [hashes[32 * i : 32 * i + 32] for i in range(width)]
    leaves[at], leaves[other] = leaf_hash(entries[at]), leaf_hash(entries[other])
    bundle = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    for kind, content in (("entries", bundle), ("0", b"".join(leaves))):
        for path in _tile_files(folder, kind, n):
            replace_file(path, content, durable=False)
    numbers = sorted(n * TILE_WIDTH + i for i in (at, other))
    done = f"entries {numbers[0]} and {numbers[1]} exchanged, in bundle and tile"
    return Attempt(done, f"checkpoint {published[0].size}", said(fsck(folder.root)))


def drop_tile(folder: DataFolder, victim: Victim) -> Attempt:
    """The tile with the hash of an entry, gone."""
    n = victim.row.index // TILE_WIDTH
    for path in _tile_files(folder, "0", n):
        path.unlink()
    done = f"tile with the hash of entry {victim.row.index} deleted"
    return Attempt(done, f"tile 0/{n}", said(fsck(folder.root)))


def truncate(folder: DataFolder, victim: Victim) -> Attempt:
    """Heads row, batch headers and checkpoint as they were before; then the platform starts."""
    signed, _ = last_signed(folder.keys / "log.signed")
    seed, facts = folder.seed("log"), victim.facts
    with closing(FileLog(folder.log, SystemClock(), read_only=True)) as log:
        old = _before(folder, log, signed)
    for file, sql, values in (
        ("heads", "UPDATE heads SET version = ?, size = ?, root = ?, taken = ?",
         (old.version, old.size, old.root, json.dumps(dict(old.taken)))),
        ("headers", "DELETE FROM header WHERE version > ?", (old.version,)),
        ("published", "DELETE FROM published", ()),
    ):  # fmt: skip
        with closing(open_sqlite(folder.log / f"{file}.db", "")) as db:
            db.execute(sql, values)
    done = f"log put back from {signed} to {old.size} entries, then started"
    found = []
    with closing(FileLog(folder.log, SystemClock())) as log:
        try:
            signer = CheckpointSigner(facts.origin, seed, folder.keys / "log.signed")
            Sequencer(log, log, signer, facts.origin).publish()
        except Stop as stop:
            found.append((stop.code, f"size {old.size}"))
    return Attempt(done, f"size {old.size}", found)


def _before(folder: DataFolder, log: FileLog, signed: int) -> Heads:
    """The heads row at the last version with fewer entries than were signed for."""
    heads = log.heads()
    taken, size, version = dict(heads.taken), heads.size, heads.version
    for at, data in _backwards(folder):
        if size < signed and at <= version:
            break
        size, version = int(data["first"]), at - 1
        source = f"{data['epoch']}/{data['partition']}"
        if source in taken and data["part"] == "0":
            taken[source] = int(data["prev"])
    if size >= signed or size == 0:
        raise NothingToAttack("no earlier signed state")
    kept = {source: offset for source, offset in taken.items() if offset >= 0}
    return Heads(version, size, root_of(size, TileNodes(log).at(size)), kept)


def replay_batch(folder: DataFolder, victim: Victim) -> Attempt:
    """A batch that the log has, appended once more, past the sequencer."""
    del victim
    with closing(FileLog(folder.log, SystemClock())) as log:
        heads = log.heads()
        data = _last_batch(folder)
        stored = Entries(log, heads.size)
        first, count = int(data["first"]), int(data["count"])
        entries = [stored[index] for index in range(first, first + count)]
        data["first"] = str(heads.size)
        data["inputs"] = {**data["inputs"], "registry": str(heads.size)}
        frontier = Frontier(heads.size, TileNodes(log).at(heads.size))
        added = frontier.extend(leaf_hashes(entries))
        head = frontier.head()
        new = Heads(heads.version + 1, head.size, head.root, heads.taken)
        commit = Commit(heads, new, entries, [jcs.encode(data)])
        log.stage(commit)
        log.swap(commit)
        log.integrate(commit, added)
    where = f"batch {data['epoch']}/{data['partition']}/{data['offset']}"
    done = f"message {data['offset']} once more, from entry {heads.size} on"
    return Attempt(done, where, said(fsck(folder.root)))


def _last_batch(folder: DataFolder) -> dict[str, Any]:
    """The header of the last message that is one part with entries."""
    for _, data in _backwards(folder):
        if (
            data["epoch"] not in {OWN_SOURCE, DERIVED}
            and "again" not in data
            and data["part"] == "0"
            and 0 < int(data["count"]) < TILE_WIDTH * 32
        ):
            return data
    raise NothingToAttack("no message in the log")


def _backwards(folder: DataFolder) -> Iterator[tuple[int, dict[str, Any]]]:
    """Version and content of every batch header, the newest first."""
    sql = "SELECT version, header FROM header ORDER BY version DESC, number DESC"
    with closing(look_at_sqlite(folder.log / "headers.db", "")) as db:
        for version, header in db.execute(sql):
            yield version, jcs.decode(header)


# -- what others hold -----------------------------------------------------------------------------


def wrong_salt(folder: DataFolder, victim: Victim) -> Attempt:
    """A receipt that opens its entry with another record's salt."""
    if not victim.others:
        raise NothingToAttack("no reading of a second device")
    other = victim.others[0]
    with closing(Stores.open(folder, SystemClock(), read_only=True)) as stores:
        receipt = stores.receipts().receipt(victim.row.index)
        key = stores.vault.salt_key(other.device, other.year)
    assert key is not None
    policy = parse_policy(f"log {victim.facts.log_key}\nquorum none\n".encode())
    if verify(receipt, policy).authentic.code != "authentic":
        raise NothingToAttack("no receipt that verifies")
    lines = receipt.split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("extra "))
    extra = jcs.decode(base64.b64decode(lines[at].removeprefix("extra ")))
    extra["salt"] = salt(key, other.type, other.record).hex()
    lines[at] = "extra " + base64.b64encode(jcs.encode(extra)).decode()
    found = verify("\n".join(lines), policy).authentic.code
    done = f"receipt of entry {victim.row.index} with the salt of entry {other.index}"
    return Attempt(done, "", [] if found == "authentic" else [(found, f"entry {victim.row.index}")])


# -- helpers --------------------------------------------------------------------------------------


def _tile_files(folder: DataFolder, kind: str, n: int) -> list[Path]:
    """The files that hold a tile: the full one, or every partial one."""
    full = folder.log / "tile" / kind / tile_index_path(n)
    partial = full.with_name(f"{full.name}.p")
    return [path for path in (full, *sorted(partial.glob("*"))) if path.is_file()]


_SCD = ("scd/",)
_LOG = ("log/heads.db", "log/headers.db", "log/published.db", "keys/log.signed")

ATTACKS: Sequence[Attack] = (
    Attack("edit", "fsck", "row-altered", _SCD, edit),
    Attack("delete", "fsck", "row-missing", _SCD, delete),
    Attack("insert", "fsck", "row-altered", _SCD, insert),
    Attack("reorder", "fsck", "fork", (), reorder),
    Attack("truncate", "signer", "signer-refuses", _LOG, truncate),
    Attack("replayed batch", "fsck", "header-order", _LOG, replay_batch),
    Attack("wrong salt", "verify", "root-mismatch", (), wrong_salt),
    Attack("swapped meter", "fsck", "row-altered", _SCD, swap_meter),
    Attack("missing tile", "fsck", "tile-missing", (), drop_tile),
    Attack("hidden reading", "replay", "replay-differs", (".db",), hide),
)
