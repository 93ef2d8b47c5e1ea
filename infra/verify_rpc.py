"""The verifier's wires: a chain over JSON-RPC and a log's tiles over HTTPS, by urllib alone.

No answer is trusted further than `bal/certify/verify.py` checks it; here each one is bounded in
size and time. Certificates are always verified; a redirect never leaves the host that was named.
"""

import json
import re
import ssl
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit

from Crypto.Hash import keccak

from bal.certify.verify import VerifyError, parse_json, printable

TIMEOUT_S = 10.0  # of one socket operation
ANSWER_S_MAX = 30.0  # of one whole answer
ANSWER_BYTES_MAX = 1 << 20
ANSWER_DEPTH_MAX = 16

_QUANTITY = re.compile(r"0x(0|[1-9a-f][0-9a-f]{0,15})")
_DATA = re.compile(r"0x([0-9a-f]{2})*", re.IGNORECASE)


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash, which is not SHA3-256."""
    return keccak.new(digest_bits=256, data=data).digest()


def selector(signature: str) -> bytes:
    """The first four bytes of a call of a Solidity function, e.g. `rootAt(bytes32,uint64)`."""
    return keccak256(signature.encode())[:4]


def checked_url(url: str) -> SplitResult:
    """The parts of an https URL, or of an http URL on loopback; else VerifyError url-refused."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise VerifyError("url-refused", f"{url!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise VerifyError("url-refused", f"{url!r} is no URL that begins with https:// or http://")
    if parts.username is not None:
        raise VerifyError("url-refused", f"{url!r} has a user name, which is not sent")
    if parts.scheme == "http" and not _is_loopback(host):
        raise VerifyError("url-refused", f"{url!r} is plain http: anybody on the way could lie")
    return parts


class Web:
    """One host, reached over HTTP; `unreachable` is the code of whatever goes wrong."""

    def __init__(self, url: str, unreachable: str, ca: Path | None = None) -> None:
        checked_url(url)
        self._unreachable = unreachable
        context = ssl.create_default_context()
        if ca is not None:
            try:
                context.load_verify_locations(cafile=ca)
            except ssl.SSLError:
                text = f"the CA file {ca} holds no certificate in PEM"
                raise VerifyError("file-unreadable", text) from None
            except OSError as error:
                text = f"the CA file {ca} can't be read: {error.strerror}"
                raise VerifyError("file-unreadable", text) from None
        self._open = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _SameHost()
        ).open

    def get(self, url: str) -> bytes | None:
        """The body of a 200 answer; None of a 404."""
        return self._ask(urllib.request.Request(url))  # noqa: S310 - checked_url

    def post_json(self, url: str, message: object) -> Any:
        """The JSON that answers a JSON body."""
        body = json.dumps(message).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = self._ask(urllib.request.Request(url, body, headers))  # noqa: S310 - checked_url
        if answer is None:
            raise VerifyError(self._unreachable, f"{url} answers 404: is the path another one?")
        try:
            return parse_json(answer.decode(), ANSWER_DEPTH_MAX)
        except ValueError:
            raise VerifyError(self._unreachable, f"{url} answers no JSON") from None

    def _ask(self, request: urllib.request.Request) -> bytes | None:
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                return self._read(answer)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                text = f"{request.full_url} answers {error.code}"
        except URLError as error:
            text = f"{request.full_url} does not answer: {_reason(error.reason)}"
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                why = f"is not trusted: {error.reason.verify_message}"
                text = f"the certificate of {request.full_url} {why}; --ca FILE names the CA"
                text += " certificate of a platform"
        except (OSError, HTTPException) as error:
            text = f"{request.full_url} does not answer: {_reason(error)}"
        raise VerifyError(self._unreachable, text)

    def _read(self, answer: IO[bytes]) -> bytes:
        body, end_s = b"", time.monotonic() + ANSWER_S_MAX
        while chunk := answer.read(1 << 16):
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise VerifyError(self._unreachable, f"more than {ANSWER_BYTES_MAX} bytes came")
            if time.monotonic() > end_s:
                raise VerifyError(self._unreachable, f"no end after {ANSWER_S_MAX:.0f} s")
        return body


