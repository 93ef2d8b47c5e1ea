"""One partition in the hands of one worker, from its claim on (docs/decisions/0017).

Steps without sleeping; the ports may block. Rows go out before the offer of their batch, and
whatever is appended may be appended twice: the sequencer and the storer take it once.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from itertools import islice

from bal import jcs
from bal.certify.commitment import sha256_of
from bal.certify.order import CLAIM, claim, offers
from bal.certify.order import encode as encode_offer
from bal.errors import Stop, Unavailable
from bal.harmonise.phasors import rate_of
from bal.model import RawMessage
from bal.pipeline import FLUSH_FORMAT, OPERATOR, WINDOW_FORMATS, Worked
from bal.ports import Heads, Intake
from bal.registry import KINDS
from bal.store.merge import Announced
from bal.times import rfc3339
from bal.windows import Windows
from infra.retries import Key
from infra.roles.ports import Position, Topic
from infra.roles.positions import begun_at
from infra.roles.rows_item import encode as encode_rows
from infra.roles.trail import Trail
from infra.roles.windows_again import WindowsAgain
from infra.roles.worker_state import WorkerPorts, WorkerState

# Messages of a lane that are offered and not yet announced: so many, or while they are small ones,
# of few entries together, more; else single readings would wait for the next checkpoint by the 64.
IN_FLIGHT_MAX, IN_FLIGHT_ENTRIES, SMALL_IN_FLIGHT_MAX = 64, 4_096, 1_024
AHEAD_MAX = 200_000  # entries that the log may be ahead of what is stored
STEP_MESSAGES = 64
STEP_BYTES = 1024 * 1024  # of raw messages: a tenth of a second's work, and other lanes wait
READ_BYTES = 4 * 1024 * 1024  # about so much is read at once
APPEND_BYTES = 8 * 1024 * 1024  # in one append of rows
FLUSH_EVERY_S = 0.5  # looks at the windows of phasor frames
SAVE_EVERY_S = 1.0
STUCK_S = 60.0  # the log goes on and takes nothing of what is offered: the partition has halted


class LaneState(Enum):
    """What a lane does, in the words of its status."""

    CLAIMING = "waits until the log has its claim"
    BEHIND = "waits until what was taken before its claim is stored"
    FEEDING = "makes the open windows again"
    WORKING = "works"
    IN_FLIGHT = "waits until the log has taken what it offered"
    AHEAD = "waits for the storer"
    REGISTRY = "waits until the registry has what a message needs"


class Ended(Enum):
    """Why a lane is of no use any more."""

    SUPERSEDED = "another worker claimed it"
    HALF_DONE = "a message was left half done"  # its frames are perhaps in the windows
    STUCK = "the log goes on and takes nothing of it"  # a claim lets a halted partition go on


class Lane:
    """One partition between a claim and the next."""

    def __init__(
        self, ports: WorkerPorts, shared: WorkerState, partition: int, generation: int
    ) -> None:
        """generation: higher than all before, and no other process's (`claim` of bal's order)."""
        self._ports, self._shared = ports, shared
        self._raw, self._rows = ports.channels.raw, ports.channels.rows(partition)
        self.partition, self.generation = partition, generation
        epoch = self._raw.epoch
        self.source, self._claim = f"{epoch}/{partition}", f"{CLAIM}{epoch}/{partition}"
        self.state = LaneState.CLAIMING
        self.ended: Ended | None = None
        self.worked = self.retries = self.fed = 0  # messages; of them retries; fed again
        self.next = 0  # offset of the message that is worked next
        self._outbox: deque[tuple[Topic, list[bytes]]] = deque()
        self._outbox.append(
            (ports.channels.commitments, [encode_offer(claim(epoch, partition, generation))])
        )
        self._claimed = False
        self._before: Heads | None = None  # the first heads row that has the claim
        self._unsaved: Position | None = None
        self._saved_s = float("-inf")
        self._making: WindowsAgain | None = None
        self._windows = Windows(rate_of)
        self._trail: Trail | None = None
        self._left: deque[tuple[RawMessage, int]] = deque()  # read, and not worked yet
        self._mean_bytes = READ_BYTES // 8  # of a message
        self._at_end = False
        self._offered: deque[tuple[int, int]] = deque()  # not taken yet: offset, entries
        self._moved = -1  # `taken`, when it last was looked at whether that moves
        self._told_s: float | None = None  # the first version that was told of since
        self._recent: dict[Key, int] = {}  # what the archive may not have yet
        self._recents: deque[tuple[int, Key]] = deque()
        self._asked = -1  # the last own batch that changes the registry
        self._flush_s, self._flush_at = float("-inf"), -1

    @property
    def is_begun(self) -> bool:
        """Whether it knows what was taken before it."""
        return self._trail is not None

    # -- what the worker tells --------------------------------------------------------------

    def announced(self, announced: Announced) -> None:
        """A version of the log, in the order in which they are told."""
        if self._told_s is None:
            self._told_s = self._ports.elapsed_s()
        for place in announced.places:
            if self.ended is not None:
                return
            if place.source == self._claim:
                self._claimed |= place.offset == self.generation
                if place.offset > self.generation:
                    self.ended = Ended.SUPERSEDED
            elif place.source == self.source and self._trail is not None:
                self._trail.add(announced.version, place)

    def step(self) -> bool:
        """Do what can be done now; whether there may be more at once.

        Raises Unavailable: `ended` tells whether another step makes sense; Stop.
        """
        if self.ended is None:
            self._send()
        if self.ended is not None or not (self._claimed and self._begun()):
            return False
        if self._making is not None:
            return self._feed(self._making)
        assert self._trail is not None
        self._forget_stored(self._trail)
        if self._ports.elapsed_s() - self._saved_s >= SAVE_EVERY_S:
            self.save()
        self._flush()
        return not self._is_stuck(self._trail) and self._take(self._trail)

    def save(self) -> None:
        """Save from where on whoever goes on needs messages: only of what is *taken*.

        Raises Unavailable.
        """
        self._saved_s = self._ports.elapsed_s()
        if self._trail is not None and self.ended is None:
            self._unsaved = self._trail.position() or self._unsaved
            if self._unsaved is not None:
                self._ports.positions.save(position_name(self.partition), self._unsaved)
                self._unsaved = None

    # -- the beginning ----------------------------------------------------------------------

    def _begun(self) -> bool:
        """Whether it is known what was taken before the claim, and all of that is stored.

        Then the archive has whatever a retry may repeat, and the registry is no older than the
        one that the last batch was made by.
        """
        if self._trail is not None:
            return True
        if self._before is None:
            heads = self._ports.log.heads()
            if heads.taken.get(self._claim, -1) != self.generation:
                self.ended = Ended.SUPERSEDED
                return False
            self._before = heads
        if self._shared.size < self._before.size:
            self.state = LaneState.BEHIND
            return False
        self._begin(self._before)
        return True

    def _begin(self, heads: Heads) -> None:
        """Make the windows as they stand after the last message that was taken, and go on there."""
        taken = heads.taken.get(self.source, -1)
        name = position_name(self.partition)
        saved = begun_at(
            self._ports.positions.get(name),
            name,
            lambda at: self._raw.read(self.partition, at, 1),
            taken + 1,
        )
        making = WindowsAgain(
            self._ports,
            self._shared,
            self.partition,
            saved=saved,
            end=taken + 1,
            last=heads.version,
        )
        self._trail = Trail(taken, making.versions, saved)
        self._making, self.state, self.next = making, LaneState.FEEDING, taken + 1

    def _feed(self, making: WindowsAgain) -> bool:
        try:
            more = making.step()
        except Unavailable:  # they may have half of a message: from the beginning
            self._trail = self._making = None
            raise
        except Stop as error:
            self._check_trimmed(error)
            return False
        self.fed = making.fed
        if not more:
            self._windows, self._making, self.state = making.windows, None, LaneState.WORKING
        return True

    def _check_trimmed(self, error: Stop) -> None:
        """What was asked for is gone: by right, where another one has worked it meanwhile."""
        taken = self._ports.log.heads().taken
        if error.code != "bus-trimmed" or taken.get(self._claim, -1) == self.generation:
            raise error
        self.ended = Ended.SUPERSEDED

    # -- messages ---------------------------------------------------------------------------

    def _take(self, trail: Trail) -> bool:
        """Make the batches of some messages; False where there are none, or they have to wait."""
        room = self._room(trail)
        self.state = LaneState.WORKING
        if room <= 0:
            self.state = LaneState.IN_FLIGHT
        elif self._shared.log_size - self._shared.size > AHEAD_MAX:
            self.state = LaneState.AHEAD
        elif self._asked > trail.stored:
            self.state = LaneState.REGISTRY
        if self.state is not LaneState.WORKING or not self._read():
            return False
        messages = list(self._due(min(room, STEP_MESSAGES)))
        if not messages:
            self.state = LaneState.REGISTRY
            return False
        keys = [(one.credential, sha256_of(one.raw)) for one in messages]
        kept = self._ports.archive.summaries({key for key in keys if key not in self._recent})
        self._work(messages, keys, kept)
        trail.mark(self.next - 1, self._windows.needed_from(self.next))
        self._send()
        return True

    def _room(self, trail: Trail) -> int:
        """How many messages more may be offered before some are taken."""
        offered = self._offered
        while offered and offered[0][0] <= trail.taken:
            offered.popleft()
        small = sum(entries for _, entries in offered) < IN_FLIGHT_ENTRIES
        return (SMALL_IN_FLIGHT_MAX if small else IN_FLIGHT_MAX) - len(offered)

    def _is_stuck(self, trail: Trail) -> bool:
        """Whether nothing is taken of what was offered long ago, while others' batches are."""
        if trail.taken != self._moved or trail.taken + 1 == self.next:
            self._moved, self._told_s = trail.taken, None
        elif self._told_s is not None and self._ports.elapsed_s() - self._told_s > STUCK_S:
            self.ended = Ended.STUCK
        return self.ended is not None

    def _read(self) -> bool:
        """Whether there is a message to work."""
        if self._left:
            return True
        limit = max(1, min(STEP_MESSAGES, READ_BYTES // self._mean_bytes))
        try:
            found = self._raw.read(self.partition, self.next, limit)
        except Stop as error:
            self._check_trimmed(error)
            return False
        self._at_end = not found
        if found:
            self._mean_bytes = max(1, sum(len(one.raw) for one, _ in found) // len(found))
            self._left.extend(found)
        return bool(found)

    def _due(self, limit: int) -> Iterator[RawMessage]:
        """Messages for one step, as far as the registry knows what their collectors knew."""
        size = 0
        for message, registry in islice(self._left, limit):
            if registry > self._shared.size or size >= STEP_BYTES:
                return
            size += len(message.raw)
            yield message

    def _work(
        self, messages: Sequence[RawMessage], keys: Sequence[Key], kept: Mapping[Key, bytes]
    ) -> None:
        """Make rows and batches of these, or of those up to one that changes the registry.

        Or up to one that the vault can't be asked about now; Unavailable where that is the first.
        """
        rows: list[bytes] = []
        offered: list[bytes] = []
        inputs = {"registry": str(self._shared.size), "rules": self._ports.rules}
        for message, key in zip(messages, keys, strict=True):
            try:
                worked = self._worked(message, key, kept)
            except Unavailable:
                if message.format in WINDOW_FORMATS:
                    self.ended = Ended.HALF_DONE
                if self.ended is not None or not offered:
                    raise
                break
            batches = worked.batches(message.offset - 1, inputs)
            if not worked.again:
                rows += [encode_rows(worked, batch) for batch in batches]
            offered += [encode_offer(one) for one in offers(batches, self.generation)]
            self._offered.append((message.offset, len(worked.entries)))
            self._left.popleft()
            self.next = message.offset + 1
            self.worked += 1
            if self._asked == message.offset:
                break
        self._outbox.extend((self._rows, some) for some in _chunks(rows))
        self._outbox.append((self._ports.channels.commitments, offered))

    def _worked(self, message: RawMessage, key: Key, kept: Mapping[Key, bytes]) -> Worked:
        """What the message becomes; nothing where it is one that came before."""
        if (recent := self._recent.get(key)) is not None:
            first = f"{self.source}/{recent}"
        elif (summary := kept.get(key)) is not None:
            first = str(json.loads(summary)["batch"])
        else:
            worked = self._shared.process(message, self._windows)
            self._recent[key] = message.offset
            self._recents.append((message.offset, key))
            if any(draft.kind in KINDS for draft in worked.drafts):
                self._asked = message.offset
            return worked
        self.retries += 1
        return Worked(message, again=first)

    def _send(self) -> None:
        """Append what is to be appended, in order. Raises Unavailable: once more, then."""
        while self._outbox:
            topic, items = self._outbox[0]
            topic.append(items)
            self._outbox.popleft()

    def _forget_stored(self, trail: Trail) -> None:
        """The archive tells of these."""
        trail.see_stored(self._shared.size)
        while self._recents and self._recents[0][0] <= trail.stored:
            del self._recent[self._recents.popleft()[1]]

    def _flush(self) -> None:
        """Ask for a flush where windows wait for frames that don't come (docs/spec/pmu.md)."""
        now_s = self._ports.elapsed_s()
        if self._left or not self._at_end or self.next <= self._flush_at:
            return  # what they wait for may be on the bus
        if now_s - self._flush_s < FLUSH_EVERY_S:
            return
        self._flush_s, now_us = now_s, self._ports.clock.now_us()
        if self._windows.flush_due(now_us):
            # Another partition's of the same moment is no retry of this one.
            raw = jcs.encode({"partition": str(self.partition), "time": rfc3339(now_us)})
            flush = Intake(OPERATOR, FLUSH_FORMAT, now_us, raw)
            with suppress(Unavailable):
                _, self._flush_at = self._raw.append([flush], 0, self.partition)[0]


def position_name(partition: int) -> str:
    """The saved position of the workers of a partition: its messages below are not needed."""
    return f"worker.{partition}"


def _chunks(items: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Them all, in appends of APPEND_BYTES, or of one item that is larger."""
    some: list[bytes] = []
    size = 0
    for item in items:
        if some and size + len(item) > APPEND_BYTES:
            yield some
            some, size = [], 0
        some.append(item)
        size += len(item)
    if some:
        yield some
