"""What each thread of this process took of the processors: where the time of a reading goes.

Source: proc(5), /proc/PID/task/TID/stat, fields 14 and 15. Linux only; elsewhere there is nothing.
"""

import os
import re
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

NAME = "gridseal_thread_cpu_seconds"
MEANING = "Processor seconds of threads that run now, by name; `others`: of libraries"
OTHERS = "others"
_NUMBERED = re.compile(r"(?:[-_ ]\d+)+$")  # ThreadPoolExecutor-0_3 and the like are one


def thread_times() -> dict[str, float]:
    """Processor seconds, user and system, by name of the thread."""
    names = {
        thread.native_id: _NUMBERED.sub("", thread.name.split(" (")[0])
        for thread in threading.enumerate()
    }
    ticks, found = os.sysconf("SC_CLK_TCK"), Counter[str]()
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else ():
        try:
            stat = (task / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        fields = stat.rpartition(")")[2].split()  # a name may hold spaces; the third field follows
        name = names.get(int(task.name), OTHERS)
        found[name] += int(fields[11]) + int(fields[12])
    return {name: spent / ticks for name, spent in found.items()}


class ThreadTimes:
    """Collector (prometheus_client): read when asked."""

    def collect(self) -> Iterable[Metric]:
        """As the client library asks."""
        family = CounterMetricFamily(NAME, MEANING, labels=["thread"])
        for name, seconds in sorted(thread_times().items()):
            family.add_metric([name], seconds)
        yield family
