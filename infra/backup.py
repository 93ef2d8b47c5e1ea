"""`gridseal backup` and `gridseal restore`: a copy as of one moment, and the log that follows it.

A restored store never signs as the old log: that one may have gone on, and two logs of one name are
a fork. It opens a successor, whose entries below `size` are the predecessor's, and whose genesis
names it (docs/spec/log.md, docs/decisions/0011). A backup has no key of the log: it could not be
used for anything right.

A backup is of files alone, whatever servers the platform uses: infra/data_copy.py brings what they
have into it. A restored platform is one of files, too, and of the same kind.
"""

import fcntl
import io
import json
import os
import re
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bal.certify.log import Sequencer, genesis, target
from bal.errors import Rejected, Stop, Unavailable
from bal.ports import Heads
from bal.times import rfc3339
from infra.anchor_contract import address_of
from infra.certificates import create_ca
from infra.chain_setup import OpenChain, log_id, open_chain
from infra.config import AnchorConfig, Config
from infra.copy_projection import project
from infra.data_copy import LOG_KEYS, check_outside, copy_data
from infra.data_folder import DataFolder, Facts
from infra.file_log import FileLog
from infra.files import make_folder, open_sqlite, sync_file, sync_folder
from infra.fsck import fsck
from infra.key_signer import CheckpointSigner, KeySigner
from infra.services import load_token_keys
from infra.system_clock import SystemClock

MANIFEST = "backup.json"
VERSION = "gridseal.backup/1"
_MANIFEST_BYTES_MAX = 64 * 1024
_DATED = "gridseal-*T*Z.tar"
_IN, _OUT = "included", "left out"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup file is of."""

    origin: str
    size: int  # entries of the log
    root: str  # hex
    time: str  # RFC 3339
    keys: bool  # whether CA, chain and token keys are in it
    rows: bool  # whether what is projected of the log is in it


def backup(data: Path, to: Path, *, keys: bool = True, rows: bool = True) -> Backup:
    """Write a backup of the data folder at `data`, also while a platform runs on it.

    The file (0600) holds the vault: who may read it knows who is who and can open every record.
    keys: the keys of CA, chain and tokens, too; never those of log and intake. rows: those of the
    customer database; without them `restore` makes them again, which the rules of its version can
    where they made them. Raises Stop("out-exists"), Stop("usage"), Stop as copy_data, Unavailable,
    OSError.
    """
    if to.exists():
        raise Stop("out-exists", f"{to} exists already: name a new file")
    if not to.parent.is_dir():
        raise Stop("usage", f"--to {to}: there is no folder {to.parent}")
    check_outside(data, to)
    work = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        copy = work / "data"
        copy_data(data, copy, keys=keys, log_keys=False, rows=rows)
        made = _described(copy, keys=keys, rows=rows)
        _write_tar(work / "tar", copy, made)
        (work / "tar").rename(to)
        sync_folder(to.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return made


def backup_in(
    folder: Path, data: Path, keep: int, *, keys: bool = True, rows: bool = True
) -> tuple[Path, Backup]:
    """As `backup`, to a file in `folder` that the time names.

    keep: so many files of that kind stay there, the newest, once this one is whole; 0: all. What
    backups that were killed left there is removed. Raises as `backup`, and Unavailable where
    another one is being made there.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another backup is being made in {folder}") from None
        for left in folder.glob(f".{_DATED}.*"):
            shutil.rmtree(left)
        time = rfc3339(SystemClock().now_us())
        to = folder / f"gridseal-{re.sub('[-:]|[.][0-9]+', '', time)}.tar"
        made = backup(data, to, keys=keys, rows=rows)
        for old in sorted(folder.glob(_DATED))[: -keep if keep else 0]:
            old.unlink()
    finally:
        os.close(held)
    return to, made


def _described(copy: Path, *, keys: bool, rows: bool) -> Backup:
    facts = DataFolder(copy).facts()
    assert facts is not None
    heads = _heads(DataFolder(copy))
    now = rfc3339(SystemClock().now_us())
    return Backup(facts.origin, heads.size, heads.root.hex(), now, keys, rows)


def _heads(folder: DataFolder) -> Heads:
    with closing(FileLog(folder.log, SystemClock(), read_only=True)) as log:
        return log.heads()


