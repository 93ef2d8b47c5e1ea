"""The links of role processes to Kafka, Cassandra, Mosquitto and the chain are bad, under load.

Nothing that has a receipt is lost, no process ends, and all goes on by itself. First the links of
all processes are bad at once, each server's in another way; then one process alone has a bad link,
for longer than a member of Kafka's groups may be silent, and the others do its work.
GRIDSEAL_SOAK=1: each toxic of each link of each process, for 20 s.
"""

import os
from collections.abc import Iterator
from random import Random

import pytest

from infra.kafka_members import SESSION_S
from tests.bounded import until
from tests.faults.link import TOXICS
from tests.faults.role_ground import PATIENCE_S, SERVERS, RoleGround, role_ground

pytestmark = [
    pytest.mark.xdist_group("kafka"),
    pytest.mark.slow,
    # paho drops a socket unclosed where the collector ends in the middle of the TLS handshake
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket"),
]

SOAK = os.environ.get("GRIDSEAL_SOAK") == "1"
ALL_S = 20 if SOAK else 3
ONE_S = 20 if SOAK else SESSION_S + 1
ALONE = 4  # of the turns of one process, in CI
SEED = 20261122
FRONTS = ("collector", "gateway")
LINKS = (
    *((name, "kafka") for name in (*FRONTS, "worker", "sequencer", "storer")),
    *((name, "cassandra") for name in (*FRONTS, "worker", "sequencer", "storer", "anchorer")),
    ("collector", "mosquitto"),
    ("anchorer", "anvil"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleGround]:
    with role_ground(tmp_path_factory.mktemp("links")) as it:
        it.goes_on("the start")
        yield it


@pytest.mark.parametrize("turn", range(len(TOXICS)))
def test_the_links_of_all_roles_are_bad_each_servers_in_its_own_way(
    made: RoleGround, turn: int
) -> None:
    toxics = {name: TOXICS[(at + turn) % len(TOXICS)] for at, name in enumerate(SERVERS)}
    made.spoil(toxics, frozenset(), ALL_S)
    made.goes_on(", ".join(f"{toxic} of {name}" for name, toxic in toxics.items()))


def alone() -> list[tuple[str, str, str]]:
    """Process, server, toxic; in CI one of each toxic but the last, by seed."""
    every = [(name, server, toxic) for name, server in LINKS for toxic in TOXICS]
    if SOAK:
        return every
    chance = Random(SEED)
    links = chance.sample(LINKS, ALONE)
    return [(*link, toxic) for link, toxic in zip(links, chance.sample(TOXICS, ALONE), strict=True)]


@pytest.mark.parametrize(("name", "server", "toxic"), alone())
def test_one_process_alone_has_a_bad_link(
    made: RoleGround, name: str, server: str, toxic: str
) -> None:
    before = made.links[server].by.get(name, 0)
    made.spoil({server: toxic}, frozenset({name}), ONE_S)
    made.goes_on(f"{toxic} from {name} to {server}")
    until(
        lambda: made.links[server].by.get(name, 0) > before,
        f"something goes from {name} to {server}",
        PATIENCE_S,
    )


def test_at_the_end_all_that_was_accepted_is_certified_and_nothing_is_wrong(
    made: RoleGround,
) -> None:
    for name, server in LINKS:
        assert made.links[server].by.get(name, 0) > 0, f"no link from {name} to {server}"
    print({server: link.by for server, link in made.links.items()})
    told = made.finish()
    print(f"{told} receipts, {made.heads} heads")
    assert made.heads > 0
