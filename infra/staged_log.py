"""Staged commits: as files, and made again in memory for who only reads (docs/spec/log.md)."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256

from bal.certify.log import Frontier
from bal.certify.tiles import TILE_WIDTH, TileNodes, split_bundle
from bal.certify.tree import leaf_hashes
from bal.model import Digest
from bal.ports import Commit, Heads
from infra.log_reader import Place

ENTRIES = "entries"  # the kind of a bundle; of a tile it is its level
_LENGTHS = [length.to_bytes(2, "big") for length in range(65_536)]


class Redone:
    """What is staged and not whole in the files, as the next start of a sequencer makes it.

    After a power cut a tile may be absent, or as long as it should be and something else.
    """

    def __init__(
        self,
        stored: Callable[[str, int, int], bytes],
        commits: Sequence[Commit],
        last_header: Place,
    ) -> None:
        """stored: at least the first `width` items of tile `n` of a kind, as the files have it.

        commits: all that is staged, in order; last_header: the place of the last one stored. Where
        the files lack what came before, or lead to another root, no tiles are made.
        """
        self._stored = stored
        self._made: dict[tuple[str, int], tuple[int, bytes]] = {}  # width and content
        self._missing = 0
        self.headers: list[tuple[Place, bytes]] = []  # in order; until the file has them
        if not commits:
            return
        try:
            self._make(commits)
        except (KeyError, ValueError):
            self._made = {}
        for commit in commits:
            places = [(commit.new.version, number) for number in range(len(commit.headers))]
            missing = zip(places, commit.headers, strict=True)
            self.headers += [one for one in missing if one[0] > last_header]
        self._missing = len(self.headers) + sum(
            not self._holds(*at, *one) for at, one in self._made.items()
        )

    def __len__(self) -> int:
        """How many tiles, bundles and headers the files lacked."""
        return self._missing

    def content(self, kind: str, n: int, width: int) -> bytes | None:
        """At least the first `width` items of a tile; None where only the files have them.

        Not looked for in the files, whatever they have: a narrower tile may lie there torn, beside
        a whole one.
        """
        made = self._made.get((kind, n))
        return made[1] if made is not None and made[0] >= width else None

    # -- TileReader, as far as a frontier needs it ----------------------------------------------

    def tile(self, level: int, n: int, width: int) -> bytes:
        """Hashes below the first staged commit. Raises KeyError."""
        return first_items(str(level), n, width, self._stored(str(level), n, width))

    # -- making ---------------------------------------------------------------------------------

    def _make(self, commits: Sequence[Commit]) -> None:
        start = commits[0].old.size
        frontier = Frontier(start, TileNodes(self).at(start))
        entries = [entry for commit in commits for entry in commit.entries]
        for level, hashes in frontier.extend(leaf_hashes(entries)).items():
            self._extend(str(level), start >> (8 * level), hashes)
        self._extend(ENTRIES, start, framed(entries))
        if frontier.head().root != commits[-1].new.root:
            raise ValueError("the files below the staging are of another log")

    def _extend(self, kind: str, start: int, items: Sequence[bytes]) -> None:
        n, width = divmod(start, TILE_WIDTH)
        begun = first_items(kind, n, width, self._stored(kind, n, width)) if width else b""
        for at in range(-width, len(items), TILE_WIDTH):
            added = items[max(0, at) : at + TILE_WIDTH]
            self._made[kind, n] = (width + len(added), begun + b"".join(added))
            n, width, begun = n + 1, 0, b""

    def _holds(self, kind: str, n: int, width: int, content: bytes) -> bool:
        try:
            return first_items(kind, n, width, self._stored(kind, n, width)) == content
        except KeyError:
            return False


def first_items(kind: str, n: int, width: int, content: bytes) -> bytes:
    """The first `width` hashes of a tile, or entries of a bundle. Raises KeyError for fewer."""
    if kind != ENTRIES:
        if len(content) < 32 * width:
            raise KeyError(f"tile {kind}/{n} has fewer than {width} hashes")
        return content[: 32 * width]
    try:
        entries = split_bundle(content)
    except ValueError as error:
        raise KeyError(f"bundle {n}: {error}") from error
    if len(entries) < width:
        raise KeyError(f"bundle {n} has fewer than {width} entries")
    return content[: sum(2 + len(entry) for entry in entries[:width])]


def framed(entries: Sequence[bytes]) -> list[bytes]:
    """Each with its uint16 length, as bundles have them."""
    return [_LENGTHS[len(entry)] + entry for entry in entries]


def encode_commit(commit: Commit) -> bytes:
    """The content of a file of the staging."""

    def row(heads: Heads) -> list[object]:
        return [heads.version, heads.size, heads.root.hex(), dict(heads.taken)]

    meta = json.dumps(
        {
            "old": row(commit.old),
            "new": row(commit.new),
            "entries": [len(entry) for entry in commit.entries],
            "headers": [len(header) for header in commit.headers],
        }
    ).encode()
    body = b"".join([len(meta).to_bytes(4, "big"), meta, *commit.entries, *commit.headers])
    return body + sha256(body).digest()


def decode_commit(data: bytes) -> Commit | None:
    """A staged commit; None where the file is not whole: then its swap never happened."""
    body = data[:-32]
    if len(data) < 36 or sha256(body).digest() != data[-32:]:
        return None
    at = 4 + int.from_bytes(body[:4], "big")
    meta = json.loads(body[4:at])
    pieces: dict[str, list[bytes]] = {"entries": [], "headers": []}
    for kind, found in pieces.items():
        for length in meta[kind]:
            found.append(body[at : at + length])
            at += length

    def heads(row: list[object]) -> Heads:
        version, size, root, taken = row
        assert isinstance(version, int)
        assert isinstance(size, int)
        assert isinstance(taken, dict)
        return Heads(version, size, Digest(bytes.fromhex(str(root))), taken)

    return Commit(heads(meta["old"]), heads(meta["new"]), pieces["entries"], pieces["headers"])
