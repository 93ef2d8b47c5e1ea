"""Runs one SPARQL query in a process of its own, which is ended when its time is up."""

import subprocess
import sys

from bal.errors import Rejected, Unavailable
from infra.sparql_wire import Answer, Task

CPU_S = 8
WALL_S = 12.0

# The platform's own path, and neither environment nor site: `infra` must be the same one.
_CODE = "import sys; sys.path[:] = {path!r}; from infra.sparql_child import main; main({cpu_s})"


def run(task: Task, triples: bytes, *, cpu_s: int = CPU_S, wall_s: float = WALL_S) -> Answer:
    """The answer to one query over a graph of N-Triples. Blocks for `wall_s` at most.

    Raises Rejected: sparql-malformed, sparql-forbidden, sparql-failed, query-too-large,
    query-over-limits; Unavailable where the system starts no process.
    """
    code = _CODE.format(path=sys.path, cpu_s=cpu_s)
    try:
        ended = subprocess.run(  # noqa: S603 - the command stands here
            [sys.executable, "-I", "-S", "-B", "-c", code],
            input=task.encode(triples),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=wall_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise over(f"It took more than {wall_s:g} s.") from None
    except OSError as error:
        raise Unavailable("no process for a query", retry_after_s=5) from error
    try:
        answer = Answer.decode(ended.stdout)
    except ValueError:  # the kernel ended it, or it had no memory even to say so
        raise over(f"It needs more than {cpu_s} s of a processor, or too much memory.") from None
    if answer.code:
        raise Rejected(answer.code, answer.text, field="query", clause="SPARQL 1.1 Query Language")
    return answer


def over(why: str) -> Rejected:
    """A query that is not worth its cost."""
    return Rejected("query-over-limits", f"{why} Ask for less at once.", field="query")
