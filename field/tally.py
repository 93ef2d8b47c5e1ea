"""What became of the messages that were sent: counted from the platform's receipts alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from field.day import Outgoing, Sender

EXAMPLES_KEPT = 20
_ROLES = {"headend": "head-end", "gateway": "DER gateway", "inverter": "inverters", "pmu": "PMU"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that the platform did not take, in its own words."""

    sender: str
    code: str
    field: str
    line: str
    clause: str
    text: str


@dataclass(slots=True)
class Account:
    """The senders of one role together."""

    title: str
    form: str
    senders: int
    messages: int  # due
    values: int  # readings or frames due
    sent: int = 0
    answered: int = 0  # certified or refused
    entries: int = 0  # in the log, as the receipts say
    refused: int = 0  # readings, or whole messages
    repeated: int = 0  # messages that the platform knew already
    unanswered: int = 0


@dataclass(slots=True)
class Tally:
    """One account a role, and what was refused and doubted in all of them."""

    accounts: dict[str, Account]
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)  # by role and code
    examples: dict[tuple[str, str], list[Refusal]] = field(default_factory=dict)
    findings: Counter[str] = field(default_factory=Counter)
    doubts: dict[str, str] = field(default_factory=dict)  # a finding's code → its text
    _role: dict[str, str] = field(default_factory=dict)  # sender → role
    _known: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, senders: Sequence[Sender], messages: Iterable[Outgoing]) -> "Tally":
        """An empty tally of these messages."""
        role: dict[str, str] = {sender.name: sender.role for sender in senders}
        count = Counter(sender.role for sender in senders)
        accounts: dict[str, Account] = {
            sender.role: Account(_ROLES[sender.role], sender.form, count[sender.role], 0, 0)
            for sender in senders
        }
        for message in messages:
            account = accounts[role[message.sender]]
            account.messages += 1
            account.values += message.values
        return cls(accounts, _role=role)

    def account(self, sender: str) -> Account:
        """The account that a sender's messages are counted in."""
        return self.accounts[self._role[sender]]

    def hear(self, sender: str, receipt: Mapping[str, Any]) -> None:
        """Count one final receipt: of type certified or refused."""
        account = self.account(sender)
        account.answered += 1
        key = (sender, str(receipt.get("message")))
        if key in self._known:
            account.repeated += 1
            return
        self._known.add(key)
        if receipt.get("type") == "refused":
            self._refuse(sender, receipt)
            return
        account.entries += int(receipt.get("count", 0))
        for fault in receipt.get("refused") or ():
            self._refuse(sender, fault)
        for finding in receipt.get("findings") or ():
            self.findings[finding["code"]] += 1
            self.doubts.setdefault(finding["code"], finding.get("text", ""))

    def _refuse(self, sender: str, fault: Mapping[str, Any]) -> None:
        self.account(sender).refused += 1
        key = (self._role[sender], str(fault.get("code", "")))
        self.refusals[key] += 1
        kept = self.examples.setdefault(key, [])
        if len(kept) < EXAMPLES_KEPT:
            said = (
                str(fault.get(name, "")) for name in ("code", "field", "line", "clause", "text")
            )
            kept.append(Refusal(sender, *said))
