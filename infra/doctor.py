"""`gridseal doctor`: is all well with a platform and its host? One sentence and one remedy each.

Looks only. It may run beside a platform, which it asks how it stands, and without one.
"""

import ctypes
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from web3 import Web3

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.errors import GridsealError
from bal.harmonise.instant import parse
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_setup import log_id
from infra.config import Config
from infra.control import call
from infra.data_folder import DataFolder, Facts
from infra.disk_watch import free_bytes
from infra.doctor_rights import broker, consumers
from infra.doctor_servers import FAULT, OK, WARNING, Check, ending, roles, servers
from infra.files import look_at_sqlite
from infra.key_signer import SEALED, last_signed
from infra.log_reader import Entries
from infra.outside import open_log
from infra.policy_file import ANCHOR_SLACK_S, ANCHOR_WITHIN
from infra.rpc_provider import remote_web3
from infra.stores import Stores, folder_of
from infra.system_clock import SystemClock

MARKS = {OK: "✔", WARNING: "–", FAULT: "✘"}
CLOCK_BEHIND_US = 5_000_000
CA_SOON, SERVER_SOON = timedelta(days=90), timedelta(days=2)
HEADS_LEFT_MIN = 100  # that the anchorer's balance should pay for
HEAD_GAS = 100_000
HEADERS_LOOKED_AT = 100_000  # back from the newest, for a tick
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
# File systems whose fsync or locks are a promise of somebody else.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "vboxsf", "afs", "ceph"}

Addresses = tuple[tuple[str, int], ...]


def examine(data: Path, config: Config, addresses: Addresses) -> list[Check]:
    """Every check, in the order in which a person would ask. Raises Stop("data-folder").

    addresses: of the gateway and of the intake, as `gridseal up` has them.
    """
    folder = folder_of(data)
    facts = folder.facts()
    assert facts is not None
    running = _running(folder)
    checks: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("platform", lambda: _platform(folder, running)),
        ("roles", lambda: roles(folder)),
        ("file system", lambda: _file_system(folder.root)),
        ("disk", lambda: _disk(folder, config)),
        ("permissions", lambda: _permissions(folder)),
        ("servers", lambda: servers(folder)),
        ("stores", lambda: _stores(folder)),
        ("clock", lambda: _clock(folder)),
        ("ports", lambda: _ports(folder, running, addresses)),
        ("certificates", lambda: _certificates(folder)),
        ("broker", lambda: broker(folder, config)),
        ("consumers", lambda: consumers(folder)),
        ("chain", lambda: _chain(folder, facts, config, running)),
        ("anchor", lambda: _anchor(folder, facts)),
    ]
    found: list[Check] = []
    for name, check in checks:
        try:
            found += check()
        except (GridsealError, OSError, ValueError) as error:
            remedy = "see to that first; `gridseal fsck` looks deeper"
            found.append(Check(name, FAULT, f"it can't be looked at: {error}", remedy))
    return found


def exit_of(checks: list[Check]) -> int:
    """0: all is well; 1: something is wrong; 2: something will be."""
    states = {check.state for check in checks}
    return 1 if FAULT in states else 2 if WARNING in states else 0


def _running(folder: DataFolder) -> dict[str, Any] | None:
    """What a running platform says of itself; None where none runs."""
    with suppress(GridsealError, OSError):
        status: dict[str, Any] = call(folder.root, "status", timeout_s=5)
        return status
    return None


def _platform(folder: DataFolder, running: dict[str, Any] | None) -> Iterator[Check]:
    if running is None:
        what = "no collector answers" if folder.has_roles else "none runs"
        yield Check("platform", OK, f"{what} on this folder")
        return
    ill = {name: said for name, said in running["health"].items() if said != "ok"}
    if ill:
        told = "; ".join(f"{name}: {said}" for name, said in ill.items())
        yield Check("platform", FAULT, f"it runs, and says {told}", "its log tells more")
    else:
        yield Check("platform", OK, f"it runs at {running['http'] or running['mqtt']}")


# -- the host -------------------------------------------------------------------------------------


