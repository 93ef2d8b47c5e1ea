"""The rules by which messages become records: those of this version, and those that a log names.

A batch header names the rules that made its entries by the digest of a public `rules` record
(docs/spec/log.md).
"""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files

import tzdata

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES
from bal.certify.log import OWN_SOURCE
from bal.derive.vee_rules import VERSION, VeeRules
from bal.errors import Stop
from bal.pipeline import rules_digest
from bal.ports import TileReader
from infra.log_reader import Entries, batch_headers


def rules_parts() -> dict[str, str]:
    """What records depend on beside the messages.

    Of the checks of a day the limits that a version has: a close's header says which it went by.
    """
    context = files("ontology").joinpath("context-v1.jsonld").read_bytes()
    return {
        "mapper": version("gridseal"),
        "context": rules_digest({"context": context.decode()}),
        "tzdata": tzdata.IANA_VERSION,
        "vee": rules_digest({"version": VERSION, **VeeRules().as_inputs()}),
    }


def running_rules() -> str:
    """The digest of this version's rules, as batch headers name it."""
    return rules_digest(rules_parts())


def parse_rules(entry: bytes) -> tuple[str, dict[str, str]] | None:
    """Digest and parts of a public `rules` record; None for any other entry."""
    if len(entry) == COMMITMENT_BYTES:
        return None
    try:
        data = jcs.decode(entry)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("type") != "rules":
        return None
    parts = {name: str(data[name]) for name in data if name not in {"type", "v", "digest"}}
    return str(data.get("digest")), parts


def described(parts: Mapping[str, str] | None) -> str:
    """Rules for people: what to install to have them."""
    if parts is None:
        return "rules that the log does not describe"
    return ", ".join(f"{name} {parts[name][:12]}" for name in sorted(parts, reverse=True))


def rules_in_log(tiles: TileReader, size: int) -> dict[str, dict[str, str]]:
    """The parts of all rules that a log of `size` entries names, by digest; reads every header."""
    found: dict[str, dict[str, str]] = {}
    entries = Entries(tiles, size)
    for _, header in batch_headers(tiles):
        data = jcs.decode(header)
        if data["epoch"] == OWN_SOURCE:
            first = int(data["first"])
            for index in range(first, min(size, first + int(data["count"]))):
                rules = parse_rules(entries[index])
                if rules is not None:
                    found[rules[0]] = rules[1]
    return found


def differs(tiles: TileReader, size: int, made_by: str, rules: str) -> Stop:
    """Why a message does not lead to its entries any more: other rules, or something is wrong."""
    if made_by == rules:
        return Stop("worker-differs", "a message leads to other entries than those in the log")
    named = rules_in_log(tiles, size)
    theirs, ours = described(named.get(made_by)), described(named.get(rules, rules_parts()))
    return Stop(
        "rules-differ",
        f"messages that are in the log and not stored yet were mapped by {theirs}; this is {ours},"
        " which maps them otherwise. Start that version once more, end it by SIGTERM, then start"
        " this one: nothing is lost",
    )
