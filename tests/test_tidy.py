"""The house rules, as tests. A rule that can't be checked here is not a rule.

Each test says what to do instead. Rules: CONTRIBUTING.md.
"""

import ast
import dataclasses
import importlib
import importlib.util
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 70
FILE_LINES_SOFT, FILE_LINES_HARD = 400, 800
PURE = ("bal", "market", "dsotp")
# Code over the soft limit, each with its reason; an entry that is no longer needed fails too. A
# suite of tests may be longer, up to the hard limit.
LONG_FILES: dict[str, str] = {
    "infra/app.py": "the only composition root: start, wiring and stop of every part",
    "infra/anchorer.py": "what a lost answer, a restart and a reorg ask for, side by side",
}
BANNED_CALLS = {
    "datetime.now": "the Clock port (bal/ports.py)",
    "datetime.utcnow": "the Clock port (bal/ports.py)",
    "datetime.today": "the Clock port (bal/ports.py)",
    "date.today": "the Clock port (bal/ports.py)",
    "time.time": "the Clock port (bal/ports.py)",
    "time.monotonic": "a duration that the caller hands in",
    "time.sleep": "a schedule in infra/app.py",
    "os.urandom": "bytes that the caller hands in",
    "uuid.uuid4": "an id that the caller hands in",
    "open": "a port and its adapter in infra/",
    "print": "a finding, an error or a return value",
    "input": "an argument",
    "float": "Decimal or int: energy and money are exact",
    "eval": "a parser",
    "exec": "a function",
}
FILE_METHODS = ("read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir")
BANNED_METHODS = dict.fromkeys(FILE_METHODS, "a port and its adapter in infra/")
BANNED_IMPORTS = {
    "socket": "an adapter in infra/",
    "sqlite3": "a port and its adapter in infra/",
    "ssl": "an adapter in infra/",
    "random": "`rng: Random` handed in by the caller",
    "secrets": "bytes that the caller hands in",
    "time": "the Clock port (bal/ports.py)",
    "subprocess": "an adapter in infra/",
    "urllib.request": "an adapter in infra/",
}
# What names a machine or a place to download from; committed files are the same everywhere.
BANNED_TEXT = {
    r"(?<![\w.])/(?:root|home|Users|work)/\w": "a path relative to the repository",
    r"pypi\.org/simple|files\.pythonhosted\.org": "no address: locks name version and hash only",
    r"registry\.(?:npmjs|yarnpkg)": "no address: locks name version and hash only",
    r"^\s*--(?:index-url|extra-index-url|find-links|trusted-host)\b": "the user's own pip settings",
    r"\"resolved\":": "npm's omit-lockfile-registry-resolved",
    r"\bDESIGN(?:\.md)? ?§": "ARCHITECTURE §: its sections have the same numbers",
}
UNFINISHED = re.compile(r"\b(?:FIXME|TODO|XXX|HACK)\b")
FLOORS = {  # versions below have known holes; None: absent is fine too
    "authlib": (1, 7, 2),
    "starlette": (1, 3, 1),
    "lxml": (6, 1, 0),
    "web3": (7, 15, 0),
    "python-multipart": (0, 0, 27),
    "pyjwt": (2, 12, 0),
}
MAY_BE_ABSENT = {"python-multipart", "pyjwt"}
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-uv.txt")


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """What git tracks or would track, with one of these endings (none: every file)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = (ROOT / name for name in sorted(set(listed.splitlines())))
    return tuple(p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a picture or another binary


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(text(path), filename=str(path))


def pure() -> list[Path]:
    return [path for path in files(".py") if name(path).split("/")[0] in PURE]


def module_of(relative: str) -> dict[str, object]:
    return runpy.run_path(str(ROOT / relative), run_name="house_rules")


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


# --- size -----------------------------------------------------------------------------------------


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name} has {length} lines"
        for path in files(".py")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, f"more than {FUNCTION_LINES_MAX} lines: cut it where its paragraphs are"


def test_no_file_is_too_long() -> None:
    lengths = {
        name(path): text(path).count("\n") for path in files(".py", ".sol", ".mjs", ".cjs", ".js")
    }
    code = {path: lines for path, lines in lengths.items() if not path.startswith("tests/")}
    over_soft = {path for path, lines in code.items() if lines > FILE_LINES_SOFT}
    assert over_soft - set(LONG_FILES) == set(), "over 400 lines: split it, or give a reason here"
    assert set(LONG_FILES) - over_soft == set(), "no longer over 400 lines: take it off the list"
    assert {path: n for path, n in lengths.items() if n > FILE_LINES_HARD} == {}


# --- what may be called where ---------------------------------------------------------------------


def banned_uses(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            method = called.rsplit(".", 1)[-1]
            for banned, better in BANNED_CALLS.items():
                if called == banned or (called.endswith(f".{banned}") and "." in banned):
                    yield f"line {node.lineno}: {called}() – use {better}"
            if "." in called and method in BANNED_METHODS:
                yield f"line {node.lineno}: {called}() – use {BANNED_METHODS[method]}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            parts = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                parts = [node.module or "", *(f"{node.module}.{part}" for part in parts)]
            for part in parts:
                if part in BANNED_IMPORTS:
                    yield f"line {node.lineno}: import {part} – use {BANNED_IMPORTS[part]}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import datetime\ndatetime.datetime.now()", "the Clock port"),
        ("from time import time", "the Clock port"),
        ("open('x')", "a port and its adapter"),
        ("from pathlib import Path\nPath('x').read_text()", "a port and its adapter"),
        ("wh = float('1.5')", "Decimal or int"),
        ("from urllib import request", "an adapter in infra/"),
        ("log.open()\nfloats = [1]\ntext = 'open(print)'", ""),
    ],
)
def test_the_rule_against_banned_calls_sees_them(code: str, found: str) -> None:
    uses = list(banned_uses(ast.parse(code)))
    assert bool(uses) == bool(found)
    assert all(found in use for use in uses)


def test_the_core_uses_no_banned_call() -> None:
    uses = {name(path): found for path in pure() if (found := list(banned_uses(syntax(path))))}
    assert uses == {}


def test_no_unfinished_mark_on_main() -> None:
    marks = [
        f"{name(path)}:{number}"
        for path in files()
        if path != Path(__file__) and path.suffix != ".json"
        for number, line in enumerate(text(path).splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert marks == [], "finish it, or open an issue and say so there"


def test_no_test_asserts_a_constant() -> None:
    empty = [
        f"{name(path)}:{node.lineno}"
        for path in files(".py")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant)
    ]
    assert empty == [], "assert what the test is about"


def test_no_test_names_what_workers_share_by_the_end_of_its_folder() -> None:
    """pytest cuts it to 30 characters, and each worker counts the same ends for itself."""
    marks = [
        f"{name(path)}:{number}"
        for path in files(".py")
        if path != Path(__file__)
        for number, line in enumerate(text(path).splitlines(), 1)
        if "tmp_path.name" in line
    ]
    assert marks == [], "name it by the whole path, as scd_of does"


# --- the same everywhere --------------------------------------------------------------------------


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()[:80]} – {better}"
        for path in files()
        if path != Path(__file__)
        for number, line in enumerate(text(path).splitlines(), 1)
        for banned, better in BANNED_TEXT.items()
        if re.search(banned, line)
    ]
    assert found == []


def locked(lock: str) -> dict[str, tuple[str, int]]:
    """Package → (version, number of hashes), of one lock; refuses any other kind of line."""
    found: dict[str, tuple[str, int]] = {}
    for logical in text(ROOT / lock).replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", logical).strip()
        if line:
            match = re.fullmatch(
                r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.!+]+)(?P<marker>\s*;[^#]*?)?"
                r"(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)",
                line,
            )
            assert match, f"{lock}: not `name==version --hash=…`: {line[:100]}"
            found[match["name"]] = (match["version"], match["hashes"].count("sha256:"))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    assert len(locked(lock)) >= 1
    assert [package for package, (_, hashes) in locked(lock).items() if hashes < 1] == []


def test_the_locks_agree() -> None:
    runtime, dev = locked("requirements.txt"), locked("requirements-dev.txt")
    differing = {p for p, (version, _) in runtime.items() if dev.get(p, ("absent",))[0] != version}
    assert differing == set(), "make both locks from the same resolution"


def test_the_lock_has_every_dependency_that_is_declared() -> None:
    import tomllib

    project = tomllib.loads(text(ROOT / "pyproject.toml"))
    for declared, lock in (
        (project["project"]["dependencies"], "requirements.txt"),
        (project["dependency-groups"]["dev"], "requirements-dev.txt"),
    ):
        names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in declared}
        assert names - set(locked(lock)) == set()


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_no_version_with_a_known_hole(lock: str) -> None:
    """The floors and the holes: docs/decisions/0003-dependencies.md."""
    packages = locked(lock)
    for package, floor in FLOORS.items():
        if package in MAY_BE_ABSENT and package not in packages:
            continue
        version = tuple(int(part) for part in re.findall(r"\d+", packages[package][0])[:3])
        assert version >= floor, f"{package} {packages[package][0]} is below {floor}"


# --- set-up ---------------------------------------------------------------------------------------


def test_set_up_can_be_read_by_an_old_python() -> None:
    ast.parse(text(ROOT / "scripts" / "setup.py"), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("sys.modules['ensurepip'] = None", "install the package python3-venv"),
        ("sys.version_info = (3, 9, 2)", "Python 3.11 or newer is needed"),
    ],
)
def test_set_up_says_in_one_sentence_what_is_missing(broken: str, sentence: str) -> None:
    setup = str(ROOT / "scripts" / "setup.py")
    code = f"import runpy, sys; {broken}; runpy.run_path({setup!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- documents ------------------------------------------------------------------------------------

MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands() -> list[tuple[str, str]]:
    """(page, line) of every shell line in the pages' code blocks, comments cut off."""
    pages = [path for path in files(".md") if "specs" not in path.parts]
    found = []
    for path in pages:
        fenced = False
        for line in text(path).splitlines():
            fenced ^= line.startswith("```")
            code = line.removeprefix("    ") if line.startswith("    ") else line
            if (fenced or line.startswith("    ")) and re.match(
                r"(?:[A-Z0-9_]+=\S+ )*(?:make|(?:\.venv/bin/)?gridseal) ", code
            ):
                found.append((name(path), re.split(r"\s#|[|>]", code)[0].strip()))
    return found


