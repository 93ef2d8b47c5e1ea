"""One target in a process of its own: `python -m tests.fuzz.child TARGET FOLDER`."""

import argparse
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from random import Random

from tests.fuzz import corpus, mutate
from tests.fuzz.judge import Judge
from tests.fuzz.targets import TARGETS

INSTRUMENTED = ["bal", "field", "infra"]


def main() -> None:
    """Run one target until it had its inputs or its time; what came of it is in FOLDER."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=0, help="0: no limit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["atheris", "plain"], default="atheris")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    seeds = corpus.read(corpus.SEEDS / given.target) + corpus.read(corpus.FOUND / given.target)
    (_atheris if given.engine == "atheris" else _plain)(given, seeds)


def _plain(given: argparse.Namespace, seeds: list[bytes]) -> None:
    judge = Judge(TARGETS[given.target](), given.folder)
    judge.begin(seeds)
    judge.limit()
    end = time.monotonic() + given.seconds if given.seconds else None
    for data in mutate.inputs(seeds, given.seed):
        if judge.count >= given.inputs or (end is not None and time.monotonic() > end):
            break
        judge(data)
    judge.close()


def _atheris(given: argparse.Namespace, seeds: list[bytes]) -> None:
    atheris = import_module("atheris")  # not on every platform
    with atheris.instrument_imports(include=INSTRUMENTED):
        run = TARGETS[given.target]()
        judge = Judge(run, given.folder)
        judge.begin(seeds)
    grown = given.folder / "corpus"
    grown.mkdir(exist_ok=True)
    begun = given.folder / "seeds"
    begun.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (begun / f"{number}").write_bytes(data)
    end = time.monotonic() + given.seconds if given.seconds else None

    def one(data: bytes) -> None:
        if judge.count >= given.inputs or (end is not None and time.monotonic() > end):
            judge.close()
            sys.stderr.flush()
            os._exit(0)
        judge(data)

    cut = mutate.tokens(seeds)

    def change(data: bytes, size_max: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, size_max))
        [tokens] = mutate.tokens([data])
        return mutate.by_tokens(Random(seed), tokens, cut)[:size_max]

    flags = [
        f"-seed={given.seed}", f"-max_len={mutate.SIZE_MAX}", "-len_control=20", "-timeout=60",
        f"-rss_limit_mb={judge.limit_mib}", f"-artifact_prefix={given.folder}/", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, str(grown), str(begun)], one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
