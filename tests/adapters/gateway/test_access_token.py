"""What a resource server must refuse (RFC 9068 §4, RFC 8725 §3, RFC 6750 §3)."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from infra.oauth_token import TokenRefused, check, issue

ISSUER = "https://localhost:8443"
NOW_S = 1_768_471_200
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
CLAIMS = {
    "iss": ISSUER,
    "aud": f"{ISSUER}/v1",
    "sub": "north",
    "client_id": "north",
    "iat": NOW_S,
    "exp": NOW_S + 600,
    "jti": "1",
    "scope": "readings.read",
}
KEY = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": "k1"})
FOREIGN = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": "k1"})
KEYS = KeySet([KEY])


def b64(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def without(name):
    return {k: v for k, v in CLAIMS.items() if k != name}


def sign(payload=CLAIMS, header=HEADER, key=KEY):
    """A token with exactly these bytes, signed as its header's alg says."""
    registry = JWSRegistry(algorithms=["ES256", "ES512", "Ed25519", "RS256", "HS256"])
    registry.strict_check_header = False
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return serialize_compact(header, raw, key, registry=registry)


def raw_header(header, payload=CLAIMS):
    """A token whose header is exactly these bytes, with a good ES256 signature."""
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    signed = f"{b64(header)}.{b64(json.dumps(payload).encode())}"
    der = KEY.raw_value.sign(signed.encode(), ec.ECDSA(SHA256()))
    r, s = utils.decode_dss_signature(der)
    return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def signing_input(alg):
    header = json.dumps({**HEADER, "alg": alg}).encode()
    return f"{b64(header)}.{b64(json.dumps(CLAIMS).encode())}"


def unsigned(alg="none", signature=""):
    return f"{signing_input(alg)}.{signature}"