def _write_tar(path: Path, copy: Path, made: Backup) -> None:
    described = {"v": VERSION, "origin": made.origin, "size": str(made.size), "root": made.root,
                 "time": made.time, "keys": _IN if made.keys else _OUT,
                 "rows": _IN if made.rows else _OUT}  # fmt: skip
    manifest = json.dumps(described, indent=1).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        first = tarfile.TarInfo(MANIFEST)
        first.size, first.mode = len(manifest), 0o600
        tar.addfile(first, io.BytesIO(manifest))
        for member in sorted(copy.rglob("*")):
            info = tar.gettarinfo(member, arcname=f"data/{member.relative_to(copy)}")
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if member.is_file():
                with member.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    sync_file(path)


# -- restore --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore made."""

    of: Backup
    origin: str  # of the successor log
    log_key: str
    on_chain: bool  # whether the contract knows the new log; else its admin must open it
    log: str  # 0x…, what the contract calls it
    anchorer: str  # address; "" where the key is not in the data folder


def restore(file: Path, data: Path, origin: str = "", config: Config | None = None) -> Restored:
    """Make a new data folder of a backup: a successor log, that no platform has begun yet.

    origin: of the new log; "" makes one. config: of the platform that is to run on it: its rows,
    and its heads row, go to the Cassandra that it names. What is restored is checked first, by
    fsck. Raises Stop("backup-invalid"), Stop("backup-damaged"), Stop("data-folder"), Stop as
    infra.outside.choose, Unavailable, OSError.
    """
    config = config or Config()
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise Stop("data-folder", f"{data} holds other files: name an empty folder")
    make_folder(data.parent)
    work = Path(tempfile.mkdtemp(prefix=f".{data.name}.", dir=data.parent))
    try:
        of = _extract(file, work)
        folder = DataFolder(work / "data")
        if not of.rows:
            project(folder)
        _check(folder)
        done = _succeed(folder, of, origin, config.anchor)
        if config.cassandra.hosts:
            from infra.restore_servers import move  # noqa: PLC0415 - files go without its clients

            move(folder, config)
        (work / "data").rename(data)
        sync_folder(data.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done


def _extract(file: Path, to: Path) -> Backup:
    with _translated(file), tarfile.open(file, "r:") as tar:
        first = tar.next()
        content = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
        if content is None:
            raise Stop("backup-invalid", f"{file} is no backup of Gridseal")
        said = json.loads(content.read(_MANIFEST_BYTES_MAX))
        if said["v"] != VERSION:
            raise Stop("backup-invalid", f"{file} is of form {said['v']}, this program's {VERSION}")
        made = Backup(
            said["origin"], int(said["size"]), said["root"], said["time"],
            said["keys"] == _IN, said.get("rows", _IN) == _IN,
        )  # fmt: skip
        while (member := tar.next()) is not None:
            if not member.name.startswith("data/") or not (member.isfile() or member.isdir()):
                raise Stop("backup-invalid", f"{file} holds {member.name!r}, which no backup does")
            tar.extract(member, to, filter="data")
    folder = DataFolder(to / "data")
    folder.check()
    for path in (folder.root, *folder.root.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    heads = _heads(folder)
    if (heads.size, heads.root.hex()) != (made.size, made.root):
        raise Stop("backup-damaged", f"{file} holds another log than it says")
    return made


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise Stop("backup-damaged", f"{file}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Stop("backup-invalid", f"{file} is no backup of Gridseal: {error}") from error


def _check(folder: DataFolder) -> None:
    found = fsck(folder.root).differences
    if found:
        first = f"{found[0].check}: {found[0].where}: {found[0].text}"
        raise Stop("backup-damaged", f"fsck finds {len(found)} differences in it, first {first}")


def _succeed(folder: DataFolder, of: Backup, origin: str, anchor: AnchorConfig) -> Restored:
    """New names and keys, and the successor's genesis as the next entry."""
    old = folder.facts()
    assert old is not None
    origin = origin or _successor(old.origin)
    if origin in {old.origin, *(one["origin"] for one in old.predecessors)}:
        raise Rejected("origin-taken", f"{origin} is the old log's: a successor has another name")
    _set_aside(folder, len(old.predecessors) + 1, whole_chain=not of.keys)
    for name in LOG_KEYS:
        (folder.keys / name).unlink(missing_ok=True)
    signer = CheckpointSigner(origin, folder.seed("log"), folder.keys / "log.signed")
    intake = KeySigner(f"{origin}/intake", folder.seed("intake"))
    before = {"origin": old.origin, "log_key": old.log_key, "size": str(of.size), "root": of.root}
    _make_access(folder)
    new = replace(
        old, origin=origin, log_key=signer.vkey, intake_key=intake.vkey,
        predecessors=[*old.predecessors, before],
    )  # fmt: skip
    new, opened, anchorer = _on_chain(folder, new, anchor)
    now_us, interval_s = SystemClock().now_us(), old.anchor_interval_s
    record = genesis(origin, signer.vkey, intake.vkey, interval_s, now_us, predecessor=before)
    public = [record, *_target(old, new)]
    with closing(open_sqlite(folder.log / "published.db", "")) as db:
        db.execute("DELETE FROM published")  # the old log's: the first start publishes anew
    with closing(FileLog(folder.log, SystemClock())) as log:
        Sequencer(log, log, signer, origin).commit([], public)
    folder.write_facts(new)
    return Restored(of, origin, signer.vkey, opened, "0x" + log_id(origin).hex(), anchorer)


def _make_access(folder: DataFolder) -> None:
    """A CA and keys of tokens where the backup has none: roles make them at no later start."""
    if not (folder.keys / "ca.crt").exists():
        create_ca(folder.keys, SystemClock())
    load_token_keys(folder.keys / "token.jwks")


def _target(old: Facts, new: Facts) -> list[bytes]:
    """What the log says of where its heads go from here on, if that is elsewhere."""
    if (old.contract, old.chain_id) == (new.contract, new.chain_id):
        return []
    return [target(new.chain_id, new.chain_kind, new.contract, new.code_hash)]


def _successor(origin: str) -> str:
    """A name for the log that follows; `gridseal.invalid/…` stays nobody's."""
    base = "gridseal.invalid" if origin.startswith("gridseal.invalid/") else origin.rstrip("/")
    return f"{base}/{secrets.token_hex(8)}"


def _set_aside(folder: DataFolder, number: int, *, whole_chain: bool) -> None:
    """What is about the old log: its facts, and its journals, whose heads are not the new one's.

    whole_chain: the platform's own chain, too, where the keys to write to it are not there.
    """
    aside = make_folder(folder.root / "predecessors" / str(number))
    shutil.copy2(folder.root / "facts.json", aside / "facts.json")
    for path in sorted(folder.chain.glob("*")):
        if path.name != "chain.db" or whole_chain:
            path.rename(make_folder(aside / "chain") / path.name)


def _on_chain(folder: DataFolder, facts: Facts, anchor: AnchorConfig) -> tuple[Facts, bool, str]:
    """Open the new log in the contract of the own chain; on another its admin must.

    The facts with the contract, whether it is open there, and the anchorer's address. A chain for
    development is nobody's to find again: what was on one goes on in the folder, or on the one that
    `anchor` says to deploy a contract on.
    """
    if facts.chain_kind != "own" or (anchor.rpc_url and not anchor.deploy):
        here = (folder.keys / "anchorer.key").exists()
        return facts, False, address_of(folder.seed("anchorer")) if here else ""
    there = (folder.chain / "chain.db").exists() and not anchor.rpc_url
    chain = open_chain(anchor, folder, facts.origin, facts.contract if there else "")
    try:
        anchorer = address_of(chain.anchorer_key)
        if there:
            chain.contract.open(log_id(facts.origin), anchorer, folder.seed("admin"))
        return _with_contract(facts, chain), True, anchorer
    finally:
        chain.close()


def _with_contract(facts: Facts, chain: OpenChain) -> Facts:
    contract = chain.contract
    return replace(
        facts, chain_id=contract.chain_id, chain_kind=chain.kind, contract=contract.address,
        code_hash=contract.code_hash(),
    )  # fmt: skip


def described(done: Restored) -> Mapping[str, object]:
    """For `--json`."""
    return {
        "predecessor": {"origin": done.of.origin, "size": str(done.of.size), "root": done.of.root},
        "origin": done.origin,
        "log_key": done.log_key,
        "log": done.log,
        "anchorer": done.anchorer,
        "open_on_chain": done.on_chain,
    }
