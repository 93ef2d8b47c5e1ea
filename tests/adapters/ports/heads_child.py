"""Races for version after version of a heads row: `python heads_child.py KIND WHERE… NAME RACES`.

Prints which it won as one JSON object.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from heads_suite import heads

from bal.errors import Stop, Unavailable
from infra.cassandra_heads import CassandraHeads
from infra.cassandra_schema import LOG
from infra.cassandra_session import CassandraAddress
from infra.heads_row import HeadsRow, SqliteHeads
from infra.servers.connect import read

T = TypeVar("T")


def opened(kind: str, where: list[str]) -> HeadsRow:
    if kind == "sqlite":
        return SqliteHeads(Path(where[0]))
    at = read(Path(where[0])).cassandra
    assert at is not None
    return CassandraHeads.connect(
        where[1],
        CassandraAddress(
            [at.host], at.port, at.ca, at.client.certificate, at.client.key, "sequencer",
            at.roles["sequencer"].password_file, LOG,
        ),
    )  # fmt: skip


def patiently(call: Callable[[], T]) -> T:
    """Two that race for one row hinder each other; whoever is told so asks again."""
    while True:
        try:
            return call()
        except Unavailable:
            continue


def main() -> None:
    kind, *where, name, races = sys.argv[1:]
    row = opened(kind, where)
    told = {}
    for version in range(1, int(races) + 1):
        now = patiently(row.read)
        old = now if now.version == version - 1 else heads(version - 1, "nobody")
        try:
            patiently(partial(row.swap, old, heads(version, name)))
            told[version] = "won"
        except Stop as stop:
            told[version] = stop.code
    row.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
