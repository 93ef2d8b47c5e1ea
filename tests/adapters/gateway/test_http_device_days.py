"""GET /v1/device-days/{device}/{date}: who may, and what is refused."""

import json
from pathlib import Path

import pytest

from bal.errors import Rejected, Unavailable

VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "device_days.json").read_text()
)
DAY = "2026-01-15"


@pytest.fixture
def path(platform):
    device = platform.known[0].device
    platform.days[device] = json.dumps(VECTORS["documents"][1]["document"]).encode()
    return f"/v1/device-days/{device}/{DAY}"


def code(answer):
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


@pytest.mark.parametrize("document", VECTORS["documents"], ids=lambda case: case["name"])
def test_a_document_is_what_openapi_says(api, platform, path, document):
    platform.days[platform.known[0].device] = json.dumps(document["document"]).encode()
    answer = api.get(path, token=api.token("all"))
    assert answer.json() == document["document"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_parameters_reach_the_platform(api, platform, path):
    api.get(f"{path}?register=1.8.0&close=7", token=api.token("all"))
    api.get(path, token=api.token("all"))
    assert platform.calls[-2:] == [f"{DAY} 1.8.0 7", f"{DAY} None None"]


def test_without_the_right_there_is_nothing(api, platform, path):
    assert platform.known[0].group == "north"
    platform.enrol("stranger", "readings.read", "south")
    refused = api.get(path, token=api.token("stranger"))
    unknown = api.get(f"/v1/device-days/{'A' * 43}/{DAY}", token=api.token("all"))
    assert refused.json() == unknown.json()
    assert code(refused) == (404, "not-found")
    assert code(api.get(path)) == (401, "token-missing")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("/2026-02-30", "parameter-invalid"),
        ("/2026-1-5", "parameter-invalid"),
        ("/1969-12-31", "parameter-invalid"),
        ("/9999-12-31", "parameter-invalid"),
        (f"/{DAY}?close=0", "parameter-invalid"),
        (f"/{DAY}?close=01", "parameter-invalid"),
        (f"/{DAY}?register=", "parameter-invalid"),
        (f"/{DAY}?register=a%20b", "parameter-invalid"),
        (f"/{DAY}?close=1&close=2", "parameter-repeated"),
        (f"/{DAY}?as_of=1", "parameter-unknown"),
    ],
)
def test_what_is_odd_is_refused(api, path, change, found):
    answer = api.get(path.removesuffix(f"/{DAY}") + change, token=api.token("all"))
    assert code(answer) == (400, found)


@pytest.mark.parametrize(
    ("raised", "found"),
    [
        (
            Rejected("close-unknown", "The newest close is 0.", field="close"),
            (404, "close-unknown"),
        ),
        (Rejected("register-needed", "Several: a, b.", field="register"), (400, "register-needed")),
        (KeyError("erased"), (404, "not-found")),
        (Unavailable("not yet"), (503, "unavailable")),
    ],
)
def test_what_the_platform_refuses(api, platform, path, raised, found):
    platform.days[platform.known[0].device] = raised
    assert code(api.get(path, token=api.token("all"))) == found
