"""Appends to the bus on Kafka until it is killed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bus_suite import append_for_ever
from kafka_support import open_bus

append_for_ever(open_bus(Path(sys.argv[1])))
