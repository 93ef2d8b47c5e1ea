"""Which messages were committed before: a retry is answered with its first one's place."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from bal.ports import RawArchive
from infra.committed import Committed

Key: TypeAlias = tuple[str, bytes]  # how a message is known again: credential, SHA-256 of its bytes
Summary: TypeAlias = Mapping[str, object]


class Retries:
    """The archive, and what is on its way there. `stored` may be called from another thread."""

    def __init__(self, archive: RawArchive) -> None:
        self._archive = archive
        self._recent: dict[Key, Committed] = {}

    def note(self, key: Key, commit: Committed) -> None:
        """A message was committed."""
        self._recent[key] = commit

    def stored(self, commits: Iterable[Committed]) -> None:
        """The archive has them."""
        for commit in commits:
            self._recent.pop((commit.worked.message.credential, commit.message_id), None)

    def firsts(self, keys: Sequence[Key]) -> dict[Key, Summary]:
        """The summaries of those messages that were committed before, by key."""
        # In this order: a message is taken out of `_recent` once the archive has it.
        recent = {key: found for key in keys if (found := self._recent.get(key)) is not None}
        kept = self._archive.summaries({key for key in keys if key not in recent})
        firsts: dict[Key, Summary] = {key: json.loads(text) for key, text in kept.items()}
        return firsts | {key: found.as_json() for key, found in recent.items()}
