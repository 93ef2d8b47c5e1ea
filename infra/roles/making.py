"""The first start of a data folder that roles run on: keys, CA, contract, topics, facts.

Whichever process comes first makes it all, the others wait. What is made binds every later start:
`roles.json` says how many partitions there are, and that `gridseal up` has no place here.
"""

import fcntl
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bal.errors import Stop
from bal.ports import Clock
from infra.certificates import ensure_ca
from infra.config import Config
from infra.data_folder import ROLES, DataFolder, Facts
from infra.files import make_folder, replace_file
from infra.key_signer import KeySigner
from infra.log_signer import log_signer
from infra.outside import Outside, choose, open_log
from infra.roles.sqlite_channels import SqliteChannels
from infra.rules import running_rules

PARTITIONS = 4
PARTITIONS_MAX = 256

logger = logging.getLogger("gridseal.roles")


@dataclass(frozen=True, slots=True)
class Layout:
    """What of the topics never changes, as `roles.json` has it."""

    epoch: str  # 16 hex digits
    partitions: int
    v: str = "1"

    @property
    def topic(self) -> str:
        """Of raw messages."""
        return f"bal.raw.{self.epoch}"


@dataclass(frozen=True, slots=True)
class Made:
    """A data folder that is ready for a role, held together with those of the other roles."""

    folder: DataFolder
    config: Config
    facts: Facts
    layout: Layout
    outside: Outside  # as this process enters it; `outside.json` has the last one that started


Complete = Callable[[Config, Layout, bool], Config]
"""Completes a configuration by where servers are; makes what they lack at the first start."""


def layout_of(folder: DataFolder) -> Layout | None:
    """What `roles.json` says; None where there is none. Raises Stop("store-damaged")."""
    path = folder.root / ROLES
    if not path.exists():
        return None
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        found = Layout(str(kept["epoch"]), int(kept["partitions"]), str(kept["v"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Stop("store-damaged", f"{ROLES} is damaged: {error}") from error
    if found.v != Layout("", 0).v:
        raise Stop("store-damaged", f"{ROLES} is of a later version of Gridseal")
    return found


def begin(
    root: Path,
    config: Config,
    clock: Clock,
    *,
    partitions: int | None = None,
    complete: Complete = lambda config, layout, first: config,
    draw_epoch: Callable[[int], str] = lambda _: secrets.token_hex(8),
    own: Callable[[Config], Config] = lambda config: config,
) -> Made:
    """Make what is missing, hold the folder with the other roles, and tell what it is.

    partitions: for the first start; draw_epoch: where so many partitions are those of Kafka, it may
    have them already; own: how this role enters servers, where an audit by what `outside.json`
    keeps does otherwise. Raises Stop: stores-differ for a folder of `gridseal up` or
    where an earlier start kept things elsewhere, config-invalid, data-folder, data-folder-in-use.
    """
    folder = DataFolder(root)
    with _alone(root):
        folder.create()
        layout, facts = layout_of(folder), folder.facts()
        if facts is not None and layout is None:
            text = "`gridseal up` runs on this data folder; roles need one of their own"
            raise Stop("stores-differ", text)
        folder.lock(shared=True)
        if layout is None:
            layout = _first_layout(config, _checked(partitions or PARTITIONS), draw_epoch)
            replace_file(root / ROLES, json.dumps(asdict(layout)).encode() + b"\n")
        elif partitions not in {None, layout.partitions}:
            text = f"this folder's topics have {layout.partitions} partitions, for ever"
            raise Stop("stores-differ", text)
        config = complete(config, layout, facts is None)
        if config.kafka.bootstrap:
            config = replace(config, kafka=replace(config.kafka, topic=layout.topic))
        outside = choose(folder, config)
        if facts is None:
            if not config.kafka.bootstrap:
                SqliteChannels.make(make_folder(folder.bus), layout.epoch, layout.partitions)
            facts = _make_facts(folder, config, clock)
            folder.write_facts(facts)
        else:
            _check(facts, config)
    config = own(config)
    outside = replace(outside, kafka=config.kafka, cassandra=config.cassandra)
    return Made(folder, config, facts, layout, outside)


def note_ready(folder: DataFolder, **values: object) -> dict[str, Any]:
    """Keep in `ready.json` where the platform is reached now; all that is known."""
    path = folder.root / "ready.json"
    with _alone(folder.root, told=False):
        kept: dict[str, Any] = {}
        if path.is_file():
            kept = json.loads(path.read_bytes())
        kept |= {key: value for key, value in values.items() if value not in {"", None}}
        replace_file(path, json.dumps(kept).encode())
    return kept


@contextmanager
def _alone(root: Path, *, told: bool = True) -> Iterator[None]:
    """One process at a time makes things in the folder; told: say so where another one does."""
    try:
        make_folder(root)
        held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Stop("data-folder", f"{root} can't be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if told:
                logger.info("another process makes what the folder lacks; waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _first_layout(config: Config, partitions: int, draw_epoch: Callable[[int], str]) -> Layout:
    topic = config.kafka.topic
    if not topic:
        return Layout(draw_epoch(partitions), partitions)
    name, _, epoch = topic.rpartition(".")
    if name != "bal.raw" or not re.fullmatch("[0-9a-f]{16}", epoch):
        raise Stop("config-invalid", "kafka.topic is bal.raw.<epoch>, of 16 hex digits")
    return Layout(epoch, partitions)


def _checked(partitions: int) -> int:
    if not 1 <= partitions <= PARTITIONS_MAX:
        raise Stop("usage", f"--partitions is 1 to {PARTITIONS_MAX}")
    return partitions


def _make_facts(folder: DataFolder, config: Config, clock: Clock) -> Facts:
    """Keys, CA and contract; nothing of it is in the log yet."""
    from infra.chain_setup import open_chain  # noqa: PLC0415 - a second, at the first start only
    from infra.services import load_token_keys  # noqa: PLC0415 - as above

    origin = config.log.origin or f"gridseal.invalid/{secrets.token_hex(8)}"
    signer = log_signer(config.signer, folder, origin)
    intake = KeySigner(f"{origin}/intake", folder.seed("intake"))
    ensure_ca(folder.keys, clock)
    load_token_keys(folder.keys / "token.jwks")
    open_log(folder, clock).close()  # who only looks at it later makes nothing
    chain = open_chain(config.anchor, folder, origin, "")
    try:
        return Facts(
            origin=origin,
            log_key=signer.vkey,
            intake_key=intake.vkey,
            chain_id=chain.contract.chain_id,
            chain_kind=chain.kind,
            contract=chain.contract.address,
            code_hash=chain.contract.code_hash(),
            anchor_interval_s=config.anchor.interval_s,
            rules=running_rules(),
        )
    finally:
        chain.close()


def _check(facts: Facts, config: Config) -> None:
    """What a later start may not change. Raises Stop."""
    if config.log.origin not in {"", facts.origin}:
        raise Stop("origin-differs", f"the log of this folder is {facts.origin}, for ever")
    if config.anchor.contract.lower() not in {"", facts.contract.lower()}:
        text = f"the contract of roles can't be changed; it is {facts.contract}"
        raise Stop("config-invalid", text)
