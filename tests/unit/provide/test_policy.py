from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.provide.policy import (
    SCOPES,
    ClientInfo,
    group_of,
    may_read,
    readable_groups,
    usable_scopes,
)

groups = st.frozensets(st.sampled_from(["north", "south", "n", "north/1", ""]))
clients = st.builds(
    ClientInfo,
    client_id=st.just("c"),
    secret_sha256=st.just(b""),
    scopes=st.frozensets(st.sampled_from(sorted(SCOPES))),
    groups=st.none() | groups,
    state=st.sampled_from(["active", "revoked"]),
)


@given(clients, st.sampled_from(["north", "south", "n", "north/1", ""]))
def test_asking_for_one_group_and_for_all_gives_the_same_answer(
    client: ClientInfo, group: str
) -> None:
    readable = readable_groups(client)
    assert may_read(client, group) == (readable is None or group in readable)


@given(clients)
def test_a_revoked_client_reads_nothing_and_has_no_scope(client: ClientInfo) -> None:
    revoked = replace(client, state="revoked")
    assert readable_groups(revoked) == frozenset()
    assert usable_scopes(revoked, frozenset(SCOPES)) == frozenset()


@given(clients, st.frozensets(st.sampled_from([*SCOPES, "admin"])))
def test_a_token_is_never_good_for_more_than_the_client(
    client: ClientInfo, granted: frozenset[str]
) -> None:
    assert usable_scopes(client, granted) <= client.scopes & granted


def test_no_group_no_row() -> None:
    client = ClientInfo("c", b"", frozenset(SCOPES), frozenset())
    assert not may_read(client, "")
    assert not may_read(client, "north")


@pytest.mark.parametrize(
    ("shard", "group"), [("north/0", "north"), ("a/b/17", "a/b"), ("/0", ""), ("north", "")]
)
def test_the_group_of_a_shard(shard: str, group: str) -> None:
    assert group_of(shard) == group


def test_a_secret_is_not_printed() -> None:
    assert "secret" not in repr(ClientInfo("c", b"digest", frozenset(), None))
