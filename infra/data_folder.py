"""The data folder of one platform: where everything lies, its lock, keys and facts."""

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bal.errors import Stop
from infra.files import make_folder, make_private, replace_file
from infra.key_signer import load_or_make_seed

FACTS = "facts.json"
LOCK = "lock"
OUTSIDE = "outside.json"  # which stores are servers, infra/outside.py
ROLES = "roles.json"  # that roles run on it, infra/roles/making.py


@dataclass(frozen=True, slots=True)
class Facts:
    """What is public of a platform and must not change by itself."""

    origin: str
    log_key: str  # C2SP vkey
    intake_key: str  # C2SP vkey
    chain_id: int
    chain_kind: str  # own, consortium, public
    contract: str
    code_hash: str  # keccak256 of the contract's runtime code, 0x…
    anchor_interval_s: int
    rules: str  # digest of the newest `rules` record
    # Origin, log_key, size and root of the logs that this one goes on behind, the newest last.
    predecessors: list[dict[str, str]] = field(default_factory=list)


class DataFolder:
    """Paths below DIR. `lock` makes sure that one platform at a time runs on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = root / "keys"
        self.bus = root / "bus"
        self.log = root / "log"
        self.customer_db = root / "scd"
        self.archive = root / "archive"
        self.vault = root / "vault"
        self.chain = root / "chain"
        self._lock: int | None = None

    @property
    def parts(self) -> list[Path]:
        """Every folder that may be a mount of its own."""
        return [self.root, self.bus, self.log, self.customer_db, self.archive, self.vault,
                self.chain]  # fmt: skip

    def create(self) -> None:
        """Make the folders (0700). Raises Stop("data-folder") where that is not possible.

        A folder with other things in it is not taken: they would be mixed for ever.
        """
        try:
            found = {path.name for path in self.root.iterdir()} if self.root.exists() else set()
            if found and not found & {FACTS, LOCK, "servers"}:
                raise Stop("data-folder", f"{self.root} holds other files: name an empty folder")
            make_folder(self.root)
            make_private(self.root / LOCK)  # first: a start that ends here is gone on with
            for folder in (self.keys, self.customer_db, self.archive, self.vault, self.chain):
                make_folder(folder)
        except OSError as error:
            raise Stop("data-folder", f"{self.root} can't be used: {error.strerror}") from error

    def check(self) -> None:
        """Raises Stop("data-folder") where no platform ever ran."""
        if not (self.root / FACTS).is_file():
            raise Stop("data-folder", f"{self.root} is no data folder of Gridseal")

    def lock(self, *, shared: bool = False) -> None:
        """Hold the folder until this process ends. Raises Stop("data-folder-in-use").

        shared: with others that hold it so, as the roles of one platform do.
        """
        self._lock = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise Stop("data-folder-in-use", f"a platform already runs on {self.root}") from error

    @property
    def has_roles(self) -> bool:
        """Whether roles run on it, and not `gridseal up`."""
        return (self.root / ROLES).exists()

    @property
    def partitions(self) -> int:
        """Of the topics of roles; 0 where `gridseal up` runs on it. Raises Stop."""
        if not self.has_roles:
            return 0
        try:
            return int(json.loads((self.root / ROLES).read_bytes())["partitions"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Stop("store-damaged", f"{ROLES} is damaged: {error}") from error

    def unlock(self) -> None:
        """Let others run on it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def seed(self, name: str) -> bytes:
        """The 32 secret bytes of a key, made at the first start (0600)."""
        return load_or_make_seed(self.keys / f"{name}.key", secrets.token_bytes(32))

    def facts(self) -> Facts | None:
        """What was decided at the first start; None before it."""
        path = self.root / FACTS
        return Facts(**json.loads(path.read_text())) if path.is_file() else None

    def write_facts(self, facts: Facts) -> None:
        """Keep the facts, durably."""
        replace_file(self.root / FACTS, json.dumps(asdict(facts), indent=1).encode() + b"\n")
