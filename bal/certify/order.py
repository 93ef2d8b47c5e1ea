"""The sequencer's intake: which batches of `bal.commitments` come next (ARCHITECTURE §1, step 3).

Many workers append to that one topic; a lost answer doubles what they wrote, and one that was
paused goes on after another has its partition. `Order` makes one chain a partition of it:

- a batch is taken only if its `prev` is what was last taken of its source; lower: dropped, it is in
  the log already; higher: the partition halts, since something between is missing;
- a worker *claims* a partition before its first batch. Where the claim stands in the topic, every
  worker of a lower generation ends: what it appends from there on is dropped. So the new one knows
  what was taken before it, and makes its open windows of exactly that.

A claim is an empty batch of a source of its own, `claim.<epoch>/<partition>`, whose offset is the
generation: heads row and headers keep it like any other. Pure; whoever fails to commit what `take`
gave begins again with the heads row.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Any

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES
from bal.certify.log import Batch

OFFER_V1 = "gridseal/offer/v1"
ANNOUNCEMENT_V1 = "gridseal/announcement/v1"
CLAIM = "claim."  # before the epoch of a claim's source
PARTS_MAX = 64  # of one batch: 64 × 8,192 entries are more than a message of 4 MiB can name


@dataclass(frozen=True, slots=True)
class Offer:
    """One part of a batch as a worker appends it to `bal.commitments`; or a claim."""

    batch: Batch
    generation: int  # of the worker's claim; a claim's own is its offset
    parts: int  # of the whole batch, from 1; 0 for a claim
    making: str  # names the whole batch: parts of two makings must not be mixed

    @property
    def is_claim(self) -> bool:
        """Whether it says that this generation has the partition from here on."""
        return self.parts == 0


class Outcome(Enum):
    """What became of an offer."""

    READY = "ready"  # with it a batch, or a claim, is ready to be taken
    HELD = "held"  # a part of a batch of which further ones are missing
    DROPPED = "dropped"  # in the log already, or of a worker that lost its partition
    HALTED = "halted"  # does not follow: nothing more of its partition is taken


@dataclass(slots=True)
class _Ready:
    position: int  # of its first part
    batches: list[Batch]
    entries: int


@dataclass(slots=True)
class _Source:
    last: int  # offset taken, or ready
    generation: int  # -1 before the first claim: an order without claims has generation 0
    making: str = ""  # of which parts are held
    begun: int = 0  # position of the first of them
    held: list[Batch] = field(default_factory=list)
    halted: str = ""
    halted_at: int = 0


class Order:
    """The chains of all sources, from the heads row on."""

    def __init__(self, taken: Mapping[str, int]) -> None:
        """taken: of the heads row that the next commit replaces."""
        self._taken = dict(taken)
        self._sources: dict[str, _Source] = {}
        self._ready: deque[_Ready] = deque()

    @property
    def halted(self) -> dict[str, str]:
        """Sources that were halted, each with why: for the alarm `batch-out-of-order`."""
        return {name: one.halted for name, one in self._sources.items() if one.halted}

    def offer(self, position: int, offer: Offer) -> Outcome:
        """Take the next item of the topic; position: its offset there, ascending."""
        source = self._source(offer.batch)
        if offer.is_claim:
            return self._claim(source, position, offer)
        if source.halted:
            return Outcome.HALTED
        if offer.generation < source.generation or offer.batch.offset <= source.last:
            return Outcome.DROPPED
        if offer.generation > max(source.generation, 0):
            return self._halt(source, position, offer, f"generation {offer.generation} not claimed")
        if offer.batch.prev != source.last:
            return self._halt(source, position, offer, f"{source.last + 1} is missing")
        return self._part(source, position, offer)

    def take(self, entries_max: int) -> list[Batch]:
        """Batches for the next commit, in order: as many as have `entries_max` entries, or one."""
        found: list[Batch] = []
        entries = 0
        while self._ready and (not found or entries + self._ready[0].entries <= entries_max):
            one = self._ready.popleft()
            found += one.batches
            entries += one.entries
        return found

    def waiting(self) -> int:
        """Entries of batches that are ready."""
        return sum(one.entries for one in self._ready)

    def is_ready(self) -> bool:
        """Whether `take` would give anything."""
        return bool(self._ready)

    def needed_from(self, position: int) -> int:
        """Where to read the topic from after a restart, once all that was taken is committed.

        position: that of the next item. A halted partition's batch is read again, and halts again
        until what is missing has come.
        """
        found = [one.position for one in self._ready]
        found += [one.begun for one in self._sources.values() if one.held]
        found += [one.halted_at for one in self._sources.values() if one.halted]
        return min(found, default=position)

    def _source(self, batch: Batch) -> _Source:
        name = batch.source.removeprefix(CLAIM)
        found = self._sources.get(name)
        if found is None:
            found = _Source(self._taken.get(name, -1), self._taken.get(f"{CLAIM}{name}", -1))
            self._sources[name] = found
        return found

    def _claim(self, source: _Source, position: int, offer: Offer) -> Outcome:
        generation = offer.batch.offset
        if generation <= source.generation:
            return Outcome.DROPPED
        batch = Batch(
            offer.batch.epoch, offer.batch.partition, generation, source.generation, [], {}
        )
        source.generation, source.making, source.held = generation, "", []
        self._ready.append(_Ready(position, [batch], 0))
        return Outcome.READY

    def _part(self, source: _Source, position: int, offer: Offer) -> Outcome:
        batch = offer.batch
        if offer.making != source.making:
            if batch.part != 0:
                text = f"part {batch.part} of {batch.offset} without those before it"
                return self._halt(source, position, offer, text)
            source.making, source.begun, source.held = offer.making, position, []
        if batch.part < len(source.held):
            return Outcome.DROPPED
        if batch.part > len(source.held):
            text = f"part {len(source.held)} of {batch.offset} is missing"
            return self._halt(source, position, offer, text)
        source.held.append(batch)
        if len(source.held) < offer.parts:
            return Outcome.HELD
        entries = sum(len(part.entries) for part in source.held)
        self._ready.append(_Ready(source.begun, source.held, entries))
        source.last, source.making, source.held = batch.offset, "", []
        return Outcome.READY

    def _halt(self, source: _Source, position: int, offer: Offer, why: str) -> Outcome:
        batch = offer.batch
        source.halted = f"{batch.source}: {batch.offset} does not follow {source.last}: {why}"
        source.halted_at = source.begun if source.held else position
        return Outcome.HALTED


def offers(batches: Sequence[Batch], generation: int) -> list[Offer]:
    """The parts of one batch as a worker appends them, in this order.

    batches: of `Worked.batches`. Raises ValueError where they are more than PARTS_MAX.
    """
    if not 1 <= len(batches) <= PARTS_MAX:
        raise ValueError(f"a batch has 1 to {PARTS_MAX} parts, not {len(batches)}")
    making = sha256(b"".join(batch.header(0) for batch in batches)).hexdigest()
    return [Offer(batch, generation, len(batches), making) for batch in batches]


def claim(epoch: str, partition: int, generation: int) -> Offer:
    """That worker's claim on a partition; generations are ≥ 0 and only ever grow."""
    batch = Batch(f"{CLAIM}{epoch}", partition, generation, -1, [], {})
    return Offer(batch, generation, 0, "")