class RpcChain:
    """ChainView and CloseView over one JSON-RPC endpoint."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        self._url = url
        self._web = Web(url, "rpc-unreachable", ca)

    def chain_id(self) -> int:
        """eth_chainId."""
        return self._quantity(self._call("eth_chainId"))

    def block(self, depth: int | None) -> int | None:
        """Number of `finalized`, or of the block `depth` under the latest; None: not yet."""
        if depth is not None:
            number = self._quantity(self._call("eth_blockNumber")) - depth
            return number if number >= 0 else None
        found = self._call("eth_getBlockByNumber", "finalized", False)
        if found is None:
            return None
        return self._quantity(found.get("number") if isinstance(found, dict) else None)

    def source(self) -> str:
        """`the RPC endpoint at <scheme, host and port> says so`; a path may hold a secret."""
        return f"the RPC endpoint at {self.name} says so"

    @property
    def name(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self._url)
        return printable(f"{parts.scheme}://{parts.netloc}")

    def block_hash(self, block: int) -> bytes:
        """Hash of the block of that number; b"" where the endpoint has none."""
        found = self._call("eth_getBlockByNumber", hex(block), False)
        return self._data(found.get("hash")) if isinstance(found, dict) else b""

    def code_hash(self, contract: str, block: int) -> bytes | None:
        """keccak256 of eth_getCode; None where there is no code."""
        code = self._data(self._call("eth_getCode", contract, hex(block)))
        return keccak256(code) if code else None

    def log_id(self, origin: str) -> bytes:
        """keccak256(origin)."""
        return keccak256(origin.encode())

    def latest_size(self, contract: str, origin: str, block: int) -> int:
        """The first word of latest(log)."""
        answer = self._eth_call(contract, "latest(bytes32)", self.log_id(origin), block)
        return int.from_bytes(answer[:32], "big")

    def root_at(self, contract: str, origin: str, size: int, block: int) -> bytes:
        """rootAt(log, size)."""
        arguments = self.log_id(origin) + size.to_bytes(32, "big")
        return self._eth_call(contract, "rootAt(bytes32,uint64)", arguments, block)[:32]

    def closes(self, contract: str, origin: str, block: int) -> int:
        """closes(log)."""
        answer = self._eth_call(contract, "closes(bytes32)", self.log_id(origin), block)
        return int.from_bytes(answer[:32], "big")

    def close_at(self, contract: str, origin: str, k: int, block: int) -> tuple[int, bytes]:
        """closeAt(log, k): its first and third word."""
        arguments = self.log_id(origin) + k.to_bytes(32, "big")
        answer = self._eth_call(contract, "closeAt(bytes32,uint64)", arguments, block)
        return int.from_bytes(answer[:32], "big"), answer[64:96]

    def _eth_call(self, contract: str, function: str, arguments: bytes, block: int) -> bytes:
        """What a view function answers; zeros where it reverts, as for a log it doesn't know."""
        data = "0x" + (selector(function) + arguments).hex()
        answer = self._ask("eth_call", [{"to": contract, "data": data}, hex(block)])
        if _is_revert(answer.get("error")):
            return bytes(96)
        found = self._data(self._result("eth_call", answer))
        return found.ljust(96, b"\0")

    def _call(self, method: str, *parameters: object) -> Any:
        return self._result(method, self._ask(method, list(parameters)))

    def _ask(self, method: str, parameters: list[object]) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = self._web.post_json(self._url, message)
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
            raise VerifyError("rpc-unreachable", f"{self._url} speaks no JSON-RPC")
        return answer

    def _result(self, method: str, answer: dict[str, Any]) -> Any:
        error = answer.get("error")
        if error is not None:
            message = error.get("message") if isinstance(error, dict) else error
            raise VerifyError("rpc-unreachable", f"{method}: the endpoint answers {message!r:.200}")
        return answer.get("result")

    def _quantity(self, value: object) -> int:
        if isinstance(value, str) and _QUANTITY.fullmatch(value):
            return int(value, 16)
        raise VerifyError("rpc-unreachable", f"{self._url} gives {value!r:.80} for a number")

    def _data(self, value: object) -> bytes:
        if isinstance(value, str) and _DATA.fullmatch(value):
            return bytes.fromhex(value[2:])
        raise VerifyError("rpc-unreachable", f"{self._url} gives {value!r:.80} for bytes")


class HttpTiles:
    """TileSource over logs' static files (c2sp.org/tlog-tiles)."""

    def __init__(self, prefixes: Mapping[str, str], ca: Path | None = None) -> None:
        """prefixes: origin → URL under which `tile/` stands; "" for origins not named."""
        self._prefixes = {origin: url.rstrip("/") for origin, url in prefixes.items()}
        self._webs = {url: Web(url, "log-unreachable", ca) for url in self._prefixes.values()}

    def tile(self, origin: str, level: int, n: int, width: int) -> bytes:
        """The partial tile, or the first hashes of the full one where that has replaced it."""
        prefix = self._prefixes.get(origin) or self._prefixes.get("")
        if prefix is None:
            raise VerifyError("log-needed", f"the tiles of {origin} are needed, by --log URL")
        web, path = self._webs[prefix], f"{prefix}/tile/{level}/{tile_number(n)}"
        found = web.get(f"{path}.p/{width}" if width < 256 else path)
        if found is None and width < 256:
            found = web.get(path)
        if found is None:
            raise VerifyError("log-unreachable", f"{path} is not there")
        return found[: 32 * width]


def tile_number(n: int) -> str:
    """Three digits an element, `x` before all but the last: 1234067 is x001/x234/067."""
    digits = f"{n:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def _reason(error: object) -> str:
    """Without the number that Python puts before the system's words."""
    return getattr(error, "strerror", None) or str(error)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect of a GET on the same scheme, host and port only."""

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if req.data is not None or (old.scheme, old.netloc) != (new.scheme, new.netloc):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_revert(error: object) -> bool:
    """Nodes differ: code 3 with data, or only the word (execution-apis leaves it open)."""
    if not isinstance(error, dict):
        return False
    return error.get("code") == 3 or "revert" in str(error.get("message", "")).lower()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
