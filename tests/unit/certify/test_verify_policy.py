"""Policies: C2SP tlog-policy with our comment lines."""

import struct
from base64 import b64encode
from contextlib import suppress
from hashlib import sha256

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bal.certify import verify_note
from bal.certify.verify import (
    VerifyError,
    parse_policy,
    parse_vkey,
    policy_text,
    verify_receipt,
)
from bal.certify.verify_policy import POLICY_BYTES_MAX, check_quorum
from tests.vectors import vector_log as vector

ADDRESS, CODE = "0x" + "Ab" * 20, "0x" + "cd" * 32
LOG_OF_VECTORS = vector.vector_log()
LOG, INTAKE = vector.LOG_KEY.vkey, vector.INTAKE_KEY.vkey
NAMES = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
KEYS = {name: vector.note_key(f"{name.lower()}.invalid", 0x04) for name in NAMES}
# The example of c2sp.org/tlog-policy, with keys put in.
EXAMPLE = (
    f"log {LOG}\n\n"
    + "".join(f"witness {name} {KEYS[name].vkey}\n" for name in NAMES)
    + "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n\n"
    "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
)


def cosigned(*names: str):
    return [parse_vkey(KEYS[name].vkey) for name in names]


@pytest.mark.parametrize(
    ("names", "enough"),
    [
        (("X1", "X3", "Y2"), True),
        (("X1", "X2", "X3", "Y1", "Y2", "Y3"), True),
        (("X1", "X2"), False),
        (("X1", "Y1", "Y2", "Y3"), False),
        ((), False),
    ],
)
def test_quorum_of_the_specifications_example(names, enough) -> None:
    policy = parse_policy(EXAMPLE.encode())
    if enough:
        check_quorum(policy, cosigned(*names))
        return
    with pytest.raises(VerifyError, match="quorum X-and-Y") as caught:
        check_quorum(policy, cosigned(*names))
    assert caught.value.code == "quorum-missing"


@given(st.sets(st.sampled_from(NAMES[:3])), st.integers(1, 3))
def test_a_group_is_k_of_n(names, k) -> None:
    witnesses = "".join(f"witness {name} {KEYS[name].vkey}\n" for name in NAMES[:3])
    policy = parse_policy(f"{witnesses}group g {k} X1 X2 X3\nquorum g\n".encode())
    try:
        check_quorum(policy, cosigned(*names))
        assert len(names) >= k
    except VerifyError:
        assert len(names) < k


def test_a_single_witness_may_be_the_quorum() -> None:
    text = f"witness X1 {KEYS['X1'].vkey}\nwitness X2 {KEYS['X2'].vkey}\nquorum X2\n"
    policy = parse_policy(text.encode())
    check_quorum(policy, cosigned("X2"))
    with pytest.raises(VerifyError):
        check_quorum(policy, cosigned("X1"))


class PostQuantum:
    """A witness that signs with ML-DSA-44, as c2sp.org/tlog-cosignature has it."""

    name = "pq.invalid/w"

    def __init__(self) -> None:
        self.key = MLDSA44PrivateKey.from_seed_bytes(vector.seed("pq"))
        self.public = b"\x06" + self.key.public_key().public_bytes_raw()
        self.id = sha256(self.name.encode() + b"\n" + self.public).digest()[:4]
        self.vkey = f"{self.name}+{self.id.hex()}+{b64encode(self.public).decode()}"

    def line(self, size: int, time_s: int = 1_768_471_201, **other: bytes) -> str:
        """Its signature line of the vector log's checkpoint; `other` members are signed instead."""
        origin = vector.ORIGIN.encode()
        members = {
            "label": b"subtree/v1\n\0",
            "name": bytes([len(self.name)]) + self.name.encode(),
            "time": struct.pack(">Q", time_s),
            "origin": bytes([len(origin)]) + origin,
            "start": struct.pack(">Q", 0),
            "end": struct.pack(">Q", size),
            "hash": LOG_OF_VECTORS.root(size),
        }
        signature = self.key.sign(b"".join((members | other).values()))
        data = self.id + struct.pack(">Q", time_s) + signature
        return f"— {self.name} {b64encode(data).decode()}\n"


def asked_of_one(line: str):
    """The verdicts on a receipt with that cosignature, where the witness must have signed."""
    witness = PostQuantum()
    text = f"log {LOG}\nwitness pq {witness.vkey}\nquorum pq\n"
    receipt = LOG_OF_VECTORS.receipt(3, 7) + line
    return verify_receipt(receipt, parse_policy(text.encode()), now_s=1_768_471_261)


