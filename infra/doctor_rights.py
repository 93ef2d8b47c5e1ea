"""The doctor on who may enter the servers: is it whom the registry knows?

A Mosquitto has accounts and an ACL, a Kafka has rights of consumers (docs/mosquitto.md,
docs/kafka.md). What the doctor has no way to look at, it says.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

from bal.errors import Stop, Unavailable
from bal.provide.feed import topics_of
from bal.registry import Registry
from infra.config import Config
from infra.data_folder import DataFolder
from infra.doctor_servers import FAULT, OK, WARNING, Check
from infra.mosquitto_accounts import PLATFORM_USERS, read_hashes
from infra.services import client_of
from infra.stores import Stores, apply
from infra.system_clock import SystemClock

NAMED_MAX = 3


def registry_of(folder: DataFolder) -> Registry:
    """As of what is stored. Raises Stop, Unavailable."""
    registry = Registry()
    with closing(Stores.open(folder, SystemClock(), read_only=True)) as stores:
        projector = stores.projector
        apply(projector.registry_records(projector.progress().size), registry)
    return registry


# -- Mosquitto ------------------------------------------------------------------------------------


def broker(folder: DataFolder, config: Config) -> Iterator[Check]:
    """Accounts and ACL of the broker that is collected from; nothing where there is none."""
    passwords, acl = _broker_files(folder.root, config)
    if passwords is None:
        if config.mosquitto.host:
            text = "its accounts and its ACL can't be looked at: mosquitto.accounts is not set"
            yield Check("broker", WARNING, text, "compare them with docs/mosquitto.md by hand")
        return
    if not passwords.is_file():
        text = f"there is no file of accounts at {passwords}"
        yield Check("broker", FAULT, text, "mend mosquitto.accounts, or `gridseal servers up`")
        return
    found = set(read_hashes(passwords))
    senders = [one for one in registry_of(folder).senders.values() if one.state == "active"]
    extra = found - {one.name for one in senders} - set(PLATFORM_USERS)
    missing = {one.name for one in senders if one.certificate_sha256} - found
    if lacking := set(PLATFORM_USERS) - found:
        text = f"the platform's own {_some(lacking)} can't enter"
        yield Check("broker", FAULT, text, "docs/mosquitto.md, What the broker needs")
    elif extra:
        text = f"{_some(extra)} may enter, and may not send"
        yield Check("broker", FAULT, text, "start the platform again: it takes them out")
    elif acl is not None and not _same_acl(acl):
        text = f"{acl} is not the ACL that keeps devices apart"
        yield Check("broker", FAULT, text, "`gridseal servers up` writes it again; then restart it")
    elif missing:
        text = f"{_some(missing)} may send, and can't enter the broker"
        remedy = "those that send by the broker: revoke them and enrol them again"
        yield Check("broker", WARNING, text, remedy)
    else:
        known = "its ACL is not looked at" if acl is None else "its ACL keeps them apart"
        text = f"{len(found) - len(PLATFORM_USERS)} devices have accounts; {known}"
        yield Check("broker", OK, text)


def _broker_files(root: Path, config: Config) -> tuple[Path | None, Path | None]:
    """Password file, and ACL where that is known."""
    if config.mosquitto.accounts:
        return Path(config.mosquitto.accounts), None
    if config.mosquitto.host or not (root / "servers" / "mosquitto").is_dir():
        return None, None
    from infra.servers.connect import read  # noqa: PLC0415 - embedded goes without

    at = read(root).mosquitto
    return (None, None) if at is None else (at.password_file, at.acl_file)


def _same_acl(path: Path) -> bool:
    from infra.servers.mosquitto import ACL  # noqa: PLC0415 - as above

    return path.is_file() and _rules(path.read_text(encoding="utf-8")) == _rules(ACL)


def _rules(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


# -- Kafka ----------------------------------------------------------------------------------------


def consumers(
    folder: DataFolder, rights: Callable[[Path], dict[str, set[str]]] | None = None
) -> Iterator[Check]:
    """Rights of aggregators at the Kafka of the local profile; nothing where there is none.

    rights: by principal what it may read, as `infra.kafka_grants.readers` tells it.
    """
    from infra.consumers_local import principal_of, rights_now  # noqa: PLC0415 - as above

    if not (folder.root / "servers" / "kafka").is_dir():
        return
    try:
        found = (rights or rights_now)(folder.root)
    except (Stop, Unavailable) as error:
        text = f"what aggregators may read can't be looked at: {error}"
        yield Check("consumers", WARNING, text, "`gridseal servers up`, then look again")
        return
    registry, wanted = registry_of(folder), {}
    for client_id in list(registry.clients):
        client = client_of(registry, client_id)
        if client is not None and client.state == "active":
            principal = principal_of(client_id)
            topics = topics_of(client)
            wanted[principal] = {*topics, principal, f"{principal}:*"} if topics else set()
    more = {name for name, may in found.items() if may - wanted.get(name, set())}
    less = {name for name, may in found.items() if may and wanted.get(name, set()) - may}
    if more:
        text = f"{_some(more)} may read more from Kafka than the registry says"
        remedy = "`gridseal client revoke` by the id behind `aggregator.`, once more if need be"
        yield Check("consumers", FAULT, text, remedy)
    elif less:
        text = f"{_some(less)} may read less from Kafka than the registry says"
        remedy = "revoke the client and add it again, with --kafka"
        yield Check("consumers", WARNING, text, remedy)
    else:
        readers = sum(1 for may in found.values() if may)
        yield Check("consumers", OK, f"{readers} read from Kafka what they may, and no more")


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:NAMED_MAX]
    rest = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(shown) + rest
