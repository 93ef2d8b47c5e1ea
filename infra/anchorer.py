"""The anchorer: brings the newest checkpoint to the contract, at its own pace, one at a time.

It may lag, it never leads, and it never repairs: where the chain holds what this log did not sign,
it stops and says so. Each turn first looks at the chain, then settles what was sent, and only then
sends. What was sent stands in the journal beforehand, so a turn may end at any line (a kill, a lost
answer) and the next one finds out what happened. The states of a head:

    pending → anchored → final        reorg: anchored → pending, and sent again
            ↘ dropped                 its nonce or its place was taken; a newer head will cover it
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bal.certify.tree import check_consistency
from bal.errors import ProofInvalid, Stop, Unavailable
from bal.model import Anchor, Close, Digest, TreeHead
from bal.ports import Clock
from infra.anchor_contract import AnchorContract, OnChain, Signed, address_of
from infra.anchor_journal import AnchorJournal, Attempt
from infra.chain_errors import Contradiction, Reverted, refused
from infra.chain_watch import ChainWatch
from infra.closer import Closer

POLL_S = 2.0  # while a transaction is under way
CONFIRM_S = 15.0  # while a head is not final
CONFIRM_MAX = 8  # heads asked for in a turn; finality may stall for weeks and comes oldest first
BACKOFF_MAX_S = 300.0
RAISE_AFTER_S = 120  # a transaction that no block takes so long gets a higher fee
RAISES_MAX = 12  # fees grow at most 14-fold, or with what the chain asks
LOOKS = 3  # at what an endpoint of others says, before it is believed that it undid something
RELOOK_S = 0.3
SHARED_AGAIN_US = 3_600_000_000  # between two alarms that somebody uses the key
ANCHOR_NOW_S = 60.0
GAS_SPARE = 2  # of the gas that the last head took; a longer proof takes a third more at most

Checkpoint = tuple[TreeHead, bytes]  # and its signed note


class Anchorer:
    """Anchors one log in one contract, from a thread of its own."""

    def __init__(
        self,
        *,
        contract: AnchorContract,
        log: bytes,
        anchorer_key: bytes,
        journal: Path,
        newest: Callable[[], Checkpoint | None],
        consistency: Callable[[int, int], list[bytes]],
        interval_s: float,
        depth: int,
        own: bool,
        clock: Clock,
        on_anchored: Callable[[Anchor, bytes], None],
        on_alarm: Callable[[str, str], None],
        on_clear: Callable[[str], None] = lambda _: None,
        closes: Callable[[], Sequence[Close]] = tuple,
    ) -> None:
        """Prepare; asks neither chain nor log yet.

        log: keccak256(origin); newest: the newest published head and its note, read afresh at each
        call; consistency: RFC 9162 proof between two sizes; depth: blocks on top of a head's until
        it is final. own: whether it is the platform's own chain, whose `finalized` says nothing; on
        another one a head is final, too, when that tag reaches it, and only then at depth 0.
        on_anchored(anchor, note) is called once for each head that is seen on chain, again if it
        moves; one may be missed in a crash, so at start ask `covering`. on_alarm(code, text) is
        called when the anchorer stops for good, met a defect, or the chain fails for long (see
        `ChainWatch`); on_clear(code) when that is over. All run in the calling thread.
        closes: all closes of the book that the log has, see `Closer`; their journal is a file
        beside `journal`. Raises Stop("anchor-journal") for a journal that can't be read.
        """
        self._contract = contract
        self._log = log
        self._key = anchorer_key
        self._journal = AnchorJournal(journal)
        self._newest = newest
        self._consistency = consistency
        self._interval_s = interval_s
        self._depth = depth
        self._own = own
        self._clock = clock
        self._on_anchored = on_anchored
        self._on_alarm = on_alarm
        self._turn = threading.RLock()  # one turn at a time, the thread's or a caller's
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._agreed: TreeHead | None = None  # the chain's head, found to be ours
        self._bound = False
        self._gas: int | None = None  # that the last head took; None: the next one is tried first
        self._halted: Stop | None = None
        self._last_error = ""
        self._highest = 0  # block that a head of this run is in
        self._told_shared_us = 0
        self._watch = ChainWatch(clock, on_alarm, on_clear)
        self.closer = Closer(
            contract=contract,
            log=log,
            key=anchorer_key,
            journal=journal.with_name(f"closes-{journal.name.removeprefix('anchors-')}"),
            closes=closes,
            depth=depth,
            own=own,
            clock=clock,
            on_alarm=on_alarm,
        )

    # -- for the application ---------------------------------------------------------------------

    def start(self) -> None:
        """Compare the chain with the log, then work in the background.

        Raises Stop, after on_alarm, where they contradict each other. A chain that does not answer
        is no reason not to start: the comparison is made before anything is sent.
        """
        with self._turn, suppress(Unavailable):  # it is told by the watch
            self._guarded(self._begin)
        self._thread = threading.Thread(target=self._run, name="anchorer", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread after its current turn; a transaction under way is settled next time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return  # it still holds the journal; the process is about to end anyway
        self._journal.close()
        self.closer.close()

    def anchor_now(self) -> Anchor | None:
        """Anchor the newest checkpoint and wait until a block has it; None for an empty log.

        Raises Unavailable when the chain did not take it within a minute, Stop as `start` does.
        """
        if self._halted is not None:
            raise self._halted
        deadline = time.monotonic() + ANCHOR_NOW_S
        checkpoint = self._newest()
        if checkpoint is None or checkpoint[0].size == 0:
            return None
        while True:
            with self._turn:
                self._guarded(self._step)
                found = self._journal.newest()
            if found is not None and found.size >= checkpoint[0].size:
                return self._journal.anchor(found)
            if time.monotonic() > deadline:
                raise Unavailable("the chain has not taken the head yet", retry_after_s=10)
            self._stopping.wait(0.1)

    def covering(self, index: int) -> tuple[Anchor, bytes, str] | None:
        """The smallest anchored checkpoint that contains entry `index`, or None so far.

        Gives (anchor, checkpoint note, "anchored" or "final"). Asks no chain; from any thread.
        """
        return self._journal.covering(index)

    def anchored_size(self) -> int:
        """The largest anchored size, 0 before the first."""
        found = self._journal.newest()
        return found.size if found else 0

    def final_size(self) -> int:
        """The largest size that is final, 0 before the first."""
        return self._journal.final_size()

    def status(self) -> dict[str, object]:
        """For /metrics and the operator: sizes, age of the newest anchor in s, gas, last error."""
        found = self._journal.newest()
        seen_us = found.seen_us if found else None
        return {
            "anchored_size": found.size if found else 0,
            "state": found.state if found else None,
            "age_s": None if seen_us is None else (self._clock.now_us() - seen_us) // 1_000_000,
            "gas": found.gas if found else None,
            "tx": found.tx if found else None,
            "pending_sizes": sorted({one.size for one in self._journal.of_state("pending")}),
            "closes": self.closer.status(),
            "last_error": self._last_error,
            "outage_s": self._watch.outage_s(),
            "halted": self._halted.code if self._halted else None,
        }

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        offer_at_s = time.monotonic()
        while not self._stopping.is_set():
            offering = time.monotonic() >= offer_at_s
            try:
                with self._turn:
                    self._guarded(self._step if offering else self._settle)
                    longest_s = self._longest_pause_s()
                failures = 0
                if offering:
                    offer_at_s = time.monotonic() + self._interval_s
                pause_s = min(longest_s, max(0.0, offer_at_s - time.monotonic()))
            except Stop:
                return
            except Unavailable:
                failures += 1
                doubled_s = self._interval_s * 2.0 ** min(failures - 1, 20)
                pause_s = min(doubled_s, max(self._interval_s, BACKOFF_MAX_S))
            except Exception as error:  # noqa: BLE001  a dead thread would be a silent one
                self._last_error = f"{type(error).__name__}: {error}"
                self._on_alarm("anchorer-defect", self._last_error)
                pause_s = max(self._interval_s, POLL_S)
            self._stopping.wait(pause_s)

    def _guarded(self, work: Callable[[], object]) -> None:
        """Do one turn; whatever makes the anchorer stop, it is told once and stays."""
        if self._halted is not None:
            raise self._halted
        self._last_error = ""
        try:
            self._believed(work)
        except Stop as error:
            self._halted = error
            self._last_error = str(error)
            self._on_alarm(error.code, error.text)
            raise
        except Unavailable as error:
            self._last_error = str(error)
            self._watch.failed(error)
            raise
        self._watch.answered(self._waiting_since_us())

    def _believed(self, work: Callable[[], object]) -> None:
        """Do one turn. An endpoint of others must say thrice what would make the anchorer stop."""
        for _ in range(0 if self._own else LOOKS - 1):
            try:
                work()
            except Stop:
                self._agreed = None
                if not self._bound:
                    self._contract.forget_chain()
                self._stopping.wait(RELOOK_S)
            else:
                return
        work()

    def _waiting_since_us(self) -> int | None:
        since = [one.signed_us for one in self._journal.of_state("pending")]
        closes_us = self.closer.waiting_since_us()
        return min([*since, *([closes_us] if closes_us is not None else [])], default=None)

    def _longest_pause_s(self) -> float:
        if self._under_way():
            return POLL_S
        confirming = self._journal.of_state("anchored") or self.closer.unsettled()
        return CONFIRM_S if confirming else self._interval_s

    # -- one turn --------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._compare()
        self.closer.compare()

    def _step(self) -> None:
        checkpoint = self._settle()
        if not self._under_way():
            self._offer(checkpoint)
            self._offer_closes()

    def _under_way(self) -> bool:
        """Whether a head or a close is out; one key, so one transaction at a time."""
        return bool(self._journal.of_state("pending")) or self.closer.under_way()

    def _offer_closes(self) -> None:
        if not self._under_way():
            taken_over = self._agreed.size if self._agreed else 0  # of a parent: in no journal here
            self.closer.offer(max(taken_over, self.anchored_size()))

    def _compare(self) -> Checkpoint | None:
        """Hold the chain's head against the log; gives the log's newest checkpoint.

        Raises Stop("anchor-ahead") when the chain has a size that the log has not reached,
        Stop("anchor-fork") when its root is not the log's.
        """
        on_chain = self._look_up()
        checkpoint = self._newest()  # after the chain: the log only grows
        self._check_kept(on_chain.size)
        if on_chain.size == 0:
            self._agreed = TreeHead(0, Digest(b""))
            return checkpoint
        if checkpoint is None or on_chain.size > checkpoint[0].size:
            has = checkpoint[0].size if checkpoint else 0
            text = f"the chain has a head of {on_chain.size} entries, the log only {has}"
            raise Stop("anchor-ahead", text)
        root = self._contract.root_at(self._log, on_chain.size)
        if root is None:
            raise Unavailable("the chain moved back while it was read")
        head = TreeHead(on_chain.size, Digest(root))
        if head != self._agreed:
            self._check_continues(head, checkpoint[0])
            self._adopt(head, checkpoint)
            self._agreed = head
        return checkpoint

    def _look_up(self) -> OnChain:
        """The chain's head, of the chain and contract that the journal is about."""
        if not self._own and self._bound:
            self._contract.check_chain()
        known = self._journal.is_about(self._contract.address)
        if known:
            self._bind()
        try:
            found = self._contract.latest(self._log)
        except Stop as error:  # no contract there; but there was one
            if known and not self._own:
                raise Contradiction(f"{error.text}, where there was one: the node lags") from error
            raise
        self._bind()
        return found

    def _bind(self) -> None:
        if not self._bound:
            self._journal.bind(self._contract.chain_id, self._contract.address, self._log)
            self._bound = True

    def _check_continues(self, old: TreeHead, new: TreeHead) -> list[bytes]:
        proof = self._consistency(old.size, new.size) if 0 < old.size < new.size else []
        try:
            if old.size:
                check_consistency(old, new, [Digest(one) for one in proof])
        except ProofInvalid as error:
            text = f"the head of {old.size} entries on chain is not this log's: {error}"
            raise Stop("anchor-fork", text) from error
        return proof

    def _check_kept(self, size: int) -> None:
        """What was final must not vanish; of a remote chain the node may merely lag."""
        known = self._journal.newest()
        if known is None or known.state != "final" or size >= known.size:
            return
        text = f"the chain ends at {size} entries, but {known.size} were final there"
        if self._own:
            raise Stop("anchor-lost", f"{text}: was an older chain restored?")
        raise Contradiction(f"{text}: the node lags")

    def _adopt(self, head: TreeHead, checkpoint: Checkpoint) -> None:
        """Take over a head that stands on chain and not in the journal, if its note is at hand."""
        sizes = {one.size for one in self._journal.of_state("pending")} | {self.anchored_size()}
        if head.size == checkpoint[0].size and head.size not in sizes:
            self._find(head, checkpoint[1])

    def _find(self, head: TreeHead, note: bytes) -> None:
        """Record a head that another transaction than a journalled one brought on chain."""
        mined = self._contract.find_anchored(self._log, head.size)
        if mined is None:
            return  # the node shows no event that old; a newer head will cover the entries
        attempt = self._attempt(mined.tx, None, None, head, note)
        self._journal.intend(attempt)
        self._record(attempt, mined.block, mined.gas)

    def _settle(self) -> Checkpoint | None:
        """Find out what became of the heads that were sent; the log's newest checkpoint."""
        checkpoint = self._compare()
        taken_back = False
        for attempt in reversed(self._journal.of_state("anchored")):
            # a reorg takes the newest blocks, and a head stands on those before it
            if any(self._stands(attempt) for _ in self._looks(once=taken_back)):
                break
            self._take_back(attempt)
            taken_back = True
        for attempt in self._journal.of_state("anchored")[:CONFIRM_MAX]:
            self._confirm(attempt)
        under_way = self._journal.of_state("pending")
        for attempt in under_way:
            if attempt in self._journal.of_state("pending"):  # one before it may have settled it
                self._follow(attempt)
        self.closer.settle()
        self._offer_closes()  # before the next head, which would else always be first
        return self._compare() if under_way else checkpoint

    def _looks(self, *, once: bool = False) -> Iterator[int]:
        """One, or with an endpoint of others some, with pauses: one of several nodes may lag."""
        yield 0
        for again in range(1, 1 if self._own or once else LOOKS):
            self._stopping.wait(RELOOK_S)
            yield again

    def _take_back(self, attempt: Attempt) -> None:
        if attempt.raw:
            self._journal.await_again(attempt, self._clock.now_us())
        else:
            self._journal.drop(attempt)

    def _stands(self, attempt: Attempt) -> bool:
        """Whether the contract has this very head; Stop("anchor-fork") if it has another."""
        root = self._contract.root_at(self._log, attempt.size)
        if root is not None and root != attempt.root:
            text = f"the chain has another root than ours at {attempt.size} entries"
            raise Stop("anchor-fork", text)
        return root is not None

    def _confirm(self, attempt: Attempt) -> None:
        """anchored → final, or back to pending where a reorg took its block."""
        mined = next(filter(None, (self._contract.mined(attempt.tx) for _ in self._looks())), None)
        if mined is None or not mined.succeeded:
            self._take_back(attempt)
        elif mined.block != attempt.block:
            self._record(attempt, mined.block, mined.gas)
        elif self._is_final(mined.block):
            self._journal.finish(attempt.tx)

    def _is_final(self, block: int) -> bool:
        if self._own and self._depth == 0:
            return True
        if self._depth and self._contract.head_number() - block >= self._depth:
            return True
        if self._own:
            return False
        finalized = self._contract.finalized_number()
        return finalized is not None and finalized >= block

    def _follow(self, attempt: Attempt) -> None:
        """pending → anchored or dropped; else send it again."""
        mined = self._contract.mined(attempt.tx)
        if mined is not None and mined.succeeded:
            self._record(attempt, mined.block, mined.gas)
        elif mined is not None:
            self._gas = None
            for one in self._of_nonce(attempt):
                self._journal.drop(one)
            self._on_alarm("anchor-reverted", f"transaction {attempt.tx} was mined and reverted")
        elif self._stands(attempt):
            self._journal.drop(attempt)
            self._find(TreeHead(attempt.size, Digest(attempt.root)), attempt.note)
        elif attempt.nonce is None or self._contract.latest(self._log).size >= attempt.size:
            self._journal.drop(attempt)
        elif self._next_nonce(queued=False) > attempt.nonce:
            self._give_up(attempt)
        else:
            self._resend(attempt)

    def _of_nonce(self, attempt: Attempt) -> list[Attempt]:
        return [one for one in self._journal.of_state("pending") if one.nonce == attempt.nonce]

    def _next_nonce(self, *, queued: bool) -> int:
        """The key's next nonce. Raises Contradiction where a head on chain has it already."""
        found = self._contract.next_nonce(address_of(self._key), queued=queued)
        newest = self._journal.newest()
        if newest is not None and newest.nonce is not None and found <= newest.nonce:
            text = f"the endpoint says that nonce {found} is free, and {newest.nonce} is in a block"
            raise Contradiction(text)
        return found

    def _give_up(self, attempt: Attempt) -> None:
        """Its nonce is used, and not by it, unless a block came since it was looked for."""
        alike = self._of_nonce(attempt)
        if any(self._contract.mined(one.tx) for one in alike):
            return  # the next turn finds it
        head = self._contract.head_number()
        if head < self._highest:  # the nonce may be a newer node's word
            raise Contradiction(f"the endpoint has {head} blocks, and had {self._highest} before")
        for one in alike:
            self._journal.drop(one)
        if self._told_shared_us + SHARED_AGAIN_US < self._clock.now_us():
            self._told_shared_us = self._clock.now_us()
            text = f"nonce {attempt.nonce} of the anchorer's key was used by a transaction that is"
            text += " not in the journal: does another platform run with this key?"
            self._on_alarm("anchor-key-shared", text)

    def _resend(self, attempt: Attempt) -> None:
        """Hand it to the chain once more; dearer where that took too long.

        Of several for one head only the last is sent: it takes the others' place.
        """
        assert attempt.raw is not None
        assert attempt.nonce is not None
        waiting = self._journal.of_state("pending")
        siblings = [one for one in waiting if one.size == attempt.size]
        if siblings[-1] != attempt:
            return
        age_s = (self._clock.now_us() - attempt.signed_us) // 1_000_000
        first = waiting[0].size == attempt.size  # those behind it may wait for it alone
        if age_s < RAISE_AFTER_S or not first or len(siblings) > RAISES_MAX:
            self._contract.send(Signed(attempt.raw, attempt.tx, attempt.nonce))
            self._look(attempt)
            return
        self._send(TreeHead(attempt.size, Digest(attempt.root)), attempt.note, attempt)

    def _offer(self, checkpoint: Checkpoint | None) -> None:
        """Send it if it is larger than the chain's, as `_compare` saw that last."""
        agreed = self._agreed
        assert agreed is not None
        if checkpoint is None or checkpoint[0].size <= agreed.size:
            return
        self._send(checkpoint[0], checkpoint[1], None)

    def _send(self, head: TreeHead, note: bytes, instead_of: Attempt | None) -> None:
        agreed = self._agreed
        assert agreed is not None
        proof = self._check_continues(agreed, head)
        # On the own chain, which runs in this process, a trial costs senders as much as the thing
        # itself, and a failure costs nobody anything: it is tried first only where one failed.
        gas = GAS_SPARE * self._gas if self._own and self._gas else None
        nonce = self._next_nonce(queued=instead_of is None)
        replaces = None  # a lower one than before: nothing of ours is in between, it is a gap
        if instead_of is not None and instead_of.nonce == nonce:
            replaces = instead_of.raw
        try:
            signed = self._contract.sign_anchor(
                self._log, head.size, head.root, proof, self._key,
                nonce=nonce, replaces=replaces, gas=gas,
            )  # fmt: skip
        except Reverted as error:
            raise refused(error) from error
        attempt = self._attempt(signed.tx, signed.nonce, signed.raw, head, note)
        self._journal.intend(attempt)
        self._contract.send(signed)
        self._look(attempt)

    def _attempt(
        self, tx: str, nonce: int | None, raw: bytes | None, head: TreeHead, note: bytes
    ) -> Attempt:
        return Attempt(
            tx=tx,
            size=head.size,
            root=head.root,
            note=note,
            nonce=nonce,
            raw=raw,
            state="pending",
            block=None,
            gas=None,
            signed_us=self._clock.now_us(),
            seen_us=None,
        )

    def _look(self, attempt: Attempt) -> None:
        """Record it at once where the chain mines at once."""
        mined = self._contract.mined(attempt.tx)
        if mined is not None and mined.succeeded:
            self._record(attempt, mined.block, mined.gas)

    def _record(self, attempt: Attempt, block: int, gas: int) -> None:
        if not self._own and self._contract.root_at(self._log, attempt.size) != attempt.root:
            text = f"{attempt.tx} is said to have anchored {attempt.size} entries: they are not"
            raise Contradiction(f"{text} on chain")
        self._gas = gas
        self._highest = max(self._highest, block)
        self._journal.seen(attempt.tx, block, gas, self._clock.now_us())
        if self._own and self._depth == 0:
            self._journal.finish(attempt.tx)
        self._on_anchored(self._journal.anchor(replace(attempt, block=block)), attempt.note)