def encode(offer: Offer) -> bytes:
    """One item of `bal.commitments`: RFC 8785 header, line feed, the entries joined."""
    batch = offer.batch
    members: dict[str, object] = {
        "v": OFFER_V1,
        "epoch": batch.epoch,
        "partition": str(batch.partition),
        "offset": str(batch.offset),
        "prev": str(batch.prev),
        "part": str(batch.part),
        "parts": str(offer.parts),
        "generation": str(offer.generation),
        "making": offer.making,
        "inputs": dict(batch.inputs),
        "again": batch.again,
    }
    return jcs.encode(members) + b"\n" + b"".join(batch.entries)


def decode(data: bytes) -> Offer:
    """The offer of `encode`. Raises ValueError for anything that it would not have written."""
    header, _, body = data.partition(b"\n")
    found: Any = jcs.decode(header)
    try:
        if found["v"] != OFFER_V1 or len(body) % COMMITMENT_BYTES:
            raise ValueError("not an offer")
        cuts = range(0, len(body), COMMITMENT_BYTES)
        batch = Batch(
            found["epoch"],
            int(found["partition"]),
            int(found["offset"]),
            int(found["prev"]),
            [body[at : at + COMMITMENT_BYTES] for at in cuts],
            found["inputs"],
            int(found["part"]),
            found["again"],
        )
        offer = Offer(batch, int(found["generation"]), int(found["parts"]), found["making"])
    except (KeyError, TypeError) as error:
        raise ValueError("not an offer") from error
    if not 0 <= offer.parts <= PARTS_MAX or encode(offer) != data:
        raise ValueError("not an offer as it is written")
    texts = [batch.epoch, batch.again, offer.making, *batch.inputs.values()]
    if not all(isinstance(text, str) for text in texts):  # JSON as well, and nobody's to write
        raise ValueError("not an offer: texts are something else")
    if offer.is_claim != batch.epoch.startswith(CLAIM):
        raise ValueError("not an offer: half a claim")
    return offer


def announcement(version: int, size: int, headers: Sequence[bytes]) -> bytes:
    """What the sequencer tells of a commit: one item of `bal.announcements`, RFC 8785.

    headers: all of that version, in log order (TileReader.headers), so that a sequencer that takes
    over can announce what the last one did not. It may be told twice, and late: readers go by the
    version (bal/store/merge.py).
    """
    return jcs.encode(
        {
            "v": ANNOUNCEMENT_V1,
            "version": str(version),
            "size": str(size),
            "batches": [header.decode() for header in headers],
        }
    )
