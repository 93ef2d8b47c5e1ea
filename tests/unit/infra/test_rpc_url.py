"""What of the chain's endpoint is shown: never a key."""

import pytest
import requests

from bal.certify.verify_policy import parse_policy
from infra.chain_errors import _sentence
from infra.data_folder import Facts
from infra.policy_file import policy_of
from infra.rpc_url import names_a_key, shown
from tests.vectors.vector_log import CONTRACT, INTAKE_KEY, LOG_KEY, ORIGIN

KEY = "9aa3d95b3bc440fa88ea12eaa4456161"


@pytest.mark.parametrize(
    ("url", "seen", "key"),
    [
        ("https://rpc.example/", "https://rpc.example/", False),
        ("https://rpc.example:8545/eth/v1", "https://rpc.example:8545/eth/v1", False),
        ("http://[::1]:8545", "http://[::1]:8545", False),
        (f"https://user:{KEY}@rpc.example/eth", "https://rpc.example/eth", False),
        (f"https://rpc.example/eth?apikey={KEY}#{KEY}", "https://rpc.example/eth", False),
        (f"https://rpc.example/v3/{KEY}", "https://rpc.example/v3/***", True),
        (f"https://rpc.example/{KEY}/eth", "https://rpc.example/***/eth", True),
        ("https://rpc.example/v2/AbCd_efGh-1234567890xy", "https://rpc.example/v2/***", True),
        ("https://rpc.example/" + "a" * 19, "https://rpc.example/" + "a" * 19, False),
        ("https://rpc.example/" + "a" * 20, "https://rpc.example/***", True),
    ],
)
def test_what_is_shown(url: str, seen: str, key: bool) -> None:
    assert (shown(url), names_a_key(url)) == (seen, key)
    assert (shown(seen), names_a_key(seen)) == (seen, key)
    assert KEY not in shown(url)


FACTS = Facts(ORIGIN, LOG_KEY.vkey, INTAKE_KEY.vkey, 5, "consortium", CONTRACT, "", 1, "")


@pytest.mark.parametrize("url", [f"https://rpc.example/v3/{KEY}", "https://rpc.example/v3/***"])
def test_a_policy_leaves_an_endpoint_with_a_key_out_and_says_so(url: str) -> None:
    text = policy_of(FACTS, "https://localhost:8443", url, 0)
    assert "rpc.example" not in text
    assert "#gridseal chain 5 consortium -\n" in text
    assert "--rpc" in text
    policy = parse_policy(text.encode())
    assert policy.chain is not None
    assert policy.chain.rpc_urls == ()


def test_a_policy_names_an_endpoint_without_its_query() -> None:
    url = f"https://rpc.example/eth?key={KEY}"
    text = policy_of(FACTS, "https://localhost:8443", url, 0)
    assert "#gridseal chain 5 consortium https://rpc.example/eth\n" in text
    assert "--rpc" not in text


@pytest.mark.parametrize(
    "text",
    [
        f"HTTPSConnectionPool(port=443): Max retries exceeded with url: /v3/{KEY} (Caused by …)",
        f"401 Client Error: Unauthorized for url: https://rpc.example/v3/{KEY}?a=b",
    ],
)
def test_an_error_of_the_chain_quotes_no_url(text: str) -> None:
    sentence = _sentence(requests.ConnectionError(text))
    assert "url: ***" in sentence
    assert KEY not in sentence
