"""Access tokens: RFC 9068 JWTs, ES256, issued and checked here; RFC 8725 is followed.

The check accepts only what `issue` writes. joserfc does the signature; what it would let pass
(doubled members, other types, further headers) is refused before.
"""

import hmac
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from joserfc.jws import deserialize_compact

TOKEN_LIFETIME_S = 600
TOKEN_LENGTH_MAX = 4096
HEADER_LENGTH_MAX = 512  # characters of base64url
CLOCK_SKEW_S = 30  # how far ahead `iat` may be; `exp` gets no grace
CLIENT_ID = re.compile(r"[\x21-\x7e]{1,255}")  # RFC 6749 §A.1, without space and empty
_ALGORITHM = "ES256"
_PIECE = re.compile(r"[A-Za-z0-9_-]+")


class TokenRefused(Exception):
    """The token is not one of ours, or no longer; the text says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a good token says."""

    client_id: str
    scopes: frozenset[str]
    expires_s: int  # seconds since 1970


def audience(issuer: str) -> str:
    """The `aud` of our tokens: the API of this issuer and nothing else."""
    return f"{issuer}/v1"


def issue(keys: KeySet, issuer: str, client_id: str, scope: str, now_s: int) -> str:
    """A token for `scope` (RFC 9068 §2), signed with the newest of `keys`."""
    key = _newest(keys)
    header = {"alg": _ALGORITHM, "typ": "at+jwt", "kid": key.kid}
    claims = {
        "iss": issuer,
        "aud": audience(issuer),
        "sub": client_id,  # RFC 9068 §2.2: no resource owner, so the client itself
        "client_id": client_id,
        "iat": now_s,
        "exp": now_s + TOKEN_LIFETIME_S,
        "jti": secrets.token_urlsafe(16),
        "scope": scope,
    }
    return jwt.encode(header, claims, key, algorithms=[_ALGORITHM])


def check(token: str, keys: KeySet, issuer: str, now_s: int) -> AccessToken:
    """What `token` says, if it is ours and good at `now_s` (RFC 9068 §4).

    Raises TokenRefused. Whether the client is still known is the caller's question.
    """
    if len(token) > TOKEN_LENGTH_MAX:
        raise TokenRefused("the token is over the limit")
    pieces = token.split(".")
    if len(pieces) != 3 or len(pieces[0]) > HEADER_LENGTH_MAX:
        raise TokenRefused("not a signed JWT in compact form")
    header, claims, _ = (_decode(piece) for piece in pieces)
    key = _key(keys, _object(header))
    try:
        deserialize_compact(token, key, algorithms=[_ALGORITHM])
    except (JoseError, ValueError) as error:
        raise TokenRefused("the signature does not hold") from error
    return _claims(_object(claims), issuer, now_s)


def public_jwks(keys: KeySet) -> dict[str, Any]:
    """The JWKS document (RFC 7517 §5): public members only, newest key first."""
    return {"keys": [key.as_dict(private=False) for key in keys.keys]}


def cursor_keys(keys: KeySet) -> list[bytes]:
    """A key for cursors from each private token key, newest first: they outlive a restart."""
    found = []
    for key in keys.keys:
        secret = key.as_dict(private=True).get("d")
        if isinstance(secret, str):
            found.append(hmac.new(secret.encode(), b"gridseal/cursor-key/v1", sha256).digest())
    return found


def _newest(keys: KeySet) -> ECKey:
    key = keys.keys[0]
    if not isinstance(key, ECKey):
        raise TypeError("token keys are EC keys on P-256")
    return key


def _decode(piece: str) -> bytes:
    # RFC 7515 §2: base64url without padding; re-encoding refuses stray bits at the end
    if not _PIECE.fullmatch(piece):
        raise TokenRefused("not base64url")
    try:
        data = urlsafe_b64decode(piece + "=" * (-len(piece) % 4))
    except ValueError:
        raise TokenRefused("not base64url") from None
    if urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != piece:
        raise TokenRefused("not canonical base64url")
    return data


def _object(data: bytes) -> dict[str, Any]:
    # RFC 7515 §5.2, RFC 7519 §4: member names must be unique, and a parser may not pick one
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member is doubled")
        return dict(pairs)

    def no_constant(text: str) -> None:
        raise ValueError(f"{text} is not JSON")

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant
        )
    except (ValueError, RecursionError) as error:
        raise TokenRefused("a part is not JSON with unique members") from error
    if not isinstance(value, dict):
        raise TokenRefused("a part is not a JSON object")
    return value


def _key(keys: KeySet, header: dict[str, Any]) -> ECKey:
    if set(header) != {"alg", "typ", "kid"}:
        # jwk, jku, x5u, x5c would bring their own key; crit would ask for what we do not do
        raise TokenRefused("the header has other members than alg, typ and kid")
    if header["alg"] != _ALGORITHM:  # RFC 8725 §3.1: none and HS256 among the refused
        raise TokenRefused("alg is not ES256")
    typ = header["typ"]
    if not isinstance(typ, str) or typ.lower() not in ("at+jwt", "application/at+jwt"):
        raise TokenRefused("typ is not at+jwt")  # RFC 9068 §4
    for key in keys.keys:
        if isinstance(key, ECKey) and key.kid == header["kid"]:
            return key
    raise TokenRefused("kid names no key of ours")


def _claims(claims: dict[str, Any], issuer: str, now_s: int) -> AccessToken:
    if claims.get("iss") != issuer:
        raise TokenRefused("iss is another")
    if claims.get("aud") != audience(issuer):  # a list that has ours among others is refused
        raise TokenRefused("aud is another")
    client_id = claims.get("client_id")
    for name in ("sub", "client_id", "jti"):
        text = claims.get(name)
        if not isinstance(text, str) or not CLIENT_ID.fullmatch(text):
            raise TokenRefused(f"{name} is missing or no name")
    if claims["sub"] != client_id:
        raise TokenRefused("sub is not the client")
    issued_s, expires_s = _seconds(claims, "iat"), _seconds(claims, "exp")
    if issued_s > now_s + CLOCK_SKEW_S:
        raise TokenRefused("iat lies ahead")
    if expires_s <= now_s:
        raise TokenRefused("the token has expired")
    if expires_s - issued_s > TOKEN_LIFETIME_S:
        raise TokenRefused("the token lives longer than ours do")
    if "nbf" in claims and _seconds(claims, "nbf") > now_s:
        raise TokenRefused("nbf lies ahead")
    scope = claims.get("scope")
    if not isinstance(scope, str):
        raise TokenRefused("scope is missing or no text")
    return AccessToken(str(client_id), frozenset(scope.split()), expires_s)


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:  # neither a string nor a float nor true
        raise TokenRefused(f"{name} is missing or no integer")
    return value