def _file_system(root: Path) -> Iterator[Check]:
    kind = file_system(root, Path("/proc/self/mounts"))
    if kind in _NETWORK:
        remedy = "put the data folder on a local disk: an fsync or lock there is another's promise"
        yield Check("file system", FAULT, f"the data folder is on {kind}", remedy)
        return
    descriptor = os.open(root / "facts.json", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    yield Check("file system", OK, f"{kind or 'of unknown kind'}, and fsync works")


def file_system(path: Path, mounts: Path) -> str:
    """Kind of the file system that a path is on; "" where the host does not say (Linux does)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    place = str(path.resolve())
    for line in lines:
        _, at, of, *_ = line.split(" ")
        at = at.replace("\\040", " ")
        inside = place == at or place.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best):
            best, kind = at, of
    return kind


def _disk(folder: DataFolder, config: Config) -> Iterator[Check]:
    free, limits = free_bytes(folder.parts), config.limits
    text = f"{free / 2**30:.1f} GiB are free"
    if free < limits.disk_stop_bytes:
        yield Check("disk", FAULT, f"{text}: nothing is accepted", "make room")
    elif free < limits.disk_free_bytes:
        yield Check("disk", WARNING, f"{text}, less than limits.disk_free_bytes", "make room")
    else:
        yield Check("disk", OK, text)


def _permissions(folder: DataFolder) -> Iterator[Check]:
    open_ones, foreign = [], []
    secret = [folder.root, *folder.keys.rglob("*"), *folder.vault.rglob("*"), folder.keys,
              folder.vault]  # fmt: skip
    for path in secret:
        with suppress(FileNotFoundError):
            found = path.stat()
            name = str(path.relative_to(folder.root))
            if stat.S_IMODE(found.st_mode) & 0o077 and path.suffix != ".crt":
                open_ones.append(name)
            if found.st_uid != os.getuid():
                foreign.append(name)
    if open_ones:
        text = f"others may read {', '.join(sorted(open_ones)[:3])}"
        yield Check("permissions", FAULT, text, "chmod -R go-rwx DIR")
    elif foreign:
        text = f"{', '.join(sorted(foreign)[:3])} belong to another user"
        yield Check("permissions", WARNING, text, "run as the user that `gridseal up` runs as")
    else:
        yield Check("permissions", OK, "data folder, keys and vault are their owner's alone")


def _clock(folder: DataFolder) -> Iterator[Check]:
    newest, now_us = _newest_tick(folder), SystemClock().now_us()
    if newest is not None and now_us < newest - CLOCK_BEHIND_US:
        text = f"the clock is {(newest - now_us) // 1_000_000} s behind the log's newest tick"
        yield Check("clock", FAULT, text, "set it right, by NTP, before anything is accepted")
        return
    synchronised = _synchronised()
    if synchronised is False:
        text = "the system says that its clock is not synchronised"
        yield Check("clock", WARNING, text, "start an NTP client: times are part of what is proved")
    else:
        how = "synchronised" if synchronised else "the system does not say whether by NTP"
        yield Check("clock", OK, f"not behind the log; {how}")


def _newest_tick(folder: DataFolder) -> int | None:
    """Time of the newest public record that has one, in µs."""
    with closing(open_log(folder, SystemClock(), read_only=True)) as log:
        size = log.heads().size
        entries = Entries(log, size)
        sql = "SELECT header FROM header ORDER BY version DESC, number DESC LIMIT ?"
        with closing(look_at_sqlite(folder.log / "headers.db", "")) as db:
            for (header,) in db.execute(sql, (HEADERS_LOOKED_AT,)):
                data = jcs.decode(header)
                if data["epoch"] == OWN_SOURCE and int(data["first"]) < size:
                    record = jcs.decode(entries[int(data["first"])])
                    if "time" in record:
                        return parse(record["time"]).us
    return None


def _synchronised() -> bool | None:
    """As the kernel has it; None where it does not say."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _ports(
    folder: DataFolder, running: dict[str, Any] | None, addresses: Addresses
) -> Iterator[Check]:
    if folder.has_roles:  # any number of processes, each on an address of its own
        yield Check("ports", OK, "each role has its own; they are not looked at")
        return
    if running is not None:
        own = ", ".join(filter(None, (running["http"], running["mqtt"])))
        yield Check("ports", OK, f"the platform has its own: {own}")
        return
    taken = [f"{host}:{port}" for host, port in addresses if port and not _free(host, port)]
    if taken:
        text = f"{', '.join(taken)} {'is' if len(taken) == 1 else 'are'} in use by another process"
        yield Check(
            "ports", FAULT, text, "end that one, or give `gridseal up` another --http, --mqtt"
        )
    else:
        yield Check("ports", OK, "free: " + ", ".join(f"{h}:{p}" for h, p in addresses))


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
    return True


def _certificates(folder: DataFolder) -> Iterator[Check]:
    now, first = datetime.now(UTC), None
    yield from ending(folder)
    for name, soon, remedy in (
        ("ca.crt", CA_SOON, "make a new CA in time: every sender is enrolled anew under it"),
        ("server.crt", SERVER_SOON, "start the platform again: it makes a new one"),
    ):
        path = folder.keys / name
        if not path.exists():
            continue
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        first = min(ends, first or ends)
        if ends < now + soon:
            state = FAULT if ends < now else WARNING
            yield Check("certificates", state, f"{name} ends on {ends:%Y-%m-%d}", remedy)
            return
    said = f"the first ends on {first:%Y-%m-%d}" if first else "there are none yet"
    yield Check("certificates", OK, said)


