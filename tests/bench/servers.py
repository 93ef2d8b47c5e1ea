"""`python -m tests.bench.servers`: the figures of the real servers and of roles, in one run.

Each part starts what it needs in a folder of its own and removes it. One that can't be had is named
in the table, and the others are measured.
"""

from collections.abc import Callable
from subprocess import SubprocessError

from rich.console import Console
from rich.table import Table

from bal.errors import GridsealError
from tests.bench import cassandra, kafka_bus, local_profile, mosquitto, roles

Line = tuple[str, str, str]
FAULTS = (AssertionError, GridsealError, OSError, SubprocessError)  # TimeoutError is an OSError


def local() -> list[Line]:
    """All servers and the platform on the same machine, and who takes how much of it."""
    found = local_profile.main()
    shares = [(f"  {who}", f"{share}, {each} a reading", "") for who, share, each in
              local_profile.parts(found)]  # fmt: skip
    return [*local_profile.rows(found), ("of the processors, all of it", "", ""), *shares]


def workers() -> list[Line]:
    """Two workers as processes, held against one."""
    return roles.rows(roles.main())


def stored() -> list[Line]:
    """Rows in Cassandra, held against SQLite."""
    found = cassandra.main(with_year=False)
    rates = f"{found['cassandra_rate']:,.0f}/s, {found['ratio']:.2f} of SQLite"
    lines = [("rows of 1,000 meters stored in Cassandra, one message a call", rates, "")]
    for name, key in (("settled", "day"), ("not settled yet", "unsettled_day")):
        figure = f"p50 {found[f'{key}_p50_ms']:.1f}, p99 {found[f'{key}_p99_ms']:.1f} ms"
        lines.append((f"  a device's day, {name}", figure, ""))
    lines.append(("  the same from SQLite", f"p50 {found['sqlite_day_p50_ms']:.1f} ms", ""))
    lines.append(("  a record by index", f"p50 {found['record_p50_ms']:.1f} ms", ""))
    return lines


def bus() -> list[Line]:
    """The bus on Kafka, held against SQLite."""
    return [
        (f"bus on Kafka: {what}", f"{kafka:,.0f}/s, {kafka / sqlite:.2f} of SQLite", "")
        for what, sqlite, kafka in kafka_bus.main()
    ]


def broker() -> list[Line]:
    """Single readings through Mosquitto."""
    return mosquitto.rows(mosquitto.main())


PARTS: dict[str, Callable[[], list[Line]]] = {
    "the local profile": local,
    "workers": workers,
    "Cassandra": stored,
    "the bus on Kafka": bus,
    "Mosquitto": broker,
}


def not_measured(name: str, error: Exception) -> Line:
    """What stands in the table for a part that failed: a server that can't be had says why."""
    kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
    return f"{name}: not measured", f"{kind}{error}", ""


def main(console: Console) -> None:
    """Print the table; goals stand beside the figures, nothing fails here."""
    table = Table("what", "figure", "goal", title="the real servers", expand=True)
    for name, part in PARTS.items():
        with console.status(name):
            try:
                lines = part()
            except FAULTS as error:  # the other parts are measured all the same
                lines = [not_measured(name, error)]
        for line in lines:
            table.add_row(*line)
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    main(Console(width=100))
