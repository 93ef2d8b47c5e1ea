"""Signers by a key in a PKCS#11 token: SoftHSM, with the suite of a key in a file."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from signer_suite import NAME, CheckpointSignerSuite, SignerSuite, text

from bal.certify.verify_note import parse_note, parse_vkey, signed_by
from bal.errors import Stop, Unavailable
from bal.ports import Signer
from infra.key_signer import KeySigner
from infra.pkcs11_signer import CALL_S_MAX, Pkcs11Signer
from infra.signer_memory import GuardedSigner, last_signed
from tests.journey.conftest import Running, cim

LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
SCOPES = "messages.write readings.read devices.read"
PIN, SO_PIN = "4-words-of-a-test", "security-officer"
ED25519 = bytes.fromhex("06032b6570")  # DER OBJECT IDENTIFIER 1.3.101.112, RFC 8410


class Token:
    """A token of this test session, in a folder of its own."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.library = library
        self.name = f"gridseal-{os.getpid()}"
        self._pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
        self.pin_file = folder / "pin"
        self.pin_file.write_text(PIN + "\n")
        self.pin_file.chmod(0o600)
        self.tool("--init-token", "--free", "--label", self.name, "--so-pin", SO_PIN, "--pin", PIN)

    def tool(self, *arguments: str) -> None:
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)

    def import_key(self, label: str, seed: bytes) -> None:
        """What no platform does: a key that was outside. The suite asks for the same one twice."""
        pkcs11, public = self._pkcs11, KeySigner(NAME, seed)._public
        common = {
            pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC_EDWARDS,
            pkcs11.Attribute.EC_PARAMS: ED25519,
            pkcs11.Attribute.LABEL: label,
            pkcs11.Attribute.TOKEN: True,
        }
        with self.open() as session:
            session.create_object(
                {
                    **common,
                    pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
                    pkcs11.Attribute.VALUE: seed,
                    pkcs11.Attribute.SIGN: True,
                    pkcs11.Attribute.SENSITIVE: True,
                    pkcs11.Attribute.EXTRACTABLE: False,
                }
            )
            session.create_object(
                {
                    **common,
                    pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY,
                    pkcs11.Attribute.EC_POINT: b"\x04\x20" + public,
                }
            )

    def make_key(self, label: str) -> None:
        """As an operator does: made in the token, never outside of it."""
        pkcs11 = self._pkcs11
        with self.open() as session:
            session.create_domain_parameters(
                pkcs11.KeyType.EC_EDWARDS, {pkcs11.Attribute.EC_PARAMS: ED25519}, local=True
            ).generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=label
            )

    def remove_keys(self, label: str) -> None:
        with self.open() as session:
            for one in list(session.get_objects({self._pkcs11.Attribute.LABEL: label})):
                one.destroy()

    def open(self) -> Any:
        token = self._pkcs11.lib(str(self.library)).get_token(token_label=self.name)
        try:
            return token.open(rw=True, user_pin=PIN)
        except self._pkcs11.UserAlreadyLoggedIn:
            return token.open(rw=True)

    def signer(self, label: str, **changed: Any) -> Pkcs11Signer:
        settings = {
            "module": self.library, "token": self.name, "label": label, "pin_file": self.pin_file
        }  # fmt: skip
        return Pkcs11Signer(NAME, **{**settings, **changed})


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    library = next((Path(one) for one in LIBRARIES if Path(one).exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (softhsm2): signing by a PKCS#11 token is not tried")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    yield Token(folder, library)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


class InToken:
    """Makes signers whose key is in the token, and closes them behind the test."""

    @pytest.fixture(autouse=True)
    def _token(self, token: Token) -> Iterator[None]:
        self.token = token
        self.open: list[Pkcs11Signer] = []
        self.labels: set[str] = set()
        yield
        for one in self.open:
            one.close()
        for label in self.labels:
            token.remove_keys(label)

    def in_token(self, seed: bytes) -> Pkcs11Signer:
        label = sha256(seed).hexdigest()[:16]
        if label not in self.labels:
            self.token.import_key(label, seed)
            self.labels.add(label)
        self.open.append(self.token.signer(label))
        return self.open[-1]


class TestPkcs11Signer(InToken, SignerSuite):
    def make(self, folder: Path, seed: bytes) -> Signer:
        del folder
        return self.in_token(seed)

    def test_it_signs_as_a_key_in_a_file_does(self, tmp_path: Path) -> None:
        """Ed25519 is deterministic (RFC 8032): the same key and text give the same line."""
        signer, other = self.make(tmp_path, b"a" * 32), KeySigner(NAME, b"a" * 32)
        assert signer.vkey == other.vkey
        assert signer.sign(text(5, 5)) == other.sign(text(5, 5))


class TestPkcs11CheckpointSigner(InToken, CheckpointSignerSuite):
    def make(self, folder: Path, seed: bytes) -> Signer:
        folder.mkdir(exist_ok=True)
        return GuardedSigner(self.in_token(seed), folder / "signed")

    def test_one_memory_for_both_kinds_of_key(self, tmp_path: Path) -> None:
        self.make(tmp_path, b"a" * 32).sign(text(5, 5))
        with pytest.raises(Stop, match="signer-refuses"):
            GuardedSigner(KeySigner(NAME, b"a" * 32), tmp_path / "signed").sign(text(5, 6))

    def test_a_token_that_is_away_signs_nothing_and_no_other_root_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = self.in_token(b"a" * 32)
        signer = GuardedSigner(inner, tmp_path / "signed")
        signer.sign(text(5, 5))
        inner._forget()
        monkeypatch.setattr(inner, "_token", "nobody")
        with pytest.raises(Unavailable):
            signer.sign(text(6, 6))
        monkeypatch.undo()
        assert last_signed(tmp_path / "signed")[0] == 6
        with pytest.raises(Stop, match="signer-refuses"):
            signer.sign(text(6, 7))
        signer.sign(text(6, 6))


# -- what is the token's own -----------------------------------------------------------------------


@pytest.fixture
def label(token: Token) -> Iterator[str]:
    token.make_key("log")
    yield "log"
    token.remove_keys("log")


@pytest.fixture
def signer(token: Token, label: str) -> Iterator[Pkcs11Signer]:
    found = token.signer(label)
    yield found
    found.close()


def verifies(signer: Signer, note: bytes) -> bool:
    whole = note + b"\n" + signer.sign(note)
    return bool(signed_by(parse_note(whole.decode()), [parse_vkey(signer.vkey)]))


def test_a_key_that_was_made_in_the_token(signer: Pkcs11Signer) -> None:
    assert verifies(signer, text(5, 5))
    key = signer._key
    attribute = pytest.importorskip("pkcs11").Attribute
    assert (key[attribute.SENSITIVE], key[attribute.EXTRACTABLE]) == (True, False)


def test_two_keys_of_one_token_side_by_side(token: Token, signer: Pkcs11Signer) -> None:
    """The log's and the intake's: a login is the process's, and so is a log-out."""
    token.make_key("intake")
    other = token.signer("intake")
    for _ in range(3):
        assert verifies(signer, text(5, 5))
        assert verifies(other, text(5, 5))
    other.close()  # logs both out
    assert verifies(signer, text(6, 6))
    token.remove_keys("intake")


def test_several_threads(signer: Pkcs11Signer) -> None:
    found: list[bool] = []
    threads = [Thread(target=lambda: found.append(verifies(signer, text(7, 7)))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(found)


def test_a_session_that_ended_is_opened_anew(signer: Pkcs11Signer) -> None:
    before = signer.vkey
    signer._session.close()
    assert verifies(signer, text(5, 5))
    assert signer.vkey == before


def test_a_token_that_was_pulled_out_comes_back(token: Token, signer: Pkcs11Signer) -> None:
    """SoftHSM's token is a folder: it is gone, and the library is told to look again."""
    (place,) = Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens").iterdir()
    away = place.parents[1] / "pulled-out"
    place.rename(away)
    pytest.importorskip("pkcs11").lib(str(token.library)).reinitialize()
    for _ in range(2):
        with pytest.raises(Unavailable, match="token") as caught:
            signer.sign(text(5, 5))
        assert "\n" not in str(caught.value)
    away.rename(place)
    assert verifies(signer, text(5, 5))


def test_a_token_that_hangs_holds_nobody_for_ever(signer: Pkcs11Signer) -> None:
    """And once it has answered after all, the next call is served."""
    free, real = Event(), signer._key
    signer._call_s_max = 0.3
    hangs = {"sign": lambda _, *text, **how: free.wait(20) and real.sign(*text, **how)}
    signer._key = type("Hangs", (), hangs)()
    for words in ("did not answer", "still has not"):
        with pytest.raises(Unavailable, match=words):
            signer.sign(text(5, 5))
    late = signer._stuck
    assert late is not None
    free.set()
    assert late.result(20)
    signer._call_s_max = CALL_S_MAX
    assert verifies(signer, text(6, 6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {"label": "nothing"}, "no Ed25519 key pair nothing"),
        (lambda t: {"module": t.pin_file}, "module"),
        (lambda t: {"pin_file": t.pin_file.with_name("absent")}, "pin_file"),
    ],
)
def test_what_the_operator_must_mend(
    token: Token, label: str, change: Callable[[Token], dict[str, Any]], words: str
) -> None:
    with pytest.raises(Stop, match="signer-token") as caught:
        token.signer(**{"label": label, **change(token)})
    assert words in caught.value.text
    assert PIN not in str(caught.value)


def test_there_is_no_such_token_now(token: Token, label: str) -> None:
    with pytest.raises(Unavailable, match="there is no token absent"):
        token.signer(label, token="absent")


def test_a_wrong_pin_is_tried_once(token: Token, label: str, tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("another\n")
    wrong.chmod(0o644)
    with pytest.raises(Stop, match="open to others"):
        token.signer(label, pin_file=wrong)
    wrong.chmod(0o600)
    with pytest.raises(Stop, match="refuses the PIN"):
        token.signer(label, pin_file=wrong)
    signer = token.signer(label)
    signer._forget()
    signer._pin_file = wrong
    for _ in range(3):
        with pytest.raises(Stop, match="refuses the PIN"):
            signer.sign(text(5, 5))
    signer._pin_file = token.pin_file
    with pytest.raises(Stop, match="refuses the PIN"):  # until the platform is started again
        signer.sign(text(5, 5))
    token.signer(label).close()


def test_a_pin_that_is_locked_says_so(
    token: Token, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM locks none: the error is the standard's."""
    errors = pytest.importorskip("pkcs11")
    signer = token.signer(label)
    signer._forget()

    class Locked:
        def open(self, **_: object) -> None:
            raise errors.PinLocked

    library = type("Library", (), {"get_token": lambda *_, **__: Locked()})()
    monkeypatch.setattr(errors, "lib", lambda _: library)
    with pytest.raises(Stop, match="locked its PIN"):
        signer.sign(text(5, 5))


def test_another_key_under_the_same_label(token: Token, signer: Pkcs11Signer) -> None:
    token.remove_keys("log")
    token.make_key("log")
    signer._forget()
    with pytest.raises(Stop, match="another key log than before"):
        signer.sign(text(5, 5))


def test_two_key_pairs_of_one_label(token: Token, label: str) -> None:
    token.make_key("log")
    with pytest.raises(Stop, match="more than one"):
        token.signer(label)


def test_a_platform_whose_log_key_is_in_a_token(tmp_path: Path, token: Token) -> None:
    token.make_key("gridseal-log")
    config = (
        f'[signer]\nmodule = "{token.library}"\ntoken = "{token.name}"\nlabel = "gridseal-log"\n'
        f'pin_file = "{token.pin_file}"\n'
    )
    platform = Running(tmp_path, config + "[anchor]\ninterval_s = 1\n")
    platform.start()
    try:
        caller = platform.client("dso", SCOPES, "--all-devices")
        raw = cim(("m-1", "2026-01-15T10:00:00Z", "1"))
        summary = caller.request("POST", "/v1/messages?format=cim", content=raw).json()
        file, policy = tmp_path / "one.tlog-proof", tmp_path / "policy"
        index = summary["first_index"] + 1  # behind the new device's record
        file.write_text(caller.request("GET", f"/v1/receipts/{index}").text)
        policy.write_text(platform.cli("policy", "--data", platform.data))
        told = json.loads(platform.cli(
            "verify", file, "--policy", policy, "--ca", platform.ready["ca"], "--json", code=2
        ))  # fmt: skip
        assert told["verdicts"]["authentic"]["code"] == "authentic"
        assert not (platform.data / "keys" / "log").exists()
    finally:
        assert platform.stop() == 0
    platform.check()
    in_a_file = ("up", "--data", platform.data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    assert platform.refused(*in_a_file).startswith("gridseal: log-key-differs: ")
