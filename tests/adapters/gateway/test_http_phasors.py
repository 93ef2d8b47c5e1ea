"""GET /v1/phasors/{index}/frames, and a receipt's `frame`."""

import json

import pytest

FRAMES = [b'{"readings":[],"time":"2026-01-15T10:00:00Z"}', b'{"readings":[],"time":"x"}']


@pytest.fixture
def window(platform):
    """Row 0, of group north, is a window; so is row 2, of another group."""
    for index in (2, 0):
        row = platform.rows[index]
        platform.rows[index] = row._replace(
            kind="phasors", record=b"\n".join([row.record, *FRAMES])
        )
    return row


def test_frames_are_given_as_they_are_certified(api, window):
    answer = api.get("/v1/phasors/0/frames", token=api.token("north"))
    assert answer.status_code == 200
    assert answer.content == b"[" + b",".join(FRAMES) + b"]"


def test_the_record_stands_in_a_page_without_them(api, window):
    answer = api.get("/v1/readings?kind=phasors", token=api.token("north"))
    assert [item["record"] for item in answer.json()["items"]] == [json.loads(window.record)]
    assert FRAMES[0] not in answer.content


@pytest.mark.parametrize(("client", "index"), [("north", "2"), ("north", "4"), ("north", "99")])
def test_frames_without_the_right_look_like_none(api, window, client, index):
    answer = api.get(f"/v1/phasors/{index}/frames", token=api.token(client))
    assert answer.status_code == 404
    assert answer.content == api.get("/v1/receipts/98", token=api.token(client)).content


def test_a_receipt_without_such_a_frame(api, window):
    token = api.token("north")
    assert api.get("/v1/receipts/0", token=token).status_code == 200
    assert api.get("/v1/receipts/0?frame=2", token=token).status_code == 404


@pytest.mark.parametrize("text", ["-1", "01", "x", "", "9" * 30])
def test_what_is_no_number_of_a_frame(api, window, text):
    answer = api.get(f"/v1/receipts/0?frame={text}", token=api.token("north"))
    assert answer.status_code == 400
    assert answer.json()["field"] == "frame"
