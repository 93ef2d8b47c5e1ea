"""The public records that say what a log is made by, and the facts that follow them."""

from collections.abc import Callable

from bal.certify.log import Sequencer, genesis, rules, target
from infra.data_folder import DataFolder, Facts
from infra.rules import rules_parts


def public_records(old: Facts | None, new: Facts, *, first: bool, now_us: int) -> list[bytes]:
    """What the log has to say of `new` that it did not of `old`.

    All there is of an empty log (`first`): genesis, rules and target. Later `rules` where the
    running version maps otherwise, `target` where heads go to another contract.
    """
    public = list[bytes]()
    if first:
        public.append(
            genesis(new.origin, new.log_key, new.intake_key, new.anchor_interval_s, now_us)
        )
    if old is None or first or old.rules != new.rules:
        public.append(rules(new.rules, rules_parts()))
    if old is None or first or (old.contract, old.chain_id) != (new.contract, new.chain_id):
        public.append(target(new.chain_id, new.chain_kind, new.contract, new.code_hash))
    return public


def write_public_records(
    folder: DataFolder,
    sequencer: Sequencer,
    new: Facts,
    now_us: int,
    committed: Callable[[], None] = lambda: None,
) -> bool:
    """Commit what is to be said of `new` in a version of its own; whether there was anything.

    committed: called behind the commit and before the facts are kept. Raises as Sequencer.commit.
    """
    old = folder.facts()
    first = old is None or sequencer.heads.size == 0
    public = public_records(old, new, first=first, now_us=now_us)
    if first:  # an origin that a log stands under must not be drawn anew
        folder.write_facts(new)
    if public:
        sequencer.commit([], public)
        committed()
    if old != new:  # not before the log says so: a record twice is better than none
        folder.write_facts(new)
    return bool(public)
