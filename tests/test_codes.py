"""Every code that the sources can give out stands in docs/spec/limits-and-codes.md, and no other.

A code is recognised by its form (kebab-case) wherever a string has it, and a single word where it
is handed over as `code`. A string of that form that is no code is named in NO_CODES.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "spec" / "limits-and-codes.md"
PACKAGES = ("bal", "contracts", "field", "infra", "market", "dsotp")
ERRORS = ("Rejected", "Stop", "Finding", "Verdict", "VerifyError", "differ", "doubt", "_alarm")
NO_CODES = {
    "anchor-within",  # a word of the policy file
    "client-add", "client-list", "client-revoke", "day-close",  # commands of the control socket
    "reading-edit",  # another
    "content-encoding", "content-length", "content-type", "no-cache", "no-store",  # HTTP
    "date-time",  # JSON Schema
    "device-day",  # a kind of row
    "feed-rows",  # a thread
    "dso-client", "dso-server",  # commands
    "trust-set", "trust-show",  # commands of the control socket
    "subject-day", "subject-days", "subject-exchange", "subject-hold", "subject-move",
    "subject-page", "subject-show", "gap-names",
    "move-in", "move-out",  # of the command line
    "replay-capture",  # a command of the command line
    "gridseal-shares",  # how members of a consumer group are dealt theirs
    "frames-lost", "head-end", "not-a-number",  # kinds of faults and senders in a simulated day
    "intake-writer",  # a thread
    "like-day",  # a rule by which a value is estimated
    "usage-point",  # a type of names
    "utf-8",
}  # fmt: skip
_KEBAB = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
_WORD = re.compile(r"[a-z][a-z0-9-]*")


def sources() -> Iterator[ast.Module]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "node_modules" not in path.parts:
                yield ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def texts(node: ast.AST) -> Iterator[str]:
    """The strings in an expression, but not those that it is formatted or looked up with."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)


def kebab(tree: ast.Module) -> Iterator[str]:
    parts = {id(one) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
             for one in node.values}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in parts:
            yield from (text for text in texts(node) if _KEBAB.fullmatch(text))


def handed_over(tree: ast.Module) -> Iterator[str]:
    """Strings that are the first argument of an error, or an argument `code=`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = node.args[:1] if name in ERRORS else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            for argument in given:
                yield from (text for text in texts(argument) if _WORD.fullmatch(text))


def in_sources() -> set[str]:
    found = {code for tree in sources() for code in (*kebab(tree), *handed_over(tree))}
    return found - NO_CODES


def on_page() -> set[str]:
    """Codes in the first cell of a row below `## Codes`, and the verifier's."""
    codes = PAGE.read_text(encoding="utf-8").split("\n## Codes\n")[1]
    verifier = codes.split("\n### The verifier\n")[1].split("\n### ")[0]
    cells = re.findall(r"^\| (`.*?) \|", codes, re.MULTILINE)
    return {code for text in (*cells, verifier) for code in re.findall(r"`([a-z0-9-]+)`", text)}


def test_the_rule_sees_codes_in_every_form() -> None:
    tree = ast.parse(
        "Rejected('a-b', 'x')\nraise Stop('out', f'c-d {e}')\nfail(code='word')\n"
        "{'NotAllowed': 'e-f'}\nStop('g-h' if x else 'solo', '')\nopen('word')"
    )
    assert {*kebab(tree), *handed_over(tree)} == {"a-b", "e-f", "g-h", "out", "solo", "word"}


def test_every_code_stands_on_the_page() -> None:
    missing = sorted(in_sources() - on_page())
    assert missing == [], "a row in docs/spec/limits-and-codes.md, or a word in NO_CODES"


def test_every_code_on_the_page_can_be_given_out() -> None:
    words = {code for tree in sources() for node in ast.walk(tree)
             if isinstance(node, ast.Constant) for code in texts(node)}  # fmt: skip
    assert sorted(on_page() - words) == [], "no source has this code any more: take the row off"


def test_no_code_stands_twice_in_one_table() -> None:
    for table in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        codes = [code for cell in cells for code in re.findall(r"`([a-z0-9-]+)`", cell)]
        assert len(codes) == len(set(codes)), table.split("\n")[0]


def test_every_exception_is_needed() -> None:
    words = {text for tree in sources() for text in kebab(tree)}
    assert NO_CODES - words == set()
