"""The closer: brings the closes of the book to the contract, in order of k, one at a time.

It works in the anchorer's turns, with its key, and never while a head is under way: one key has one
row of nonces. As with heads, each turn first holds the chain against the log, then settles what was
sent, and only then sends, written down beforehand. The states of a close:

    pending → anchored → final        reorg: anchored → pending, and sent again
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bal.errors import Stop, Unavailable
from bal.model import Close
from bal.ports import Clock
from infra.anchor_contract import AnchorContract, Signed, address_of
from infra.chain_errors import Reverted, refused
from infra.close_journal import CloseAttempt, CloseJournal, Standing

RAISE_AFTER_S = 120  # a transaction that no block takes so long gets a higher fee
RAISES_MAX = 12  # fees grow at most 14-fold, or with what the chain asks
FINAL_LOOKS_MAX = 8  # closes of which the event is looked for in a turn


class Closer:
    """Puts the closes of one log's book on one contract. The anchorer calls it, turn by turn."""

    def __init__(
        self,
        *,
        contract: AnchorContract,
        log: bytes,
        key: bytes,
        journal: Path,
        closes: Callable[[], Sequence[Close]],
        depth: int,
        own: bool,
        clock: Clock,
        on_alarm: Callable[[str, str], None],
    ) -> None:
        """Prepare; asks neither chain nor book yet.

        closes: every close that the log has, read afresh at each call; one that was given once must
        be given ever after, also after a restart, or the chain would seem to be ahead. depth, own
        and on_alarm as of the anchorer. Raises what SqliteFile does for the journal.
        """
        self._contract = contract
        self._log = log
        self._key = key
        self._journal = CloseJournal(journal)
        self._closes = closes
        self._depth = depth
        self._own = own
        self._clock = clock
        self._on_alarm = on_alarm
        self._standing = self._journal.standing()
        self._known: Mapping[int, Close] = {}  # the log's, by k
        self._compared: int | None = None  # the newest k on chain, found to be the log's
        self._pending = 0  # the k of the transaction under way, else 0

    def close(self) -> None:
        """Release the journal."""
        self._journal.close()

    # -- for the application, from any thread ----------------------------------------------------

    def status(self) -> dict[str, object]:
        """For /metrics and the operator: newest k on chain, newest final one, k under way."""
        standing = self._standing
        return {
            "anchored": standing.anchored,
            "final": standing.final,
            "under_way": self._pending or None,
        }

    # -- for the anchorer, in its turn -----------------------------------------------------------

    def under_way(self) -> bool:
        """Whether a transaction is out that no block has yet."""
        return self._pending != 0

    def waiting_since_us(self) -> int | None:
        """When the close that is out was sent first."""
        attempts = self._journal.attempts(self._pending) if self._pending else []
        return attempts[0].signed_us if attempts else None

    def unsettled(self) -> bool:
        """Whether a close on chain is not final yet."""
        return self._standing.anchored > self._standing.final

    def compare(self) -> None:
        """Hold the chain's closes against the log's.

        Raises Stop("close-differs") where the chain has a close that the log has not, or has with
        another prefix or root; Stop("anchor-lost") where the own chain lost a final one.
        """
        if self._at_rest():
            return
        on_chain = self._contract.closes(self._log)
        self._known = {one.k: one for one in self._closes()}  # after the chain: the log only grows
        self._check_kept(on_chain)
        newest = max(self._known, default=0)
        if on_chain > newest:
            text = f"the chain has close {on_chain} of the book, the log only {newest}"
            raise Stop("close-differs", text)
        for k in range(self._standing.final + 1, on_chain + 1):
            self._check_close(k, on_chain)
        if on_chain and self._compared != on_chain <= self._standing.final:
            self._check_close(on_chain, on_chain)
        self._compared = on_chain
        found = Standing(on_chain, self._final(on_chain))
        if found != self._standing:
            self._journal.stand(found)
            self._standing = found
        self._pending = on_chain + 1 if self._journal.attempts(on_chain + 1) else 0

    def settle(self) -> None:
        """Compare, and find out what became of the close that was sent."""
        self.compare()
        attempts = [one for one in self._journal.attempts(self._pending) if not self._failed(one)]
        if not attempts:
            self._pending = 0
            return
        newest = attempts[-1]
        used = self._contract.next_nonce(address_of(self._key), queued=False)
        if used > newest.nonce:  # taken by this close since it was read, or by something else
            for attempt in attempts:
                self._journal.withdraw(attempt)
        elif self._is_stuck(newest, len(attempts)):
            self._send(self._known[newest.k], newest)
        else:
            self._contract.send(Signed(newest.raw, newest.tx, newest.nonce))
        self.compare()

    def offer(self, anchored_size: int) -> None:
        """Send the next closes that anchored heads cover, while each is taken at once.

        anchored_size: the largest anchored size; only what is in the log on chain may be closed.
        """
        while self._pending == 0:
            close = self._known.get(self._standing.anchored + 1)
            if close is None or close.index >= anchored_size:
                return
            self._send(close, None)
            self.compare()

    # -- the parts -------------------------------------------------------------------------------

    def _at_rest(self) -> bool:
        """Whether nothing can have changed: on the own chain nobody else writes, all is final."""
        standing = self._standing
        if not self._own or self._pending or self._compared != standing.final:
            return False
        return max((one.k for one in self._closes()), default=0) == standing.anchored

    def _check_kept(self, on_chain: int) -> None:
        """What was final must not vanish; of a remote chain the node may merely lag."""
        final = self._standing.final
        if on_chain >= final:
            return
        text = f"the chain ends at close {on_chain} of the book, but {final} was final there"
        if self._own:
            raise Stop("anchor-lost", f"{text}: was an older chain restored?")
        raise Unavailable(f"{text}: the node lags")

    def _check_close(self, k: int, on_chain: int) -> None:
        found = self._contract.close_at(self._log, k)
        if found is None:
            if k < on_chain:
                return  # a parent of the contract has it
            raise Unavailable("the chain moved back while it was read")
        ours = self._known.get(k)
        if ours is None or (found.prefix, found.root) != (ours.prefix, ours.book):
            has = f"root {ours.book.hex()} from {ours.prefix} entries" if ours else "none"
            raise Stop(
                "close-differs",
                f"close {k} of the book on chain has root {found.root.hex()} from {found.prefix} "
                f"entries, the log's {has}",
            )

    def _final(self, on_chain: int) -> int:
        """Up to which k closes stand in a final block; never less than before."""
        known = self._standing.final
        if on_chain == known or (self._own and self._depth == 0):
            return on_chain
        blocks = []
        if self._depth or self._own:
            blocks.append(self._contract.head_number() - self._depth)
        if not self._own:
            blocks.append(self._contract.finalized_number() or 0)
        block = max(blocks)
        if block <= 0:
            return known
        try:
            found = self._contract.closes(self._log, block)
        except (Unavailable, Stop):  # the node keeps no state so old, or there was no contract then
            found = self._closed_by(block, known, on_chain)
        return min(max(known, found), on_chain)

    def _closed_by(self, block: int, known: int, on_chain: int) -> int:
        """Which closes stand at `block`, by the events of the newest: closes have no gaps."""
        for k in range(on_chain, max(known, on_chain - FINAL_LOOKS_MAX), -1):
            found = self._contract.find_closed(self._log, k)
            if found is not None and found <= block:
                return k
        return known

    def _failed(self, attempt: CloseAttempt) -> bool:
        """Whether it was mined and reverted; then it is over."""
        mined = self._contract.mined(attempt.tx)
        if mined is None or mined.succeeded:
            return False
        self._journal.withdraw(attempt)
        self._on_alarm("anchor-reverted", f"transaction {attempt.tx} was mined and reverted")
        return True

    def _is_stuck(self, newest: CloseAttempt, count: int) -> bool:
        age_s = (self._clock.now_us() - newest.signed_us) // 1_000_000
        return age_s >= RAISE_AFTER_S and count <= RAISES_MAX

    def _send(self, close: Close, instead_of: CloseAttempt | None) -> None:
        try:
            signed = self._contract.sign_close(
                self._log, close.k, close.prefix, close.book, self._key,
                nonce=instead_of.nonce if instead_of else None,
                replaces=instead_of.raw if instead_of else None,
            )  # fmt: skip
        except Reverted as error:
            raise refused(error) from error
        now_us = self._clock.now_us()
        attempt = CloseAttempt(signed.tx, close.k, signed.nonce, signed.raw, now_us)
        self._pending = close.k
        self._journal.intend(attempt)
        self._contract.send(signed)