def test_a_witness_with_ml_dsa_counts() -> None:
    found = asked_of_one(PostQuantum().line(7))
    assert found.authentic.code == "authentic"
    assert "1 witness." in found.authentic.text
    assert asked_of_one(PostQuantum().line(7, time_s=0)).authentic.code == "authentic"
    assert asked_of_one("").authentic.code == "quorum-missing"


@pytest.mark.parametrize(
    "other",
    [
        {"label": b"subtree/v2\n\0"},
        {"name": b"\x01w"},
        {"time": bytes(8)},
        {"origin": b"\x01o"},
        {"start": struct.pack(">Q", 1)},
        {"end": struct.pack(">Q", 8)},
        {"hash": bytes(32)},
    ],
)
def test_an_ml_dsa_signature_is_over_every_member(other: dict[str, bytes]) -> None:
    found = asked_of_one(PostQuantum().line(7, **other))
    assert (found.authentic.code, found.exit_code()) == ("cosignature-invalid", 1)
    assert "pq.invalid/w" in found.authentic.text


def test_a_machine_without_ml_dsa_refuses_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> None:
        raise UnsupportedAlgorithm("no ML-DSA")

    monkeypatch.setattr(verify_note.MLDSA44PublicKey, "from_public_bytes", refuse)
    text = f"witness pq {PostQuantum().vkey}\nquorum pq\n"
    with pytest.raises(VerifyError, match=r"line 1: .*can't check ML-DSA-44") as caught:
        parse_policy(text.encode())
    assert caught.value.code == "policy-malformed"


def test_white_space_is_spaces_and_tabs_only() -> None:
    text = f"\t # any comment\n \t log \t{LOG}  https://log.invalid/ \nquorum\tnone"
    policy = parse_policy(text.encode())
    assert policy.log_urls == {vector.ORIGIN: "https://log.invalid/"}
    key = KEYS["X1"].vkey
    odd = parse_policy(f"witness a\u00a0b {key}\nquorum a\u00a0b\n".encode())
    assert odd.quorum == "a\u00a0b"


def test_names_are_octets() -> None:
    """The Kelvin sign is not K, and what is no UTF-8 is a name all the same."""
    key = KEYS["X1"].vkey.encode()
    assert parse_policy(b"witness \xff\xfe " + key + b"\nquorum \xff\xfe\n").witnesses
    with pytest.raises(VerifyError, match="not defined above"):
        parse_policy(b"witness K " + key + b"\nquorum \xe2\x84\xaa\n")


OURS = "#gridseal/policy/v1\n"
CHAIN = f"{OURS}#gridseal chain 1 public -\n#gridseal contract {ADDRESS} {CODE}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no quorum"),
        ("quorum none\nquorum none\n", "Line 2: A second quorum"),
        ("quorum all-of-them\n", "not defined above"),
        ("log x\nquorum none\n", "not a verifier key"),
        (f"log {LOG} u v\nquorum none\n", "Not a line of a policy"),
        (f"log {LOG}\nlog {LOG}\nquorum none\n", "stands twice"),
        (f"log {KEYS['X1'].vkey}\nquorum none\n", "type 0x01"),
        (f"witness w {LOG}\nquorum w\n", "0x04 or 0x06"),
        (f"witness none {KEYS['X1'].vkey}\nquorum none\n", "is taken"),
        (f"witness a {KEYS['X1'].vkey}\nwitness b {KEYS['X1'].vkey}\nquorum a\n", "stands twice"),
        (EXAMPLE.replace("X-witnesses 2", "X-witnesses 4"), "threshold of 4 among 3"),
        (EXAMPLE.replace("X-witnesses 2", "X-witnesses 0"), "threshold of 0"),
        (EXAMPLE.replace("X-witnesses 2", "X-witnesses 02"), "not a decimal"),
        (EXAMPLE.replace("any Y1 Y2 Y3", "any Y1 X2 Y3"), "a member twice"),
        (EXAMPLE.replace("any Y1 Y2 Y3", "any Y1 Y-witnesses"), "not defined above"),
        ("quorum none\r\n", "control character"),
        (f"#gridseal chain 1 own -\n{OURS}quorum none\n", "expected #gridseal/policy/v1"),
        ("#gridseal/policy/v2\nquorum none\n", "expected #gridseal/policy/v1"),
        (f"{OURS}{OURS}quorum none\n", "expected #gridseal/policy/v1"),
        (f"{OURS}#gridseal trust everybody\nquorum none\n", "Not a line of"),
        (f"{OURS}#gridseal chain 1 private -\nquorum none\n", "own, consortium or public"),
        (f"{OURS}#gridseal chain 0x1 own -\nquorum none\n", "not a decimal"),
        (f"{OURS}#gridseal chain 1 own -\nquorum none\n", "no contract"),
        (f"{OURS}#gridseal depth 3\nquorum none\n", "but no chain"),
        (f"{CHAIN}#gridseal depth safe\nquorum none\n", "not a decimal"),
        (f"{CHAIN}#gridseal depth 1\n#gridseal depth 2\nquorum none\n", "A second depth"),
        (f"{CHAIN}#gridseal contract 0x12 -\nquorum none\n", "not a contract's address"),
        (f"{CHAIN}#gridseal contract {ADDRESS} 0x12\nquorum none\n", "not a keccak256"),
        (f"{CHAIN}#gridseal intake {KEYS['X1'].vkey}\nquorum none\n", "Ed25519"),
        ("#" * (POLICY_BYTES_MAX + 1), "longer than"),
    ],
)
def test_a_fault_is_named(text: str, fault: str) -> None:
    with pytest.raises(VerifyError) as caught:
        parse_policy(text.encode())
    assert caught.value.code == "policy-malformed"
    assert fault.lower() in caught.value.text.lower()


