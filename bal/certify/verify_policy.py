"""A verifier's policy: whom it trusts, and which chain (docs/spec/policy.md).

A C2SP tlog-policy; what that format has no word for stands in comment lines that begin with
`#gridseal`, so any tool for the format reads the same file. A policy never comes from a receipt.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from bal.certify.verify_note import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    Checkpoint,
    VerifierKey,
    VerifyError,
    check_verifiable,
    find_key,
    parse_vkey,
    printable,
    signed_by,
)

POLICY_BYTES_MAX = 1 << 16
VERSION_LINE = "#gridseal/policy/v1"
INTAKE_SUFFIX = "/intake"  # of the name of a key that signs accepted notes

ChainKind = Literal["own", "consortium", "public", "unstated"]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CODE_HASH = re.compile(r"0x[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_BLANKS = re.compile(r"[ \t]+")  # and no other white space: c2sp.org/tlog-policy
_BANNED_OCTETS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Contract:
    """One CheckpointAnchor that the policy trusts."""

    address: str  # 0x and 40 hex digits, any case
    code_hash: bytes | None = None  # keccak256 of the runtime code; None: any code

    @staticmethod
    def parse(address: str, code_hash: str = "-") -> "Contract":
        """The contract of a policy's line; VerifyError policy-malformed."""
        if not _ADDRESS.fullmatch(address):
            raise _fault(f"not a contract's address: {printable(address)}")
        if code_hash == "-":
            return Contract(address)
        if not _CODE_HASH.fullmatch(code_hash):
            raise _fault(f"{printable(code_hash)} is not a keccak256 hash")
        return Contract(address, bytes.fromhex(code_hash[2:]))


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """The chain that anchors are looked for on."""

    chain_id: int | None  # None: given by flags, so any
    kind: ChainKind  # "unstated": given by flags; counts as the platform's own
    contracts: tuple[Contract, ...]  # newest first
    rpc_urls: tuple[str, ...] = ()  # all of them must say the same
    depth: int | None = None  # blocks under the latest; None: the block `finalized`
    anchor_within_s: int | None = None  # promised time from checkpoint to anchor


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom a verifier trusts."""

    logs: tuple[VerifierKey, ...]
    log_urls: Mapping[str, str] = field(default_factory=dict)  # origin → tlog-tiles prefix
    intake: tuple[VerifierKey, ...] = ()
    witnesses: Mapping[str, VerifierKey] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)  # k, members
    quorum: str = "none"
    chain: ChainPolicy | None = None


def parse_policy(data: bytes) -> Policy:
    """Read a policy file; VerifyError policy-malformed names the line."""
    if len(data) > POLICY_BYTES_MAX:
        raise VerifyError("policy-malformed", f"the policy is longer than {POLICY_BYTES_MAX} bytes")
    if _BANNED_OCTETS.search(data):
        raise VerifyError("policy-malformed", "the policy holds a control character")
    reader = _Reader()
    for number, octets in enumerate(data.split(b"\n"), 1):
        line = octets.decode("utf-8", "surrogateescape").strip(" \t")
        try:
            reader.take(line)
        except VerifyError as error:
            raise VerifyError("policy-malformed", f"line {number}: {error.text}") from None
    return reader.policy()


def policy_text(
    *,
    log_key: str,
    intake_key: str,
    chain_id: int,
    chain_kind: Literal["own", "consortium", "public"],
    contracts: Sequence[tuple[str, str]],
    rpc_url: str = "",
    more_rpc_urls: Sequence[str] = (),
    log_url: str = "",
    depth: int | None = None,
    anchor_within_s: int | None = None,
    witnesses: Sequence[tuple[str, str]] = (),
    quorum_k: int = 0,
) -> str:
    """The policy that trusts one log, one intake key and these contracts.

    log_key, intake_key: vkeys; contracts: (address, "0x" + keccak256 of its runtime code or ""),
    newest first; more_rpc_urls: of endpoints that must say the same as rpc_url's; log_url: prefix
    of `checkpoint` and `tile/`; depth: blocks under the latest, None for `finalized`; witnesses:
    (name, vkey), of which quorum_k must have cosigned.
    Raises VerifyError policy-malformed where the parts do not make a policy that reads back.
    """
    lines = [VERSION_LINE, f"#gridseal chain {chain_id} {chain_kind} {rpc_url or '-'}"]
    lines += [f"#gridseal rpc {url}" for url in more_rpc_urls]
    lines += [f"#gridseal contract {address} {code or '-'}" for address, code in contracts]
    lines.append(f"#gridseal depth {'finalized' if depth is None else depth}")
    if anchor_within_s is not None:
        lines.append(f"#gridseal anchor-within {anchor_within_s}")
    lines.append(f"#gridseal intake {intake_key}")
    lines.append(f"log {log_key} {log_url}".rstrip())
    lines += [f"witness {name} {vkey}" for name, vkey in witnesses]
    if quorum_k:
        names = " ".join(name for name, _ in witnesses)
        lines += [f"group witnesses {quorum_k} {names}", "quorum witnesses"]
    else:
        lines.append("quorum none")
    text = "\n".join(lines) + "\n"
    parse_policy(text.encode("utf-8", "surrogateescape"))
    return text


def check_checkpoint(checkpoint: Checkpoint, policy: Policy) -> dict[VerifierKey, int]:
    """Return only if a log key of the policy signed it; the witnesses that cosigned, with times.

    Raises VerifyError log-key-unknown, signature-invalid, cosignature-invalid.
    """
    keys = find_key(policy.logs, checkpoint.origin)
    if not keys:
        raise VerifyError(
            "log-key-unknown", f"the policy knows no key of log {printable(checkpoint.origin)}"
        )
    if not signed_by(checkpoint.note, keys):
        raise VerifyError(
            "log-key-unknown", f"no key of the policy signed for {printable(checkpoint.origin)}"
        )
    return signed_by(checkpoint.note, policy.witnesses.values())


def check_quorum(policy: Policy, cosigned: Iterable[VerifierKey]) -> None:
    """Return only if the witnesses that cosigned are enough; else VerifyError quorum-missing."""
    keys = set(cosigned)
    good = {name for name, key in policy.witnesses.items() if key in keys}
    met = {"none"} | good
    for name, (needed, members) in policy.groups.items():  # in order: members come before groups
        if len(met.intersection(members)) >= needed:
            met.add(name)
    if policy.quorum in met:
        return
    raise VerifyError(
        "quorum-missing",
        f"{len(good)} of the policy's {len(policy.witnesses)} witnesses cosigned, which is not "
        f"the quorum {printable(policy.quorum)}",
    )


class _Reader:
    """The lines read so far; `take` raises VerifyError with the fault of one line."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.log_urls: dict[str, str] = {}
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None
        self.ours = False
        self.intake: list[VerifierKey] = []
        self.contracts: list[Contract] = []
        self.rpc_urls: list[str] = []
        self.single: dict[str, list[str]] = {}  # our lines that may stand once

    def take(self, line: str) -> None:
        if line.startswith("#gridseal"):
            self._take_ours(line)
        elif line and not line.startswith("#"):
            word, *items = _BLANKS.split(line)
            if word == "log" and len(items) in (1, 2):
                self._take_log(*items)
            elif word == "witness" and len(items) in (2, 3):
                self._take_witness(items[0], items[1])
            elif word == "group" and len(items) >= 3:
                self._take_group(items[0], items[1], items[2:])
            elif word == "quorum" and len(items) == 1:
                self._take_quorum(items[0])
            else:
                raise _fault(f"not a line of a policy: {printable(line)}")

    def _take_log(self, vkey: str, url: str = "") -> None:
        key = parse_vkey(vkey)
        if key.type != ED25519:
            raise _fault("only Ed25519 keys (type 0x01) of logs are verified")
        if any(key.public == other.public for other in self.logs):
            raise _fault("this log key stands twice")
        self.logs.append(key)
        if url:
            self.log_urls.setdefault(key.name, url)

    def _take_witness(self, name: str, vkey: str) -> None:
        self._check_new(name)
        key = parse_vkey(vkey)
        if key.type not in (COSIGNATURE, ML_DSA_44):
            raise _fault("a witness signs with type 0x04 or 0x06")
        check_verifiable(key)
        if any(key.public == other.public for other in self.witnesses.values()):
            raise _fault("this witness key stands twice")
        self.witnesses[name] = key

    def _take_group(self, name: str, threshold: str, members: list[str]) -> None:
        self._check_new(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise _fault(f"{printable(member)} is not defined above")
            if member in self.members:
                raise _fault(f"{printable(member)} is a member twice")
            self.members.add(member)
        words = {"all": len(members), "any": 1}
        needed = words.get(threshold) or _number(threshold, "the threshold")
        if not 1 <= needed <= len(members):
            raise _fault(f"a threshold of {needed} among {len(members)}")
        self.groups[name] = (needed, tuple(members))

    def _take_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise _fault("a second quorum")
        if name != "none" and name not in self.witnesses and name not in self.groups:
            raise _fault(f"{printable(name)} is not defined above")
        self.quorum = name

    def _check_new(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise _fault(f"the name {printable(name)} is taken")

    def _take_ours(self, line: str) -> None:
        if line == VERSION_LINE and not self.ours:
            self.ours = True
            return
        start, *items = _BLANKS.split(line)
        if start != "#gridseal" or not self.ours:
            raise _fault(f"expected {VERSION_LINE} once, before any other line of ours")
        word = items[0] if items else ""
        if word == "intake" and len(items) == 2:
            key = parse_vkey(items[1])
            if key.type != ED25519:
                raise _fault("an intake key is an Ed25519 key (type 0x01)")
            if not key.name.endswith(INTAKE_SUFFIX):
                raise _fault(f"an intake key's name ends in {INTAKE_SUFFIX}")
            if any(key.public == other.public for other in self.intake):
                raise _fault("this intake key stands twice")
            self.intake.append(key)
        elif word == "contract" and len(items) == 3:
            self.contracts.append(Contract.parse(items[1], items[2]))
        elif word == "rpc" and len(items) == 2:
            if items[1] in self.rpc_urls:
                raise _fault("this endpoint stands twice")
            self.rpc_urls.append(items[1])
        elif word in _SINGLE and len(items) == _SINGLE[word]:
            if word in self.single:
                raise _fault(f"a second {word}")
            self.single[word] = items[1:]
            _chain_policy(self.single, (), ())  # so that a fault is told with its line
        else:
            raise _fault(f"not a line of {VERSION_LINE}: {printable(line)}")

    def policy(self) -> Policy:
        if self.quorum is None:
            raise VerifyError("policy-malformed", "the policy has no quorum line")
        chain = _chain_policy(self.single, tuple(self.contracts), tuple(self.rpc_urls))
        if chain is None and (self.contracts or self.single or self.rpc_urls):
            text = "contract, rpc, depth or anchor-within but no chain"
            raise VerifyError("policy-malformed", text)
        if chain is not None and not chain.contracts:
            raise VerifyError("policy-malformed", "the policy names a chain but no contract")
        return Policy(
            tuple(self.logs),
            self.log_urls,
            tuple(self.intake),
            self.witnesses,
            self.groups,
            self.quorum,
            chain,
        )


_SINGLE = {"chain": 4, "depth": 2, "anchor-within": 2}  # word → words in the line


def _chain_policy(
    single: Mapping[str, list[str]], contracts: tuple[Contract, ...], more_urls: tuple[str, ...]
) -> ChainPolicy | None:
    (depth,) = single.get("depth", ["finalized"])
    (within,) = single.get("anchor-within", ["-"])
    depth_n = None if depth == "finalized" else _number(depth, "the depth")
    within_s = None if within == "-" else _number(within, "anchor-within")
    if "chain" not in single:
        return None
    chain_id, kind, url = single["chain"]
    if kind not in ("own", "consortium", "public"):
        raise _fault("a chain is own, consortium or public")
    return ChainPolicy(
        _number(chain_id, "the chain id"),
        cast("ChainKind", kind),
        contracts,
        (() if url == "-" else (url,)) + more_urls,
        depth_n,
        within_s,
    )


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _fault(f"{what} is not a decimal number")
    return int(text)


def _fault(text: str) -> VerifyError:
    return VerifyError("policy-malformed", text)