def hs256_with_public_key(form):
    head = (
        f"{b64(json.dumps({**HEADER, 'alg': 'HS256'}).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    )
    return f"{head}.{b64(hmac.new(form, head.encode(), sha256).digest())}"


def stray(token):
    return token[:-1] + chr(ord(token[-1]) + 1)  # A, Q, g or w: its lower four bits are unused


def doubled(member):
    return json.dumps(CLAIMS)[:-1].encode() + b"," + member + b"}"


def test_a_good_token_says_who_and_what():
    found = check(sign(), KEYS, ISSUER, NOW_S)
    assert (found.client_id, found.scopes) == ("north", frozenset({"readings.read"}))
    assert check(sign(header={**HEADER, "typ": "application/at+jwt"}), KEYS, ISSUER, NOW_S)


def test_the_raw_signer_of_these_tests_signs_well():
    assert check(raw_header(json.dumps(HEADER).encode()), KEYS, ISSUER, NOW_S)


BAD = {
    "alg none": unsigned(),  # RFC 8725 §3.1: an algorithm that is not allowed is not tried
    "alg None": unsigned("None"),
    "alg none with a signature": unsigned("none", "AAAA"),
    "no signature": unsigned("ES256"),
    "a zero signature": unsigned("ES256", b64(bytes(64))),
    "HS256 with the public key as PEM": hs256_with_public_key(KEY.as_pem(private=False)),
    "HS256 with the public key as DER": hs256_with_public_key(KEY.as_der(private=False)),
    "HS256 with the JWK": hs256_with_public_key(json.dumps(KEY.as_dict(private=False)).encode()),
    "another key of the same kid": sign(key=FOREIGN),
    "RS256": sign(header={**HEADER, "alg": "RS256"}, key=RSAKey.generate_key(2048)),
    "Ed25519": sign(header={**HEADER, "alg": "Ed25519"}, key=OKPKey.generate_key("Ed25519")),
    "ES512": sign(header={**HEADER, "alg": "ES512"}, key=ECKey.generate_key("P-521")),
    "typ JWT": sign(header={**HEADER, "typ": "JWT"}),
    "typ missing": sign(header={"alg": "ES256", "kid": "k1"}),
    "typ no text": raw_header(b'{"alg":"ES256","typ":1,"kid":"k1"}'),
    "kid unknown": sign(header={**HEADER, "kid": "k9"}),
    "kid missing": sign(header={"alg": "ES256", "typ": "at+jwt"}),
    "kid no text": raw_header(b'{"alg":"ES256","typ":"at+jwt","kid":{}}'),
    "jwk": sign(header={**HEADER, "jwk": FOREIGN.as_dict(private=False)}, key=FOREIGN),
    "jku": sign(header={**HEADER, "jku": "https://evil.example/jwks"}),
    "x5u": sign(header={**HEADER, "x5u": "https://evil.example/x"}),
    "x5c": sign(header={**HEADER, "x5c": ["AAAA"]}),
    # RFC 7515 §5.2: what is not understood, or no JSON object, is not passed over
    "crit": raw_header(json.dumps({**HEADER, "crit": ["exp"]}).encode()),
    "crit unknown": raw_header(json.dumps({**HEADER, "crit": ["x"], "x": 1}).encode()),
    "b64 false": raw_header(json.dumps({**HEADER, "b64": False, "crit": ["b64"]}).encode()),
    "zip": raw_header(json.dumps({**HEADER, "zip": "DEF"}).encode()),
    "alg twice": raw_header(b'{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"k1"}'),
    "header no object": raw_header(b"[]"),
    "header no JSON": raw_header(b"{"),
    "header not UTF-8": raw_header(b'{"alg":"ES256","typ":"at+jwt","kid":"\xff"}'),
    "header too long": sign(header={**HEADER, "x": "a" * 600}),
    "header of 2 MB": "A" * 2_000_000 + "." + sign().split(".", 1)[1],
    "payload too long": sign({**CLAIMS, "x": "a" * 4096}),
    "payload no object": sign(b'"text"'),
    "payload nested deep": sign(b"[" * 2_000),
    "payload NaN": sign(doubled(b'"x":NaN')),
    "exp missing": sign(without("exp")),
    "exp text": sign({**CLAIMS, "exp": str(NOW_S + 60)}),
    "exp float": sign({**CLAIMS, "exp": NOW_S + 60.5}),
    "exp true": sign({**CLAIMS, "exp": True}),
    "exp null": sign({**CLAIMS, "exp": None}),
    "exp 1e400": sign(json.dumps(without("exp"))[:-1].encode() + b',"exp":1e400}'),
    # RFC 7519 §4: claim names are unique
    "exp twice": sign(doubled(b'"exp":%d' % (NOW_S + 300))),
    "exp passed": sign({**CLAIMS, "iat": NOW_S - 700, "exp": NOW_S - 100}),
    "exp now": sign({**CLAIMS, "iat": NOW_S - 600, "exp": NOW_S}),
    "exp too far": sign({**CLAIMS, "exp": NOW_S + 601}),
    "exp huge": sign({**CLAIMS, "exp": 10**30}),
    "iat missing": sign(without("iat")),
    "iat ahead": sign({**CLAIMS, "iat": NOW_S + 9000, "exp": NOW_S + 9600}),
    "iat text": sign({**CLAIMS, "iat": str(NOW_S)}),
    "nbf ahead": sign({**CLAIMS, "nbf": NOW_S + 100}),
    "nbf true": sign({**CLAIMS, "nbf": True}),
    "nbf text": sign({**CLAIMS, "nbf": "0"}),
    "iss other": sign({**CLAIMS, "iss": "https://evil.example"}),
    "iss with slash": sign({**CLAIMS, "iss": f"{ISSUER}/"}),
    "iss missing": sign(without("iss")),
    "aud other": sign({**CLAIMS, "aud": "https://evil.example/v1"}),
    "aud the issuer": sign({**CLAIMS, "aud": ISSUER}),
    "aud a list with ours": sign({**CLAIMS, "aud": [f"{ISSUER}/v1"]}),
    "aud a list with ours among others": sign({**CLAIMS, "aud": ["x", f"{ISSUER}/v1"]}),
    "aud missing": sign(without("aud")),
    "sub missing": sign(without("sub")),
    "sub another": sign({**CLAIMS, "sub": "all"}),
    "client_id missing": sign(without("client_id")),
    "client_id no text": sign({**CLAIMS, "client_id": 7, "sub": 7}),
    # RFC 6749 §A.1: visible characters and space
    "client_id with NUL": sign({**CLAIMS, "client_id": "a\0", "sub": "a\0"}),
    "client_id a lone surrogate": sign({**CLAIMS, "client_id": "\ud800", "sub": "\ud800"}),
    "jti missing": sign(without("jti")),
    "scope missing": sign(without("scope")),
    "scope a list": sign({**CLAIMS, "scope": ["readings.read"]}),
    "unknown client": sign({**CLAIMS, "client_id": "nobody", "sub": "nobody"}),
    "four pieces": sign() + ".AAAA",
    "two pieces": sign().rpartition(".")[0],
    # RFC 7515 §2: base64url without padding
    "padded": sign() + "=",
    "stray bits": stray(sign()),
    "no token": "x",
    "a JWE": "e30.e30.e30.e30.e30",
    "dots": "..",
}


@pytest.mark.parametrize("name", BAD)
def test_a_token_that_is_not_ours_is_refused(api, platform, name):
    platform.keys = KEYS
    if name.startswith("header of"):
        # the guard stands in front of the token
        assert api.get("/v1/readings", token=BAD[name]).status_code == 431
        with pytest.raises(TokenRefused):
            check(BAD[name], KEYS, ISSUER, NOW_S)
        return
    answer = api.get("/v1/readings", token=BAD[name])
    assert answer.status_code == 401, answer.text
    assert answer.json()["type"] == "urn:gridseal:problem:invalid-token"
    assert answer.headers["www-authenticate"] == 'Bearer realm="gridseal", error="invalid_token"'


def test_a_token_ends_after_600_seconds(api, platform):
    token = api.token("north")
    api.now_s += 599
    assert api.get("/v1/readings", token=token).status_code == 200
    api.now_s += 1
    assert api.get("/v1/readings", token=token).status_code == 401


def test_a_revoked_client_is_refused_at_once(api, platform):
    token = api.token("north")
    assert api.get("/v1/readings", token=token).status_code == 200
    platform.revoke("north")
    assert api.get("/v1/readings", token=token).status_code == 401
    del platform.clients["north"]
    assert api.get("/v1/readings", token=token).status_code == 401


def test_a_scope_that_was_taken_away_is_gone_at_once(api, platform):
    """RFC 6750 §3.1: insufficient_scope."""
    token = api.token("north")
    platform.enrol("north", "devices.read", "north")
    answer = api.get("/v1/readings", token=token)
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="readings.read"' in answer.headers["www-authenticate"]


def test_without_a_token_no_error_code_is_told(api):
    """RFC 6750 §3."""
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        answer = api.get("/v1/readings", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="gridseal"'


def test_a_token_in_the_url_is_refused(api):
    """RFC 6750 §2: one way alone; RFC 9700 §4.3.2: none in a URL."""
    token = api.token("north")
    for more in ({}, {"token": token}):
        answer = api.get(f"/v1/readings?access_token={token}", **more)
        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:gridseal:problem:invalid-request"


def test_two_authorization_headers_are_refused(api):
    """RFC 6750 §2.1."""
    header = ("Authorization", f"Bearer {api.token('north')}")
    assert api.get("/v1/readings", headers=[header, header]).status_code == 400


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_refused(at, mask):
    token = issue(KEYS, ISSUER, "north", "readings.read", NOW_S).encode()
    at %= len(token)
    changed = token[:at] + bytes([token[at] ^ mask]) + token[at + 1 :]
    with pytest.raises(TokenRefused):
        check(changed.decode("latin-1"), KEYS, ISSUER, NOW_S)


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}"))
def test_any_text_is_refused_and_nothing_else_happens(text):
    with pytest.raises(TokenRefused):
        check(text, KEYS, ISSUER, NOW_S)


def test_the_pieces_of_an_issued_token_are_canonical():
    for piece in issue(KEYS, ISSUER, "c", "", NOW_S).split("."):
        assert b64(urlsafe_b64decode(piece + "==")) == piece
