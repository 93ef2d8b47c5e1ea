"""The authorization server: Authlib's, behind a small adapter, for client credentials only.

Authlib has no integration for ASGI. The adapter reads form and Basic header itself, strictly,
and hands Authlib finished values; no multipart parser, no Host header. Errors have the form of
RFC 6749 §5.2, which OAuth clients expect, and are no problem documents.
"""

import hmac
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import unquote_plus

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
)
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750.token import BearerTokenGenerator
from joserfc.jwk import KeySet

from bal.errors import Rejected
from bal.provide.parameters import parameters
from bal.provide.policy import SCOPES, ClientInfo
from infra.oauth_token import CLIENT_ID, TOKEN_LIFETIME_S, issue

FORM_TYPE = "application/x-www-form-urlencoded"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path, no secret
METHODS = ("client_secret_basic", "client_secret_post")
_BASIC_LENGTH_MAX = 2048
_NOBODY = ClientInfo("", b"\0" * 32, frozenset(), frozenset(), "revoked")


class OAuthServices(Protocol):
    """What the authorization server asks of the platform."""

    @property
    def issuer(self) -> str:
        """https://host:port, as clients reach it."""
        ...

    def client(self, client_id: str) -> ClientInfo | None:
        """The client as it is now; revoked ones too."""
        ...

    def token_keys(self) -> KeySet:
        """Private ES256 keys with kid, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint, body already read."""

    authorization: tuple[str, ...]  # all Authorization headers
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """Status, JSON members and headers of the answer."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]


class TokenEndpoint:
    """POST /oauth/token. `respond` blocks on the client registry: call it in a thread."""

    def __init__(self, services: OAuthServices, now_s: Callable[[], int]) -> None:
        self._server = _Server(services, now_s)

    def respond(self, request: TokenRequest) -> TokenResponse:
        """The answer of RFC 6749 §5; never raises for what the caller sent."""
        try:
            response: TokenResponse = self._server.create_token_response(request)
        except OAuth2Error as error:
            response = _response(*error())
        return response


def metadata(issuer: str) -> dict[str, object]:
    """Authorization server metadata (RFC 8414 §2)."""
    return {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": sorted(SCOPES),
        "response_types_supported": [],  # required by §2; there is no authorization endpoint
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": list(METHODS),
    }


class _Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """A client in Authlib's words."""

    def __init__(self, info: ClientInfo) -> None:
        self.info = info

    def get_client_id(self) -> str:
        return self.info.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        # RFC 6749 §3.3: none asked for: all that the client has
        return " ".join(sorted(self.info.scopes if scope is None else set(scope.split())))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class _Request(OAuth2Request):  # type: ignore[misc]
    """A checked request: one form, at most one pair of credentials."""

    def __init__(self, uri: str, form: dict[str, str], credentials: tuple[str, str, str]) -> None:
        super().__init__("POST", uri)
        self.payload = BasicOAuth2Payload(form)
        self.method_used, self.given_id, self.given_secret = credentials


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def validate_requested_scope(self) -> None:
        """Ask for less than the client has, or for what it has; never for more."""
        scope = self.request.payload.scope
        asked = self.request.client.info.scopes if scope is None else set(scope.split())
        if not asked or not asked <= self.request.client.info.scopes:
            raise InvalidScopeError


class _Server(AuthorizationServer):  # type: ignore[misc]
    def __init__(self, services: OAuthServices, now_s: Callable[[], int]) -> None:
        super().__init__()
        self._services = services
        self._now_s = now_s
        self.register_grant(_Grant)
        self.register_token_generator(
            "default", BearerTokenGenerator(self._token, expires_generator=TOKEN_LIFETIME_S)
        )
        for method in METHODS:
            self.register_client_auth_method(method, _authenticator(method))

    def query_client(self, client_id: str) -> _Client:
        """Always a client: an unknown one is treated as one whose secret is never right."""
        known = self._services.client(client_id) if CLIENT_ID.fullmatch(client_id) else None
        return _Client(_NOBODY if known is None or known.state != "active" else known)

    def authenticate_client(
        self, request: _Request, methods: list[str], endpoint: str = "token"
    ) -> Any:
        """One answer for no credentials, unknown client, wrong secret and revoked client."""
        try:
            return super().authenticate_client(request, methods, endpoint)
        except InvalidClientError:
            raise InvalidClientError(
                status_code=401, description="The client is unknown or its secret is wrong."
            ) from None

    def create_oauth2_request(self, request: TokenRequest) -> _Request:
        form = _form(request)
        grant = form.get("grant_type")
        if grant is None:
            raise InvalidRequestError("grant_type is missing.")
        if grant != "client_credentials":  # RFC 9700 §2.4: no password grant, nor any other
            raise OAuth2Error(
                "Only client_credentials is supported.", error="unsupported_grant_type"
            )
        return _Request(self._services.issuer + TOKEN_PATH, form, _credentials(request, form))

    def handle_response(self, status: int, body: Any, headers: Any) -> TokenResponse:
        return _response(status, body, headers)

    def save_token(self, token: Any, request: Any) -> None:
        """Nothing to keep: a token is checked by its signature and its client's state."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """No signals."""

    def _token(self, client: _Client, grant_type: str, user: None, scope: str) -> str:
        keys, issuer = self._services.token_keys(), self._services.issuer
        return issue(keys, issuer, client.info.client_id, scope, self._now_s())


def _authenticator(method: str) -> Callable[[Callable[[str], _Client], _Request], _Client | None]:
    def authenticate(query: Callable[[str], _Client], request: _Request) -> _Client | None:
        if request.method_used != method:
            return None
        client = query(request.given_id)
        digest = sha256(request.given_secret.encode()).digest()
        right = hmac.compare_digest(digest, client.info.secret_sha256)
        return client if right and client.info is not _NOBODY else None

    return authenticate


def _form(request: TokenRequest) -> dict[str, str]:
    if request.content_type.partition(";")[0].strip().lower() != FORM_TYPE:
        raise InvalidRequestError(f"Content-Type must be {FORM_TYPE}.")
    try:
        found = parameters(request.body)
    except Rejected as error:
        raise InvalidRequestError(f"The form is refused: {error.code}.") from None
    # RFC 6749 §3.2: a parameter without a value is treated as if it were omitted
    return {name: value for name, value in found.items() if value}


def _credentials(request: TokenRequest, form: dict[str, str]) -> tuple[str, str, str]:
    posted = form.get("client_secret")
    if len(request.authorization) > 1 or (request.authorization and posted is not None):
        # RFC 6749 §2.3: not more than one method in each request
        raise InvalidRequestError("Authenticate once, by Basic or by post.")
    if request.authorization:
        client_id, secret = _basic(request.authorization[0])
        if form.get("client_id", client_id) != client_id:
            raise InvalidRequestError("client_id is another than that of the Basic header.")
        return "client_secret_basic", client_id, secret
    return "client_secret_post", form.get("client_id", ""), posted or ""


def _basic(header: str) -> tuple[str, str]:
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic" or len(coded) > _BASIC_LENGTH_MAX:
        raise InvalidClientError(status_code=401, description="Basic authentication is expected.")
    try:
        text = b64decode(coded.strip(), validate=True).decode("ascii")
        client_id, colon, secret = text.partition(":")
        if not colon:
            raise ValueError("no colon")
        # RFC 6749 §2.3.1: both are form-encoded before they are joined
        return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise InvalidClientError(
            status_code=401, description="The Basic header is malformed."
        ) from None


def _response(status: int, body: Any, headers: Any) -> TokenResponse:
    return TokenResponse(status, dict(body), {**dict(headers), "Cache-Control": "no-store"})
