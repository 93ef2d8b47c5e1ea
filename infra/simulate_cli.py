"""The arguments of `gridseal simulate`; what it does is in infra/simulate.py, imported late."""

import argparse
from datetime import date
from pathlib import Path

from field.simbench import GRID

WINDOW = 256
EPILOG = """
first enrol the senders (once):
  gridseal simulate --grid LV3.101 --files DIR --enrol DATA --days 0
or, for a platform on another host, print the commands to be run there:
  gridseal simulate --grid LV3.101 --files DIR --commands
then:
  gridseal simulate --grid LV3.101 --files DIR --to mqtts://HOST:PORT
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `gridseal simulate` takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--grid", default=GRID, help="low-voltage grid of SimBench's scenario 1: %(default)s")
    add(
        "--files", type=Path, required=True, metavar="DIR",
        help="where the senders' enrolments are, one folder each, as `gridseal device enrol` made",
    )  # fmt: skip
    add("--to", metavar="mqtts://HOST:PORT", help="the platform; else where it was at enrolment")
    add("--date", type=_date, metavar="DAY", help="the last day played; yesterday if not given")
    add(
        "--days",
        type=int,
        default=1,
        metavar="N",
        help="how many days up to it, 1 to 366; 0 with --enrol: %(default)s",
    )
    add("--speed", default="max", metavar="X|max", help="times as fast as in life: %(default)s")
    add("--pmu-speed", default="1", metavar="X|max", help="the same for phasors: %(default)s")
    add("--seed", type=int, default=1, metavar="N", help="for the faults made on purpose")
    add(
        "--window", type=int, default=WINDOW, metavar="N",
        help="messages under way without a certified receipt, at most: %(default)s",
    )  # fmt: skip
    add("--no-faults", action="store_true", help="nothing is wrong on purpose")
    add("--no-pmu", action="store_true", help="no phasors (needs no power-grid-model)")
    add("--enrol", type=Path, metavar="DATA", help="enrol what is missing in DIR at this platform")
    add("--group", help="group of the enrolled devices; the grid's name if not given")
    add("--commands", action="store_true", help="print the commands that enrol, and end")
    add("--cache", type=Path, metavar="DIR", help="where SimBench's wheel is kept")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not YYYY-MM-DD") from error


def run(arguments: argparse.Namespace) -> int:
    """Enrol, or play, or both; see `infra.simulate.run`."""
    # rich, gmqtt and numpy are for this command only
    if arguments.commands or arguments.enrol:
        from infra import simulate_enrol  # noqa: PLC0415

        simulate_enrol.run(arguments)
    if arguments.commands or (arguments.enrol and arguments.days == 0):
        return 0
    from infra import simulate  # noqa: PLC0415

    return simulate.run(arguments)
