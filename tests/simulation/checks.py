"""What must be true at the end, by code that shares nothing with what it checks where that counts.

The tree is built again, naively, of the entries in the bundles; every message is worked through
again by other workers, and every row held against its entry.
"""

from collections.abc import Iterator
from hashlib import sha256

from bal import jcs
from bal.certify import device_day
from bal.certify.commitment import commitments, salt
from bal.certify.order import CLAIM
from bal.certify.receipt import receipt_text
from bal.certify.tiles import TileNodes, split_bundle
from bal.certify.tree import inclusion_path
from bal.certify.verify import parse_policy, verify
from bal.closing import DERIVED
from bal.derive.local_day import day_number, local_day
from bal.model import StoredRecord
from bal.pipeline import Worker
from bal.registry import KINDS, Registry
from bal.slots import NO_INDEX
from bal.store.merge import housed
from tests.simulation.log_store import ENTRIES, LogDisk, LogReader
from tests.simulation.simulation import Simulation
from tests.simulation.stores import digest_of
from tests.simulation.world import SECOND_US, Failed

OWN_EPOCH = "sequencer"
HASH = 32


def require(condition: object, text: str) -> None:
    """Raise Failed with the text."""
    if not condition:
        raise Failed(text)


class Entries:
    """All entries, from the bundles: 32 bytes each, and the public ones beside them."""

    def __init__(self, disk: LogDisk) -> None:
        self.size = disk.row.size
        self.public: dict[int, bytes] = {}
        self._data = bytearray()
        for n in range(-(-self.size // 256)):
            for entry in split_bundle(disk.bundle(n, min(256, self.size - 256 * n))):
                if len(entry) != HASH:
                    self.public[len(self._data) // HASH] = entry
                self._data += entry if len(entry) == HASH else bytes(HASH)

    def __getitem__(self, index: int) -> bytes:
        found = self.public.get(index)
        return bytes(self._data[HASH * index : HASH * (index + 1)]) if found is None else found

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(self.size))

    def bundle(self, n: int, width: int) -> bytes:
        """As tlog-tiles has it."""
        part = [self[index] for index in range(256 * n, 256 * n + width)]
        return b"".join(len(one).to_bytes(2, "big") + one for one in part)


class NaiveTree:
    """RFC 6962 §2.1 as it is written, over all entries at once; levels are hashes side by side."""

    def __init__(self, entries: Entries) -> None:
        level = bytearray()
        for entry in entries:
            level += sha256(b"\x00" + entry).digest()
        self.size = entries.size
        self.levels = [level]
        while len(level) > HASH:
            above = bytearray()
            for at in range(0, len(level) - HASH, 2 * HASH):
                above += sha256(b"\x01" + level[at : at + 2 * HASH]).digest()
            self.levels.append(above)
            level = above

    def hashes(self, level: int, start: int, width: int) -> bytes:
        """Some of a level."""
        return bytes(self.levels[level][HASH * start : HASH * (start + width)])

    def root(self, size: int, start: int = 0) -> bytes:
        """MTH(D[start:start+size])."""
        if size == 0:
            return sha256(b"").digest()
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self.hashes(level, start >> level, 1)
        left = 1 << (size.bit_length() - 1)
        return sha256(
            b"\x01" + self.root(left, start) + self.root(size - left, start + left)
        ).digest()


def check_tree(simulation: Simulation, entries: Entries) -> NaiveTree:
    """Heads, every root that ever was, and every tile, byte for byte."""
    disk = simulation.servers.disk
    tree = NaiveTree(entries)
    require(disk.row.size == entries.size, "the bundles are not as long as the log")
    for size, root in disk.roots.items():
        require(size <= tree.size and tree.root(size) == root, f"the root at {size} is wrong")
    for (level, n), widths in disk.files():
        for width, data in widths.items():
            if level == ENTRIES:
                expected = entries.bundle(n, width)
            else:
                expected = tree.hashes(8 * level, 256 * n, width)
            require(data == expected, f"tile {level}/{n} of {width} is wrong")
    simulation.world.seen["tiles checked"] += len(disk.files())
    return tree


def check_promises(simulation: Simulation) -> None:
    """What has a receipt is in the log; and every sender has its certified summary."""
    disk, archive = simulation.servers.disk, simulation.servers.archive
    for credential, message_id, batch in simulation.servers.promises:
        source, _, offset = batch.rpartition("/")
        header = disk.by_batch.get((source, int(offset)))
        require(header is not None, f"{batch} of {credential} has a receipt and no batch")
        message = simulation.servers.raw.message(int(source.rpartition("/")[2]), int(offset))
        found = message.credential, sha256(message.raw).digest()
        require(found == (credential, message_id), f"{batch} is another message than was promised")
        kept = (credential, message_id) in archive.by_key
        require(kept, f"{batch} of {credential} has a receipt and is not archived")
    for sender in simulation.senders:
        require(sender.open() == 0, f"{sender.name} still waits for {sender.open()} receipts")


class Rebuild:
    """The customer database made again of log and raw messages, by workers of its own."""

    def __init__(self, simulation: Simulation) -> None:
        self._servers = servers = simulation.servers
        self._db = simulation.db
        self._records = list(servers.stored.registry_records(servers.disk.row.size).items())
        self._registry = Registry()  # of the log so far: which shard a device's rows stand in
        self._lanes: dict[str, tuple[Worker, Registry, list[int]]] = {}
        self.digest = self.rows = 0

    def run(self) -> None:
        """Every batch again, in log order. Raises Failed where it leads to other entries."""
        headers = self._servers.disk.headers
        for version in sorted(headers):
            expected: list[str] = []
            for raw in headers[version]:
                data = jcs.decode(raw)
                epoch = data["epoch"]
                if epoch in {OWN_EPOCH, DERIVED} or epoch.startswith(CLAIM) or "again" in data:
                    continue
                if data["part"] == "0":
                    require(not expected, f"version {version} lacks parts")
                    expected = self._again(data)
                require(expected[:1] == [data["rows"]], f"{data['offset']} leads to other entries")
                expected = expected[1:]
            require(not expected, f"version {version} lacks parts")

    def _again(self, data: dict[str, str | dict[str, str]]) -> list[str]:
        source = f"{data['epoch']}/{data['partition']}"
        if source not in self._lanes:
            registry = Registry()
            self._lanes[source] = Worker(self._servers.vault, registry), registry, [0]
        worker, registry, applied = self._lanes[source]
        inputs = data["inputs"]
        assert isinstance(inputs, dict)
        size = int(inputs["registry"])
        while applied[0] < len(self._records) and self._records[applied[0]][0] < size:
            registry.apply(self._records[applied[0]][1])
            applied[0] += 1
        place = str(data["epoch"]), int(str(data["partition"])), int(str(data["offset"]))
        message = self._servers.archive.raw(*place)
        if message is None:
            raise Failed(f"{place} is in the log and not archived")
        worked = worker.process(message)
        rows = worked.rows(int(str(data["first"])))
        for row in rows:
            if row.kind in KINDS:
                self._registry.apply(row.record)
        for row in housed(rows, self._registry.device):
            self.digest += digest_of(row)
            self.rows += 1
        return worked.row_digests()


def check_rows(simulation: Simulation, entries: Entries) -> None:
    """Each row opens its entry, each commitment has one row, and the rebuilt rows are the same."""
    servers, db = simulation.servers, simulation.db
    require(db.size() == entries.size, "not everything is stored")
    found = bytearray(entries.size)
    digest = rows_derived = rows_made = 0
    for rows in db.all_rows():
        simulation.note(rows)
        by_type: dict[bytes, list[StoredRecord]] = {}
        for row in rows:
            require(not found[row.index], f"two rows at index {row.index}")
            found[row.index] = 1
            by_type.setdefault(row.type, []).append(row)
            if row.kind in {"device-day", "finding"}:
                rows_derived += 1
                _check_listed(simulation, row)
            else:
                digest += digest_of(row)
                rows_made += 1
        for type_, members in by_type.items():
            keys = [servers.vault.salt_keys([row.device], row.year)[row.device] for row in members]
            made = commitments(type_, keys, [row.certified for row in members])
            for row, one in zip(members, made, strict=True):
                require(entries[row.index] == one, f"the row of entry {row.index} is another")
    for index, entry in enumerate(entries):
        require(found[index] == (len(entry) == 32), f"entry {index} has no row, or a public one")
    rebuild = Rebuild(simulation)
    rebuild.run()
    require(rebuild.rows == rows_made, f"{rows_made} rows, rebuilt {rebuild.rows}")
    require(rebuild.digest == digest, "the rebuilt rows are other ones")
    simulation.world.seen["rows rebuilt"] += rebuild.rows


def _check_listed(simulation: Simulation, row: StoredRecord) -> None:
    """What a close found stands in the operator's list, with what took its place."""
    if row.kind != "finding":
        return
    archive, said = simulation.servers.archive, jcs.decode(row.record)
    listed = archive.by_vee.get(row.index, {})
    codes = [one["code"] for one in said.get("findings", ())]
    require(
        [listed[n].finding.code for n in sorted(listed)] == codes,
        f"the finding at {row.index} is not in the list",
    )
    if "supersedes" in said:
        by = archive.replaced.get(int(said["supersedes"]))
        require(by == row.index, f"the list does not say what {row.index} takes the place of")
    simulation.world.seen["findings listed"] += len(codes)


def check_reads(simulation: Simulation) -> None:
    """One item a slot, each the one that counts; every slot that was sent; days complete."""
    slots: dict[str, dict[int, StoredRecord]] = {}
    shards: dict[str, str] = {}
    for home in simulation.db.homes():
        seen: set[tuple[object, ...]] = set()
        for row in simulation.db.latest(home, simulation.db.size()):
            slot = row.device, row.kind, row.register, row.begin_us, row.end_us
            require(slot not in seen, f"a slot is shown twice: {slot}")
            seen.add(slot)
            shard = shards.setdefault(row.device, row.shard)
            require(shard == row.shard, f"rows of {row.device} in {shard} and {row.shard}")
            if row.kind == "reading" and row.device in simulation.ledger_by_device():
                slots.setdefault(row.device, {})[row.end_us] = row
    for device, ledger in simulation.ledger_by_device().items():
        rows = slots.get(device, {})
        require(ledger.ends() <= rows.keys(), f"{device} lacks slots that were sent")
        for end_us in ledger.ends():
            rank, values = ledger.allowed(end_us)
            row = rows[end_us]
            value = int(jcs.decode(row.record)["value"])
            require(int(row.rank) == rank and value in values, f"{device} at {end_us} is wrong")
        _check_days(simulation, device, rows)


def _check_days(simulation: Simulation, device: str, rows: dict[int, StoredRecord]) -> None:
    """The newest device-day has every slot of the day, at the index of the row that counts."""
    book, k = simulation.book, len(simulation.book.closes())
    for day in simulation.days:
        begin_us, end_us = local_day(day, simulation.zone)
        found = book.entries(day.isoformat(), k, device=device)  # type: ignore[arg-type]
        if not found:  # a meter that joined later
            early = [at for at in rows if at <= end_us]
            require(not early, f"{device} has no device-day on {day}")
            continue
        require(len(found) == 1, f"{device} has {len(found)} device-days on {day}")
        data = simulation.device_day(found[0])
        slots = device_day.decode(data).slots
        require(len(slots) == (end_us - begin_us) // (900 * SECOND_US), f"{day} has other slots")
        require(device_day.decode(data).key == found[0].key, "a device-day of another key")
        key = device_day.key(day_number(day), found[0].device, found[0].register)
        require(found[0].key == key, "a key of another day")
        for number, slot in enumerate(slots):
            row = rows.get(begin_us + (number + 1) * 900 * SECOND_US)
            if row is None:  # before the meter's first day
                require(slot.log_index == NO_INDEX, f"slot {number} of {device} is invented")
                continue
            require(slot.log_index == row.index, f"slot {number} of {device} opens another row")
        simulation.world.seen["slots of closed days"] += len(slots)


def check_receipts(simulation: Simulation, tree: NaiveTree, many: int = 40) -> None:
    """Receipts of any rows at the published checkpoint verify with the verifier's own code."""
    disk = simulation.servers.disk
    published = disk.published
    require(published is not None and published[0].size == tree.size, "not all is published")
    assert published is not None
    policy = parse_policy(
        f"#gridseal/policy/v1\nlog {simulation.signer.vkey}\nquorum none\n".encode()
    )
    nodes = TileNodes(LogReader(disk)).at(tree.size)
    dice = simulation.world.random("receipts")
    rows = dice.sample(simulation.sample, min(many, len(simulation.sample)))
    for row in rows:
        key = simulation.servers.vault.salt_keys([row.device], row.year)[row.device]
        text = receipt_text(
            type_=row.type,
            record=row.certified,
            salt=salt(key, row.type, row.certified),
            index=row.index,
            path=inclusion_path(row.index, tree.size, nodes),
            checkpoint=published[1],
            anchor=None,
        )
        found = verify(text, policy)
        require(found.authentic.code == "authentic", f"{found.authentic}")
        wrong = salt(key, row.type, row.certified + b" ")
        other = receipt_text(
            type_=row.type,
            record=row.certified,
            salt=wrong,
            index=row.index,
            path=inclusion_path(row.index, tree.size, nodes),
            checkpoint=published[1],
            anchor=None,
        )
        require(verify(other, policy).authentic.code == "root-mismatch", "a wrong salt verifies")
        simulation.world.seen["receipts verified"] += 1


def check_all(simulation: Simulation) -> str:
    """Everything; gives the final root, hex."""
    entries = Entries(simulation.servers.disk)
    tree = check_tree(simulation, entries)
    check_promises(simulation)
    check_rows(simulation, entries)
    check_reads(simulation)
    check_receipts(simulation, tree)
    return tree.root(tree.size).hex()
