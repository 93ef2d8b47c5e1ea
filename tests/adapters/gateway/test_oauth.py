"""The token endpoint: who gets a token, for what, and how everybody else is sent away."""

import json
from base64 import b64encode, urlsafe_b64decode
from urllib.parse import quote, urlencode

import pytest
from joserfc.jwk import ECKey, KeySet

SECRET = "b2f7c7d6c1d84d4fa7a1f6a1b6f9b6ce"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def basic(client_id, secret=SECRET):
    coded = b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {coded}"}


def ask(api, body="grant_type=client_credentials", headers=(), media=FORM):
    fields = [*media.items(), *dict(headers).items()]
    return api.post("/oauth/token", body, headers=fields)


def claims(token):
    return [json.loads(urlsafe_b64decode(piece + "==")) for piece in token.split(".")[:2]]


def test_a_client_gets_a_token_by_basic(api):
    """RFC 6749 §4.4, §5; the token as RFC 9068 §2, §2.2; without a scope: all (RFC 6749 §3.3)."""
    answer = ask(api, headers=basic("north"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 600
    assert body["scope"] == "devices.read readings.read"
    header, said = claims(body["access_token"])
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
    assert len(said.pop("jti")) >= 16
    assert said == {
        "iss": "https://localhost:8443",
        "aud": "https://localhost:8443/v1",
        "sub": "north",
        "client_id": "north",
        "iat": api.now_s,
        "exp": api.now_s + 600,
        "scope": "devices.read readings.read",
    }
    assert api.get("/v1/readings", token=body["access_token"]).status_code == 200


def test_a_client_gets_a_token_by_post(api):
    """RFC 6749 §2.3.1: or in the body; §3.2: an unknown parameter is ignored."""
    form = {"grant_type": "client_credentials", "client_id": "north", "client_secret": SECRET}
    answer = ask(api, urlencode({**form, "scope": "readings.read", "unknown": "ignored"}))
    assert answer.status_code == 200
    assert answer.json()["scope"] == "readings.read"


def test_basic_credentials_are_form_encoded_first(api, platform):
    """RFC 6749 §2.3.1."""
    platform.enrol("a:b c", "readings.read", "")
    platform.clients["a:b"] = platform.clients.pop("a:b c")
    assert ask(api, headers=basic(quote("a:b", safe=""))).status_code == 200


def test_no_two_tokens_are_the_same(api):
    tokens = {ask(api, headers=basic("north")).json()["access_token"] for _ in range(3)}
    assert len(tokens) == 3


def test_unknown_wrong_revoked_and_absent_look_alike(api, platform):
    platform.enrol("gone", "readings.read", "north")
    platform.revoke("gone")
    answers = [
        ask(api, headers=basic("nobody")),
        ask(api, headers=basic("north", "wrong")),
        ask(api, headers=basic("north", "")),
        ask(api, headers=basic("gone")),
        ask(api, headers=basic("")),
        ask(api, headers=basic("n\u00f6rth")),
        ask(api),
        ask(api, "grant_type=client_credentials&client_id=north"),
        ask(api, f"grant_type=client_credentials&client_id=nobody&client_secret={SECRET}"),
        ask(api, f"grant_type=client_credentials&client_secret={SECRET}"),
    ]
    assert {a.status_code for a in answers} == {401}
    assert {a.json()["error"] for a in answers} == {"invalid_client"}
    plain = {a.text for a in answers} - {answers[5].text}  # that header is malformed
    assert len(plain) == 1
    assert all(a.headers["www-authenticate"].startswith("Basic ") for a in answers)
    assert all(a.headers["cache-control"] == "no-store" for a in answers)


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic ", "Basic !!!!", "Basic bm9jb2xvbg==", "Basic /////w==", "Bearer x", "x"],
)
def test_a_malformed_authorization_header_is_401(api, header):
    assert ask(api, headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "invalid_request"),
        ("grant_type=", "invalid_request"),  # RFC 6749 §3.2: as if omitted
        ("scope=readings.read", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&grant_type=password", "invalid_request"),
        ("grant_type=client_credentials&scope=a&scope=b", "invalid_request"),
        ("grant_type=client_credentials&x=1&x=2", "invalid_request"),
        ("grant_type=client_credentials%00", "invalid_request"),
        ("grant_type=%ED%A0%80", "invalid_request"),
        ("grant_type=%FF", "invalid_request"),
        ("grant_type=%", "invalid_request"),
        ("grant_type=client_credentials&scope=%E2%80%AE", "invalid_request"),
        ("grant_type=client_credentials&client_id=south", "invalid_request"),
        # RFC 6749 §2.3: one way to say who the client is
        (f"grant_type=client_credentials&client_secret={SECRET}", "invalid_request"),
        ("&".join(f"p{i}=1" for i in range(40)), "invalid_request"),
        # RFC 9700 §2.4: the password grant must not be used
        ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x", "unsupported_grant_type"),
        ("grant_type=refresh_token&refresh_token=x", "unsupported_grant_type"),
        ("grant_type=implicit", "unsupported_grant_type"),
        ('grant_type="quoted\\', "unsupported_grant_type"),
        ("grant_type=%F0%9F%94%91", "unsupported_grant_type"),
        # RFC 6749 §3.3
        ("grant_type=client_credentials&scope=messages.write", "invalid_scope"),
        ("grant_type=client_credentials&scope=readings.read%20messages.write", "invalid_scope"),
        ("grant_type=client_credentials&scope=admin", "invalid_scope"),
        ("grant_type=client_credentials&scope=%20", "invalid_scope"),
    ],
)
def test_a_bad_form_is_400_with_the_code_of_rfc_6749(api, body, error):
    """RFC 6749 §5.2, its five codes."""
    answer = ask(api, body, basic("north"))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    "media", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""]
)
def test_another_media_type_is_refused(api, media):
    answer = ask(
        api, '{"grant_type":"client_credentials"}', basic("north"), {"Content-Type": media}
    )
    assert answer.json()["error"] == "invalid_request"