def test_the_text_the_platform_writes_reads_back() -> None:
    text = policy_text(
        log_key=LOG,
        intake_key=INTAKE,
        chain_id=11155111,
        chain_kind="public",
        contracts=[(ADDRESS, CODE), ("0x" + "11" * 20, "")],
        rpc_url="https://rpc.invalid/",
        more_rpc_urls=["https://other.invalid/"],
        log_url="https://log.invalid/log",
        depth=12,
        anchor_within_s=900,
        witnesses=[(name, KEYS[name].vkey) for name in NAMES[:3]],
        quorum_k=2,
    )
    policy = parse_policy(text.encode())
    assert [key.vkey for key in (*policy.logs, *policy.intake)] == [LOG, INTAKE]
    assert policy.log_urls == {vector.ORIGIN: "https://log.invalid/log"}
    chain = policy.chain
    assert chain is not None
    assert (chain.chain_id, chain.kind, chain.rpc_urls) == (
        11155111,
        "public",
        ("https://rpc.invalid/", "https://other.invalid/"),
    )
    assert [item.address for item in chain.contracts] == [ADDRESS, "0x" + "11" * 20]
    assert [item.code_hash for item in chain.contracts] == [bytes.fromhex(CODE[2:]), None]
    assert (chain.depth, chain.anchor_within_s) == (12, 900)
    assert policy.groups == {"witnesses": (2, ("X1", "X2", "X3"))}
    # A tool for tlog-policy sees comments and its own lines, nothing else.
    words = {line.split()[0] for line in text.splitlines() if not line.startswith("#")}
    assert words == {"log", "witness", "group", "quorum"}


def test_a_text_that_would_not_read_back_is_refused() -> None:
    with pytest.raises(VerifyError, match="chain is own"):
        policy_text(
            log_key=LOG, intake_key=INTAKE, chain_id=1, chain_kind="mine", contracts=[(ADDRESS, "")]
        )


@pytest.mark.parametrize(
    "vkey",
    [
        LOG.replace("+", "-", 1),
        LOG[:-1],
        LOG.upper(),
        LOG.replace(vector.LOG_KEY.id.hex(), "00000000"),
        "a b+00000000+" + LOG.split("+")[2],
        vector.note_key("x.invalid", 0x02).vkey,
    ],
)
def test_no_verifier_key(vkey: str) -> None:
    """Base64 is taken as RFC 4648 §4 writes it, and no further."""
    with pytest.raises(VerifyError) as caught:
        parse_vkey(vkey)
    assert caught.value.code == "policy-malformed"


@given(st.binary())
def test_any_bytes_are_a_policy_or_a_fault(data: bytes) -> None:
    with suppress(VerifyError):
        parse_policy(data)
        assert b"quorum" in data
