"""A small archive of SimBench's layout: four loads, two PV units, two with a battery."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from field.profiles import PROFILE_SLOTS
from field.simbench import SCENARIO

GRID = "LV3.101"


def _rows(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


@pytest.fixture(scope="session")
def small_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simbench") / "small.whl"
    tables = {
        "Load": _rows(
            "id;node;profile;pLoad;qLoad;sR;subnet;voltLvl",
            *(f"{GRID} Load {n};bus;H0-A;0.00{n};0.001;0.01;{GRID};7" for n in (1, 2, 3, 4, 5)),
        ),
        "RES": _rows(
            "id;node;type;profile;calc_type;pRES;qRES;sR;subnet;voltLvl",
            *(f"{GRID} SGen {n};bus;PV;PV3;pq;0.00{n};0;0.01;{GRID};7" for n in (1, 2)),
        ),
        "Storage": _rows(
            "id;node;type;profile;pStor;qStor;chargeLevel;sR;subnet;voltLvl",
            *(f"{GRID} Storage {n};bus;PV_Storage;S;-0.00{n};0;0;0.01;{GRID};7" for n in (1, 2)),
        ),
        "LoadProfile": _rows(
            "time;H0-A_qload;H0-A_pload",
            *(f"{n};0.5;{0.1 + n % 96 / 1000:.6f}" for n in range(PROFILE_SLOTS)),
        ),
        "RESProfile": _rows("time;PV3", *(f"{n};0.25" for n in range(PROFILE_SLOTS))),
        "StorageProfile": _rows("time;S", *(f"{n};0.333333" for n in range(PROFILE_SLOTS))),
    }
    with ZipFile(path, "w") as archive:
        for name, text in tables.items():
            archive.writestr(f"{SCENARIO}/{name}.csv", text)
    return path
