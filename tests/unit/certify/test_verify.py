"""The verifier on the vectors, and on every kind of damage."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.certify.commitment import salt
from bal.certify.note import accepted_text, vkey
from bal.certify.receipt import receipt_text
from bal.certify.verify import Verdicts, VerifyError, exit_of, parse_policy, verify, worst_exit
from bal.certify.verify_note import (
    key_id,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    printable,
    signed_by,
)
from bal.certify.verify_proof import (
    TiledTree,
    check_path,
    commitment,
    leaf_hash,
    parse_canonical,
    parse_receipt,
)
from bal.model import Anchor
from tests.vectors import vector_log as vector

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
LOG = vector.vector_log()
PLAIN = parse_policy(vector.policies()["plain"].encode())


def vectors(name: str) -> dict:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


RECEIPTS = vectors("receipts")
TREES = vectors("trees")


def test_committed_vectors_are_what_the_script_makes() -> None:
    command = [sys.executable, str(VECTORS / "make.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("case", TREES["inclusions"], ids=lambda case: case["name"])
def test_inclusion_vectors(case) -> None:
    leaf, path = leaf_hash(case["entry"].encode()), list(map(bytes.fromhex, case["path"]))
    head = int(case["size"]), bytes.fromhex(case["root"])
    if case["code"] == "holds":
        check_path(leaf, int(case["index"]), path, *head)
    else:
        with pytest.raises(VerifyError) as caught:
            check_path(leaf, int(case["index"]), path, *head)
        assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", RECEIPTS["cases"], ids=lambda case: case["name"])
def test_receipt_vector(case) -> None:
    policy = parse_policy(RECEIPTS["policies"][case["policy"]].encode())
    answer = verify(case["input"], policy).as_json()
    assert {name: verdict["code"] for name, verdict in answer["verdicts"].items()} == case[
        "expect"
    ]["codes"]
    assert answer["exit"] == case["expect"]["exit"]
    assert all(verdict["text"].endswith(".") for verdict in answer["verdicts"].values())


def test_commitment_vectors() -> None:
    found = vectors("commitments")
    for case in found["commitments"]:
        entry = commitment(*(bytes.fromhex(case[name]) for name in ("type", "salt", "data")))
        assert (entry.hex(), leaf_hash(entry).hex()) == (case["commitment"], case["leaf"])
    for case in found["public"]:
        assert leaf_hash(case["entry"].encode()).hex() == case["leaf"]


def test_note_vectors() -> None:
    found = vectors("notes")
    for case in found["good"]:
        key = parse_vkey(case["vkey"])
        assert signed_by(parse_note(case["note"]), [key]) == {key: 0}
    for case in found["bad"]:
        with pytest.raises(VerifyError) as caught:
            signed_by(parse_note(case["note"]), PLAIN.intake)
        assert caught.value.code == case["code"], case["name"]


def test_checkpoint_vectors() -> None:
    """C2SP tlog-checkpoint §Note text: origin, size, root."""
    found = vectors("checkpoints")
    log_key = parse_vkey(found["vkey"])
    for case in found["good"]:
        checkpoint = parse_checkpoint(case["note"])
        assert (checkpoint.size, checkpoint.root.hex()) == (case["size"], case["root"])
        assert signed_by(checkpoint.note, [log_key]) == {log_key: 0}
    cosigned = parse_checkpoint(found["good"][-1]["note"])
    witnesses = [parse_vkey(vkey) for vkey in found["witnesses"]]
    times_s = signed_by(cosigned.note, witnesses).values()
    assert list(times_s) == [1768471201, 1768471202, 1768471203]
    for case in found["bad"]:
        with pytest.raises(VerifyError) as caught:
            parse_checkpoint(case["note"])
        assert caught.value.code == case["code"], case["name"]


def test_the_platform_writes_what_the_verifier_reads() -> None:
    size, index = 7, 3
    data, hint = LOG.records[index], vector.anchor_hint(size)
    numbers = {name: int(hint[name]) for name in ("chain_id", "size", "block")}
    text = receipt_text(
        type_=b"\x01",
        record=data,
        salt=salt(vector.seed("K"), b"\x01", data),
        index=index,
        path=LOG.path(index, size),
        checkpoint=LOG.checkpoint(size).encode(),
        anchor=Anchor(**(hint | numbers)),
    )
    assert text == LOG.receipt(index, size, anchor=hint)
    accepted = accepted_text(
        vector.ORIGIN,
        sha256(b"raw").digest(),
        "00112233445566ff/0/7",
        1768472102_500000,
        1768472162_500000,
    ).decode()
    assert f"{accepted}\n{vector.INTAKE_KEY.line(accepted)}" == vector.accepted_note()
    public = vector.LOG_KEY.public[1:]
    assert vkey(vector.ORIGIN, public) == vector.LOG_KEY.vkey


def test_the_record_is_shown_only_where_it_is_authentic() -> None:
    good = LOG.receipt(3, 7)
    assert verify(good, PLAIN).record == vector.record(3)
    assert verify(good.replace("index 3", "index 2"), PLAIN).record is None


def damaged(text: str, step: int = 1) -> Iterator[str]:
    """`text` with each bit in turn flipped, or every `step`-th; without what is no UTF-8 then."""
    data = text.encode()
    for bit in range(0, 8 * len(data), step):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with suppress(UnicodeDecodeError):  # refused before it is parsed
            yield changed.decode()


@pytest.mark.parametrize(
    ("anchor", "step"), [(None, 1), (vector.anchor_hint(300), 5)], ids=["bare", "with hint"]
)
def test_one_flipped_bit_is_named(anchor, step) -> None:
    good = LOG.receipt(280, 300, anchor=anchor)
    assert verify(good, PLAIN).exit_code() == 0
    original, codes, harmless = parse_receipt(good), set(), 0
    for changed in damaged(good, step):
        found = verify(changed, PLAIN)
        codes.add(found.authentic.code)
        if found.exit_code() != 1:
            # Only the hint is proved by nothing: all that was checked is unchanged.
            assert replace(parse_receipt(changed), anchor=original.anchor) == original
            harmless += 1
    assert harmless == 0 if anchor is None else harmless > 0
    missed = {
        *("receipt-malformed", "extra-malformed", "root-mismatch", "signature-invalid"),
        *("log-key-unknown", "path-wrong-length", "index-outside"),
    } - codes
    assert missed == set() or step > 1


def test_one_flipped_bit_in_an_accepted_note_is_named() -> None:
    for changed in damaged(vector.accepted_note()):
        assert verify(changed, PLAIN).exit_code() == 1


def test_a_promise_falls_due() -> None:
    due_s = 1768472162  # 2026-01-15T10:16:02.5Z, less half a second
    found = [verify(vector.accepted_note(), PLAIN, now_s=due_s + late) for late in (0, 1)]
    assert [item.authentic.code for item in found] == ["promise", "promise-due"]
    assert [item.exit_code() for item in found] == [2, 2]


def test_accepted_status_message_carries_the_note() -> None:
    message = json.dumps({"type": "accepted", "message": "00", "note": vector.accepted_note()})
    assert verify(message, PLAIN).authentic.code == "promise"
    assert verify(message, replace(PLAIN, intake=())).authentic.code == "intake-key-missing"


def test_summary_whose_checkpoint_is_not_the_logs() -> None:
    other = replace(LOG, key=vector.OTHER_KEY)
    message = {"type": "certified", "count": 2, "checkpoint": other.checkpoint(7)}
    assert verify(json.dumps(message), PLAIN).authentic.code == "log-key-unknown"


@pytest.mark.parametrize(
    "text",
    [
        *('{"type":"certified"}', '{"type":"certified","type":"accepted"}', '{"type":'),
        *('{"a":' * 5000, "\ud800", "{" + " " * (4 << 20)),
    ],
    ids=["no checkpoint", "doubled", "cut", "nested", "surrogate", "long"],
)
def test_other_files_are_malformed(text: str) -> None:
    assert verify(text, PLAIN).authentic.code == "receipt-malformed"


def test_refused_status_has_no_receipt() -> None:
    assert verify('{"type":"refused"}', PLAIN).authentic.code == "no-receipt"


@given(st.text())
def test_any_text_gets_verdicts(text: str) -> None:
    for start in ("", "{", "c2sp.org/tlog-proof@v1\n", "gridseal/accepted/v1\n"):
        assert isinstance(verify(start + text, PLAIN), Verdicts)


NAMES = st.text(st.characters(codec="ascii"))
VALUES = st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))


@given(VALUES)
def test_canonical_form_is_the_platforms(value) -> None:
    """RFC 8785 §3.2."""
    try:
        data = jcs.encode(value)
    except ValueError:
        return
    assert parse_canonical(data.decode(), 4) == value


def test_check_path_agrees_with_the_tree_at_every_size() -> None:
    """RFC 6962 §2.1.1."""
    for size in range(1, 33):
        for index in range(size):
            path, root = LOG.path(index, size), LOG.root(size)
            check_path(LOG.leaves[index], index, path, size, root)
            with pytest.raises(VerifyError):
                check_path(LOG.leaves[index], index, path, size, LOG.root(size + 1))


class Tiles:
    """The vector log's tiles."""

    def tile(self, origin: str, level: int, n: int, width: int) -> bytes:
        assert origin == vector.ORIGIN
        return LOG.tile(level, n, width)