def test_a_large_body_is_413(api):
    body = "grant_type=client_credentials&x=" + "a" * 16_384
    assert ask(api, body, basic("north")).status_code == 413


def test_a_large_body_without_a_length_is_413(api):
    async def stream():
        for _ in range(20):
            yield b"a" * 1_000

    assert ask(api, stream(), basic("north")).status_code == 413


def test_an_encoded_body_is_415(api):
    assert ask(api, headers={**basic("north"), "Content-Encoding": "gzip"}).status_code == 415


def test_credentials_in_the_query_are_refused(api):
    """RFC 6749 §2.3.1: never in the request URI."""
    path = f"/oauth/token?client_id=north&client_secret={SECRET}"
    answer = api.post(path, "grant_type=client_credentials", headers=FORM)
    assert answer.json()["error"] == "invalid_request"


def test_two_authorization_headers_are_refused(api):
    """RFC 6749 §2.3: one method in each request."""
    fields = [*FORM.items(), *basic("north").items(), *basic("north").items()]
    answer = api.post("/oauth/token", "grant_type=client_credentials", headers=fields)
    assert answer.json()["error"] == "invalid_request"


def test_a_client_without_scopes_gets_no_token(api, platform):
    platform.enrol("bare", "", "north")
    assert ask(api, headers=basic("bare")).json()["error"] == "invalid_scope"


def test_the_host_header_decides_nothing(api):
    answer = ask(api, headers={**basic("north"), "Host": "evil.example", "X-Forwarded-Host": "e"})
    assert claims(answer.json()["access_token"])[1]["iss"] == "https://localhost:8443"
    for path in ("/.well-known/oauth-authorization-server", "/.well-known/jwks.json"):
        assert "evil" not in api.get(path, headers={"Host": "evil.example"}).text


def test_get_on_the_token_endpoint_is_405(api):
    answer = api.get("/oauth/token")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_metadata_is_public_and_of_the_issuer(api, platform):
    """RFC 8414 §2."""
    platform.issuer = "https://localhost:9443"  # known only once the port is
    answer = api.get("/.well-known/oauth-authorization-server")
    assert answer.json() == {
        "issuer": "https://localhost:9443",
        "token_endpoint": "https://localhost:9443/oauth/token",
        "jwks_uri": "https://localhost:9443/.well-known/jwks.json",
        "scopes_supported": [
            "devices.read",
            "findings.read",
            "messages.write",
            "metadata.query",
            "readings.read",
        ],
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


def test_the_key_set_shows_public_members_only(api, platform):
    """RFC 7517 §5."""
    keys = api.get("/.well-known/jwks.json").json()["keys"]
    assert [key["kid"] for key in keys] == ["k1"]
    assert set(keys[0]) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_a_key_change_signs_with_the_newest_and_still_takes_the_old(api, platform):
    old = ask(api, headers=basic("north")).json()["access_token"]
    newer = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": "k2"})
    platform.keys = KeySet([newer, *platform.keys.keys])
    new = ask(api, headers=basic("north")).json()["access_token"]
    assert claims(new)[0]["kid"] == "k2"
    assert [api.get("/v1/readings", token=t).status_code for t in (old, new)] == [200, 200]
    platform.keys = KeySet([newer])
    assert [api.get("/v1/readings", token=t).status_code for t in (old, new)] == [401, 200]
