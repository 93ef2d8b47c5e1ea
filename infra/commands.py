"""Commands of the operator on their way: each is one message, however often it is given.

Where a bus stands still, nobody can say in time whether it has a command, and it may come into
force later. So its bytes are kept until that is known: given again they are the same message, of
which the worker takes one, and whoever gave it gets what it made the first time.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from secrets import token_hex
from typing import Any, TypeVar

from bal import jcs
from bal.errors import Rejected
from bal.pipeline import COMMAND_FORMAT, OPERATOR

KEPT_MAX = 1_000

T = TypeVar("T")
Key = tuple[str, str]  # what is commanded, and of which name
Command = dict[str, Any]
Made = tuple[Command, T]  # and what whoever gave it is to be told


class Seen(Enum):
    """What the registry shows of a command whose end nobody knew."""

    NOTHING = "it may come, or not"
    IN_FORCE = "it came"
    OVER = "it came, and something later undid it"


@dataclass(frozen=True, slots=True)
class _Given:
    asked: object
    command: Command
    told: Any


class Commands:
    """`put` makes a command durable and waits until it took effect. On one event loop."""

    def __init__(self, put: Callable[[str, str, bytes], Awaitable[None]]) -> None:
        self._put = put
        self._under_way: set[Key] = set()
        self._kept: OrderedDict[Key, _Given] = OrderedDict()

    async def once(
        self,
        key: Key,
        asked: object,
        make: Callable[[], Made[T]],
        seen: Callable[[Command], Seen],
    ) -> T:
        """Have a command carried out, or go on with the same one that had no end.

        asked: what tells it from another one of that key; make: the command where it is a new one.
        Raises Rejected where it can't be carried out or somebody else gives it right now;
        Unavailable where the bus does not have it; TimeoutError where that is not known.
        """
        if key in self._under_way:
            raise Rejected("name-taken", f"{key[1]} is being changed right now", field="name")
        self._under_way.add(key)
        try:
            given = self._kept.get(key)
            was = seen(given.command) if given and given.asked == asked else Seen.OVER
            if given is None or was is Seen.OVER:
                given = self._new(key, asked, make)
            if was is not Seen.IN_FORCE:
                try:
                    await self._put(OPERATOR, COMMAND_FORMAT, jcs.encode(given.command))
                except Rejected:
                    self._kept.pop(key, None)
                    raise
            self._kept.pop(key, None)
            found: T = given.told
            return found
        finally:
            self._under_way.discard(key)

    def _new(self, key: Key, asked: object, make: Callable[[], Made[T]]) -> _Given:
        command, told = make()
        # Two equal commands are two commands, not a retry of one.
        self._kept[key] = given = _Given(asked, {**command, "nonce": token_hex(16)}, told)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return given