@pytest.mark.parametrize("size", [1, 2, 5, 255, 256, 257, 300])
def test_paths_and_prefixes_from_tiles(size: int) -> None:
    """RFC 6962 §2.1.1; RFC 9162 §2.1.4: the first tree is a prefix of the second."""
    tree = TiledTree(Tiles(), vector.ORIGIN, size)
    for index in {0, size // 2, size - 1}:
        assert tree.path(index) == LOG.path(index, size)
    for first in {1, size // 2 or 1, size - 1 or 1, size}:
        prefix, whole, _ = tree.prefix(first)
        assert (prefix, whole) == (LOG.root(first), LOG.root(size))


def test_worst_exit_puts_one_before_two() -> None:
    assert worst_exit([]) == 0
    assert worst_exit([0, 2]) == 2
    assert worst_exit([2, 1, 0]) == 1
    assert worst_exit([1, 3, 2]) == 3
    assert [exit_of(code) for code in ("findings", "root-mismatch", "own-chain")] == [0, 1, 2]


def test_texts_cannot_command_a_terminal() -> None:
    assert printable("a\x1b[31m\u202eb") == "a\\u001b[31m\\u202eb"
    assert len(printable("x" * 1000)) == 201


def test_key_ids_are_those_of_the_specification() -> None:
    """C2SP signed-note §Signatures."""
    key = parse_vkey(vector.C2SP_VKEY)
    assert key_id(key.name, key.type, key.public) == key.key_id == bytes.fromhex("530d903a")
    assert key.vkey == vector.C2SP_VKEY
    assert b64decode(vector.LOG_KEY.vkey.split("+", 2)[2])[0] == 1