# -- stores and chain -----------------------------------------------------------------------------


def _stores(folder: DataFolder) -> Iterator[Check]:
    with closing(Stores.open(folder, SystemClock(), read_only=True)) as stores:
        progress, stored = stores.projector.progress(), stores.customer_db.size()
        published = stores.log.checkpoint()
        size = stores.log.heads().size
        behind = max(0, size - stored)
    signed, _ = last_signed(folder.keys / "log.signed")
    remedy = "`gridseal fsck` names what differs; restore a backup as a successor log"
    if signed == SEALED:
        text = "this is an unpacked backup, by which nothing may be signed"
        yield Check("stores", FAULT, text, "`gridseal restore FILE.tar --data NEW`")
    elif max(stored, progress.size) > size or (published and published[0].size > size):
        yield Check("stores", FAULT, f"rows or checkpoint are ahead of the log's {size}", remedy)
    elif signed > size:
        text = f"the signer signed for {signed} entries, the log has {size}: it was put back"
        yield Check("stores", FAULT, text, remedy)
    else:
        text = f"all are of this version; the log has {size} entries"
        yield Check("stores", OK, text + (f", {behind} of them to be stored" if behind else ""))


def _chain(
    folder: DataFolder, facts: Facts, config: Config, running: dict[str, Any] | None
) -> Iterator[Check]:
    if running is not None and running["anchor"]["last_error"]:
        text = f"the anchorer says: {running['anchor']['last_error']}"
        yield Check("chain", FAULT, text, "docs/spec/limits-and-codes.md, The anchorer")
        return
    if not config.anchor.rpc_url:
        known = "the platform's own" if facts.chain_kind == "own" else "another; give --config"
        state = OK if facts.chain_kind == "own" else WARNING
        remedy = "" if state == OK else "give the configuration that `gridseal up` gets"
        yield Check("chain", state, f"{known}, contract {facts.contract or 'not made yet'}", remedy)
        return
    web3 = remote_web3(config.anchor.rpc_url)
    contract = AnchorContract(web3, config.anchor.contract)
    if contract.code_hash() != facts.code_hash:
        text = f"{config.anchor.contract} has other code than the log names"
        yield Check("chain", FAULT, text, "mend anchor.contract or anchor.rpc_url")
        return
    yield from _anchorer(web3, contract, folder, facts, config)


def _anchorer(
    web3: Web3, contract: AnchorContract, folder: DataFolder, facts: Facts, config: Config
) -> Iterator[Check]:
    file = Path(config.anchor.key_file) if config.anchor.key_file else folder.keys / "anchorer.key"
    ours = address_of(bytes.fromhex(file.read_text().strip().removeprefix("0x")))
    allowed = contract.anchorer_of(log_id(facts.origin))
    if allowed is None or allowed.lower() != ours.lower():
        text = f"the contract lets {allowed or 'nobody'} anchor this log, and this key is {ours}"
        log = "0x" + log_id(facts.origin).hex()
        remedy = f"the admin calls open({log}, {ours}, 0x0, 0), or replaceAnchorer"
        yield Check("chain", FAULT, text, remedy)
        return
    left = web3.eth.get_balance(Web3.to_checksum_address(ours)) // (
        HEAD_GAS * max(1, web3.eth.gas_price)
    )
    text = f"reached; the anchorer {ours} may anchor, and can pay for {left:,} heads"
    if left < HEADS_LEFT_MIN:
        yield Check("chain", WARNING if left else FAULT, text, f"send ether to {ours}")
    else:
        yield Check("chain", OK, text)


def _anchor(folder: DataFolder, facts: Facts) -> Iterator[Check]:
    journal = folder.chain / f"anchors-{facts.contract[2:10]}.db"
    within_s = ANCHOR_WITHIN * facts.anchor_interval_s + ANCHOR_SLACK_S
    with closing(open_log(folder, SystemClock(), read_only=True)) as log:
        size = log.heads().size
    sql = (
        "SELECT size, seen_us FROM attempt WHERE state IN ('anchored', 'final') ORDER BY size DESC"
    )
    row = None
    if journal.exists():
        with closing(look_at_sqlite(journal, "")) as db:
            row = db.execute(sql).fetchone()
    if row is None:
        yield Check(
            "anchor", WARNING, "no head of this log is on chain yet", "wait, or see `chain`"
        )
        return
    age_s = (SystemClock().now_us() - row[1]) // 1_000_000
    text = f"the newest is of {row[0]} of {size} entries, {timedelta(seconds=max(0, age_s))} ago"
    if row[0] < size and age_s > within_s:
        remedy = "start the platform, or see `chain`: verifiers call it overdue"
        yield Check("anchor", WARNING, text, remedy)
    else:
        yield Check("anchor", OK, text)
