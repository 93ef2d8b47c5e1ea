"""The static log, the JSON-RPC passage, health."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.certify.tiles import split_bundle, tile_index_path
from bal.certify.tree import leaf_hash
from infra.http_log import TilePath, parse_tile_path

IMMUTABLE = "public, max-age=31536000, immutable"


@given(st.none() | st.integers(0, 63), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_every_tile_has_its_address(level, n, width):
    text = f"{'entries' if level is None else level}/{tile_index_path(n)}"
    text += "" if width == 256 else f".p/{width}"
    assert parse_tile_path(text) == TilePath(level, n, width)


def test_the_example_of_the_standard():  # C2SP tlog-tiles
    assert parse_tile_path("0/x001/x234/067") == TilePath(0, 1_234_067, 256)
    assert parse_tile_path("0/x001/x234/067.p/8") == TilePath(0, 1_234_067, 8)


BAD_PATHS = [
    "",
    "0",
    "0/",
    "0/0",
    "0/67",
    "0/0067",
    "0/x000/067",
    "0/001/067",
    "0/x001/x067",
    "0/X001/067",
    "0/x001/67",
    "00/067",
    "01/067",
    "64/067",
    "-1/067",
    "+1/067",
    "٣/067",
    "0/٠٦٧",
    "0/067.p",
    "0/067.p/",
    "0/067.p/0",
    "0/067.p/08",
    "0/067.p/256",
    "0/067.p/999",
    "0/067.p/1/",
    "0/067/",
    "0//067",
    "entries/67",
    "entries/x000/000",
    "Entries/000",
    "data/000",
    "0/000\n",
    "0/../000",
    "0/" + "x001/" * 6 + "000",
    "0/000%00",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_any_other_address_is_404(api, path):
    assert parse_tile_path(path) is None
    from urllib.parse import quote

    assert api.get("/log/tile/" + quote(path)).status_code == 404


@given(st.text(alphabet="0123456789x/.pentris", max_size=24))
def test_what_is_taken_is_what_we_would_print(text):
    found = parse_tile_path(text)
    if found is not None:
        printed = f"{'entries' if found.level is None else found.level}/{tile_index_path(found.n)}"
        assert text == printed + ("" if found.width == 256 else f".p/{found.width}")


def test_tiles_and_entries_are_those_of_the_published_tree(api, platform):
    for n in range(300):
        platform.add("north", "north-1", n, str(n))
    platform.published = 310  # of 316
    entries = platform.entries()
    bundle = api.get("/log/tile/entries/000")
    assert bundle.headers["cache-control"] == IMMUTABLE
    assert bundle.headers["content-type"] == "application/octet-stream"
    assert split_bundle(bundle.content) == entries[:256]
    tile = api.get("/log/tile/0/001.p/54")
    assert tile.content == b"".join(map(leaf_hash, entries[256:310]))
    assert api.get("/log/tile/0/001.p/53").content == tile.content[:-32]
    assert len(api.get("/log/tile/1/000.p/1").content) == 32
    assert split_bundle(api.get("/log/tile/entries/001.p/54").content) == entries[256:310]
    for path in (
        "0/001",
        "0/001.p/55",  # stored, not yet published
        "entries/001.p/55",
        "entries/001",
        "1/000",
        "1/000.p/2",
        "1/001.p/1",
        "2/000.p/1",
        "63/000.p/1",
        "0/002.p/1",
        "0/x999/x999/x999/x999/999",
    ):
        assert api.get(f"/log/tile/{path}").status_code == 404


def test_a_tile_that_is_gone_is_404(api, platform, monkeypatch):
    def gone(*args):
        raise KeyError(args)

    monkeypatch.setattr(platform, "tile", gone)
    assert api.get("/log/tile/0/000.p/1").status_code == 404


def test_the_checkpoint_is_not_to_be_kept(api, platform):
    answer = api.get("/log/checkpoint")
    assert answer.text == "gridseal.invalid/test\n16\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    platform.published = 0
    assert api.get("/log/checkpoint").json()["type"] == "urn:gridseal:problem:no-checkpoint"
    assert api.get("/log/tile/0/000.p/1").status_code == 404


def test_rpc_passes_bytes_on(api):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = api.post("/rpc", b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}', headers=headers)
    assert answer.json()["result"] == "0x1"
    assert api.post("/rpc", b'{"jsonrpc":"2.0"}', headers=headers).status_code == 204


def test_rpc_has_a_media_type_and_a_limit(api):
    assert api.post("/rpc", b"{}").status_code == 415
    assert api.post("/rpc", b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    headers = {"Content-Type": "application/json"}
    assert api.post("/rpc", b"x" * 262_145, headers=headers).status_code == 413
    assert api.get("/rpc").status_code == 405


def test_health_is_503_when_a_part_is_not_well(api, platform):
    assert api.get("/healthz").json() == {"bus": "ok", "log": "ok"}
    platform.well["log"] = "the disk is full"
    answer = api.get("/healthz")
    assert (answer.status_code, answer.json()["log"]) == (503, "the disk is full")


def test_metrics(api):
    answer = api.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
