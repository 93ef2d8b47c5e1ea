"""SunSpec's enumerations and bit fields in words (SunSpec Information Model Reference)."""

from bal.harmonise.states import States, of_names

_INVERTER = (
    "off | sleeping, shut down by itself | starting | tracking the maximum power point"
    " | throttled, power reduced by force | shutting down | one or more faults | standby"
)
INVERTER = States(of_names(_INVERTER, 1))
DER_INVERTER = States(
    of_names(
        "off | sleeping, shut down by itself | starting | running"
        " | throttled, power reduced by force | shutting down | one or more faults | standby"
    )
)
MODULE = States(of_names(f"{_INVERTER} | test", 1))
_EVENTS = (
    "ground fault | DC over-voltage | AC disconnect open | DC disconnect open | grid shutdown"
    " | cabinet open | manual shutdown | over-temperature | frequency above limit"
    " | frequency below limit | AC voltage above limit | AC voltage below limit"
    " | blown string fuse | under-temperature | memory or communication error"
    " | hardware test failure"
)
INVERTER_EVENTS = States(of_names(_EVENTS), bits=True)
DER_ALARMS = States(of_names(f"{_EVENTS} | manufacturer's alarm"), bits=True)
_MODULE_EVENTS = of_names(
    "ground fault | input over-voltage | - | DC disconnect open | - | cabinet open"
    " | manual shutdown | over-temperature | - | - | - | - | blown fuse | under-temperature"
    " | memory loss | arc detected | - | - | - | - | test failed | input under-voltage"
    " | input over-current"
)
MODULE_EVENTS = PORT_ALARMS = States(_MODULE_EVENTS, bits=True)
METER_EVENTS = States(
    of_names(
        "power failure | under-voltage | low power factor | over-current | over-voltage"
        " | missing sensor",
        2,
    )
    | {15 + number: f"manufacturer's event {number}" for number in range(1, 16)},
    bits=True,
)

WIRING = States(of_names("single-phase | split-phase | three-phase"))
OFF_ON = States(of_names("off | on"))
CONNECTION = States(of_names("disconnected from the grid | connected to the grid"))
DER_MODES = States(of_names("grid following | grid forming | PV output is clipped"), bits=True)
_CONTROLS = (
    "maximum active power | fixed active power | fixed reactive power | fixed power factor"
    " | volt-var | frequency-watt | dynamic reactive current | {low} | {high} | watt-var"
    " | volt-watt | scheduled | {slow} | {fast}"
)
THROTTLING = States(
    of_names(
        _CONTROLS.format(
            low="low-voltage ride-through", high="high-voltage ride-through",
            slow="low-frequency ride-through", fast="high-frequency ride-through",
        )
        + " | derated"
    ),
    bits=True,
)  # fmt: skip
CONTROL_MODES = States(
    of_names(
        _CONTROLS.format(
            low="low-voltage trip", high="high-voltage trip", slow="low-frequency trip",
            fast="high-frequency trip",
        )
    ),
    bits=True,
)  # fmt: skip
DER_TYPE = States({4: "photovoltaic", 82: "photovoltaic and storage"})
NORMAL = States(of_names("category A | category B"))
ABNORMAL = States(of_names("category I | category II | category III"))
ISLANDING = States(
    of_names("uncategorised | intentional island | black start | isochronous"), bits=True
)
CONNECTED = States(of_names("connected | available | operating | test"), bits=True)
ECP = States(of_names("disconnected | connected"), bits=True)

CHARGE = States(of_names("off | empty | discharging | charging | full | holding | testing", 1))
CONTROL = States(of_names("remote control | local control"))
BATTERY_TYPE = States(
    of_names(
        "not applicable or unknown | lead-acid | nickel-metal hydride | nickel-cadmium"
        " | lithium-ion | carbon-zinc | zinc chloride | alkaline | rechargeable alkaline"
        " | sodium-sulphur | flow"
    )
    | {99: "other"}
)
BATTERY = States(
    of_names(
        "disconnected | initialising | connected | standby | protecting its state of charge"
        " | suspending",
        1,
    )
    | {99: "fault"}
)
BATTERY_EVENTS = States(
    of_names(
        "communication error | over-temperature alarm | over-temperature warning"
        " | under-temperature alarm | under-temperature warning | charge current alarm"
        " | charge current warning | discharge current alarm | discharge current warning"
        " | over-voltage alarm | over-voltage warning | under-voltage alarm"
        " | under-voltage warning | state of charge below minimum alarm"
        " | state of charge below minimum warning | state of charge above maximum alarm"
        " | state of charge above maximum warning | voltage imbalance warning"
        " | temperature imbalance alarm | temperature imbalance warning | contactor error"
        " | fan error | ground fault | open door | current imbalance warning | other alarm"
        " | other warning | - | configuration alarm | configuration warning"
    ),
    bits=True,
)
OK = States(of_names("ok | warning | error"))
PORT_TYPE = States(
    of_names(
        "photovoltaic | storage | electric vehicle | injecting | absorbing | bidirectional"
        " | DC to DC"
    )
)
PORT = States(of_names("off | on | warning | error"))