def test_every_make_target_that_a_page_names_exists() -> None:
    named = {(page, line.split("make ", 1)[1]) for page, line in commands() if "make " in line}
    inline = {
        (name(path), target)
        for path in files(".md")
        for target in re.findall(r"`(?:[A-Z0-9_]+=\S+ )*make ([a-z][^`]*)`", text(path))
    }
    words = {(page, word) for page, rest in named | inline for word in rest.split()}
    unknown = {(page, word) for page, word in words if "=" not in word} - {
        (page, target) for page, _ in words for target in MAKE_TARGETS
    }
    assert unknown == set()


@cache
def help_of(*subcommand: str) -> str:
    command = [sys.executable, "-m", "infra.cli", *subcommand, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"gridseal {' '.join(subcommand)}: {done.stderr[-300:]}"
    return done.stdout


VERBS_BELOW = {"client", "day", "device", "servers", "subject", "vault"}  # commands of commands


def gridseal_lines() -> list[tuple[str, tuple[str, ...], set[str]]]:
    """(page, subcommand, options) of every `gridseal …` line in the pages."""
    found = []
    for page, line in commands():
        if "gridseal " in line:
            words = line.split("gridseal ", 1)[1].split()
            two = 2 if words[0] in VERBS_BELOW else 1
            options = {word for word in words if re.match(r"--[a-z]", word)}
            found.append((page, tuple(words[:two]), options))
    return found


def test_the_readme_names_commands() -> None:
    assert len([page for page, _, _ in gridseal_lines() if page == "README.md"]) >= 5


def test_every_gridseal_command_that_a_page_names_exists() -> None:
    wrong = [
        (page, subcommand, option)
        for page, subcommand, options in gridseal_lines()
        for option in options
        if option not in help_of(*subcommand)
    ]
    assert wrong == []
    for _, subcommand, _ in gridseal_lines():
        help_of(*subcommand)


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = [
        f"{name(path)} → {target}"
        for path in files(".md")
        for target in re.findall(r"\]\(([^)\s]+)\)", text(path))
        if not re.match(r"[a-z]+:|#", target)
        and not (path.parent / target.split("#")[0]).resolve().exists()
    ]
    assert broken == []


def test_every_spec_page_is_linked_from_its_list() -> None:
    folder = ROOT / "docs" / "spec"
    listed = text(folder / "README.md")
    pages = {path.name for path in files(".md") if path.parent == folder} - {"README.md"}
    assert pages, "docs/spec has no pages"
    assert {page for page in pages if f"({page})" not in listed} == set()


def test_decisions_are_numbered_without_gaps_and_say_their_state() -> None:
    pages = [path for path in files(".md") if path.parent == ROOT / "docs" / "decisions"]
    numbers = sorted(int(path.name[:4]) for path in pages if path.name != "README.md")
    assert numbers == list(range(1, len(numbers) + 1))
    for path in pages:
        if path.name != "README.md":
            assert re.match(rf"# {path.name[:4]}[.:]? \S", text(path)), f"{name(path)}: first line"
            assert re.search(r"^(?:\*\*)?Status:?", text(path), re.MULTILINE), (
                f"{name(path)}: Status"
            )


def test_the_changelog_has_an_unreleased_section() -> None:
    assert "\n## Unreleased\n" in text(ROOT / "CHANGELOG.md")


def test_the_standards_page_is_what_the_code_says() -> None:
    standards = module_of("scripts/standards.py")
    page = standards["page"]
    assert callable(page)
    assert text(ROOT / "docs" / "standards.md") == page(), "run `make fix`"


def test_every_clause_that_the_code_claims_is_named_by_a_test() -> None:
    rows = module_of("scripts/standards.py")["rows"]
    assert callable(rows)
    untested = [claim for claim, (_, tests) in rows().items() if not tests]
    assert untested == [], "name the clause in the test that checks it"


def test_what_the_standards_page_excuses_is_still_named() -> None:
    standards = module_of("scripts/standards.py")
    sources, claims, excused = (standards[one] for one in ("sources", "claims", "NOT_CLAIMED"))
    assert callable(sources)
    assert callable(claims)
    named = {
        standard for path in sources(standards["SOURCES"]) for standard, _ in claims(text(path))
    }
    assert isinstance(excused, dict)
    assert excused.keys() - named == set()


def config_keys() -> list[str]:
    """table.key of every key that the configuration file may have; none before it exists."""
    if importlib.util.find_spec("infra.config") is None:
        return []
    config = importlib.import_module("infra.config").Config()
    return [
        f"{table.name}.{key.name}"
        for table in dataclasses.fields(config)
        for key in dataclasses.fields(getattr(config, table.name))
    ]


def test_every_key_of_the_configuration_is_documented() -> None:
    keys = config_keys()
    page = ROOT / "docs" / "configuration.md"
    described = text(page) if keys else ""
    assert [key for key in keys if f"`{key}`" not in described] == []


def test_the_licence_is_complete() -> None:
    licence = text(ROOT / "LICENSE")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
