"""Note keys in a PKCS#11 token (OASIS PKCS#11 3.0 §2.3, CKM_EDDSA): an HSM, a card, SoftHSM.

The private key never leaves the token. For checkpoints it stands behind `GuardedSigner`, as a key
in a file does. A token may be pulled out, restarted or put behind a network: then the call ends in
Unavailable and the next one opens a new session. A PIN that is refused is tried once and never
again, since a token locks itself after a few; that, and a key that is missing or another one, is
the operator's (Stop).

Needs the extra `pkcs11` (python-pkcs11, MIT) and the token's own PKCS#11 library.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bal.certify.note import signature_line, vkey
from bal.errors import Stop, Unavailable

_T = TypeVar("_T")
CALL_S_MAX = 5.0  # a token that takes longer to sign is no use ten times a second
PIN_BYTES_MAX = 256
_LIBRARY = Lock()  # keys of one process share sessions' log-in, and no call may meet C_Finalize
_POINT_PREFIX = b"\x04\x20"  # DER OCTET STRING of 32 bytes, which not every token puts around it
_ED25519_BYTES = 32


class Pkcs11Signer:
    """Signer (bal.ports) for any note text, by a key pair in a token. From any thread."""

    def __init__(
        self,
        name: str,
        *,
        module: Path,
        token: str,
        label: str,
        pin_file: Path,
        call_s_max: float = CALL_S_MAX,
    ) -> None:
        """Open a session, log in, and look for the key pair.

        name: the note key's; module: the token's PKCS#11 library; token: the token's label; label:
        the key pair's CKA_LABEL; pin_file: the user PIN alone, 0600; call_s_max: how long one call
        may take. Raises Stop("signer-token"), or Unavailable where there is no such token now.
        """
        self._name = name
        self._module, self._token, self._label = module, token, label
        self._pin_file = pin_file
        self._call_s_max = call_s_max
        self._one = ThreadPoolExecutor(1, thread_name_prefix="pkcs11")
        self._stuck: Future[Any] | None = None  # a call that did not come back
        self._session: Any = None
        self._key: Any = None
        self._halted: Stop | None = None
        self._public = b""
        try:
            self._within(self._open)
        except BaseException:
            self._one.shutdown(wait=False)
            raise
        self._verifier = Ed25519PublicKey.from_public_bytes(self._public)

    @property
    def vkey(self) -> str:
        """C2SP verifier key."""
        return vkey(self._name, self._public)

    def sign(self, text: bytes) -> bytes:
        """One signature line over a text that ends in newline.

        Raises Unavailable where the token is away or too slow, Stop("signer-token") where its PIN
        or its key is not what it was.
        """
        assert text.endswith(b"\n")
        return signature_line(self._name, self._public, self._within(lambda: self._sign(text)))

    def close(self) -> None:
        """End the session; a call that hangs in the token's library is left to it."""
        with suppress(Stop, Unavailable):
            self._within(self._forget)
        self._one.shutdown(wait=False, cancel_futures=True)

    # -- one call at a time, and none for ever ---------------------------------------------------

    def _within(self, work: Callable[[], _T]) -> _T:
        if self._halted is not None:
            raise self._halted
        if self._stuck is not None and not self._stuck.done():
            raise Unavailable(f"the token {self._token} still has not answered")
        future = self._one.submit(_in_turn, work)
        try:
            return future.result(self._call_s_max)
        except TimeoutError:
            if not future.cancel():
                self._stuck = future
            text = f"the token {self._token} did not answer within {self._call_s_max:g} s"
            raise Unavailable(text) from None
        except Stop as error:
            self._halted = error
            raise

    # -- in the one thread that speaks to the token ----------------------------------------------

    def _sign(self, text: bytes) -> bytes:
        pkcs11 = _library()
        for last in (False, True):
            try:
                if self._session is None:
                    self._open()
                found = bytes(self._key.sign(text, mechanism=pkcs11.Mechanism.EDDSA))
                self._verifier.verify(found, text)
            except pkcs11.PKCS11Error as error:
                self._forget()
                if last:
                    raise self._away(error) from error
            except InvalidSignature:
                self._forget()
                raise self._stop("signs by another key than it shows") from None
            else:
                return found
        raise AssertionError

    def _open(self) -> None:
        pkcs11 = _library()
        library = self._load(pkcs11)
        try:
            token = self._find(pkcs11, library)
        except pkcs11.NoSuchToken as error:
            raise Unavailable(f"there is no token {self._token} in {self._module.name}") from error
        except pkcs11.MultipleTokensReturned as error:
            raise self._stop("has namesakes") from error
        except pkcs11.PKCS11Error as error:
            raise self._away(error) from error
        try:
            self._session = self._logged_in(pkcs11, token)
            self._take_keys(pkcs11, self._session)
        except pkcs11.PKCS11Error as error:
            self._forget()
            raise self._away(error) from error
        except BaseException:
            self._forget()
            raise

    def _load(self, pkcs11: Any) -> Any:
        try:
            return pkcs11.lib(str(self._module))
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            if self._public:  # it has worked before
                raise self._away(error) from error
            text = f"signer.pkcs11.module {self._module} can't be used: {_first_line(error)}"
            raise Stop("signer-token", text) from error

    def _find(self, pkcs11: Any, library: Any) -> Any:
        try:
            return library.get_token(token_label=self._token)
        except pkcs11.NoSuchToken:
            library.reinitialize()  # some look for tokens only then; sessions of others end
            return library.get_token(token_label=self._token)

    def _logged_in(self, pkcs11: Any, token: Any) -> Any:
        try:
            return token.open(user_pin=self._pin())
        except pkcs11.UserAlreadyLoggedIn:  # by another key of ours: a login is the process's
            return token.open()
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
            raise self._stop("refuses the PIN in signer.pkcs11.pin_file") from error
        except pkcs11.PinLocked as error:
            raise self._stop("has locked its PIN: unlock it with its SO PIN") from error
        except (pkcs11.PinExpired, pkcs11.UserPinNotInitialized) as error:
            raise self._stop("wants its user PIN to be set anew") from error

    def _pin(self) -> str:
        try:
            if self._pin_file.stat().st_mode & 0o077:
                text = f"signer.pkcs11.pin_file {self._pin_file} is open to others: chmod 600 it"
                raise Stop("signer-token", text)
            found = self._pin_file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            text = f"signer.pkcs11.pin_file {self._pin_file} can't be read: {error}"
            raise Stop("signer-token", text) from error
        if not 0 < len(found.encode()) <= PIN_BYTES_MAX:
            raise Stop("signer-token", f"signer.pkcs11.pin_file {self._pin_file} holds no PIN")
        return found

    def _take_keys(self, pkcs11: Any, session: Any) -> None:
        def only(kind: Any) -> Any:
            wanted = {
                pkcs11.Attribute.CLASS: kind,
                pkcs11.Attribute.LABEL: self._label,
                pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC_EDWARDS,
            }
            found = list(session.get_objects(wanted))
            if len(found) != 1:
                how_many = "more than one" if found else "no"
                raise self._stop(f"has {how_many} Ed25519 key pair {self._label}")
            return found[0]

        self._key = only(pkcs11.ObjectClass.PRIVATE_KEY)
        public = only(pkcs11.ObjectClass.PUBLIC_KEY)
        point = bytes(public[pkcs11.Attribute.EC_POINT]).removeprefix(_POINT_PREFIX)
        if len(point) != _ED25519_BYTES:
            raise self._stop(f"has a key {self._label} that is not of Ed25519")
        if self._public and point != self._public:
            raise self._stop(f"has another key {self._label} than before")
        self._public = point

    def _forget(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            with suppress(Exception):  # it may be gone already, whatever the library says to that
                session.close()

    def _away(self, error: Exception) -> Unavailable:
        return Unavailable(f"the token {self._token} can't be used now: {_first_line(error)}")

    def _stop(self, text: str) -> Stop:
        return Stop("signer-token", f"the token {self._token} {text}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _in_turn(work: Callable[[], _T]) -> _T:
    with _LIBRARY:
        return work()


def _library() -> Any:
    try:
        return import_module("pkcs11")
    except ImportError as error:
        text = "signer.pkcs11 needs python-pkcs11: install gridseal with its extra pkcs11"
        raise Stop("signer-token", text) from error
