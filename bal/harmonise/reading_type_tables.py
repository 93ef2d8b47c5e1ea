"""What the codes of a ReadingType mean: the tables of IEC 61968-9 annex C, in a few words each.

Of IEC 61968-9 ReadingType.macroPeriod, ReadingType.aggregate, ReadingType.measuringPeriod,
ReadingType.accumulation, ReadingType.flowDirection, ReadingType.commodity,
ReadingType.measurementKind, ReadingType.phases, ReadingType.multiplier, ReadingType.unit and
ReadingType.currency.

The numbers are those of NAESB ESPI's schema (Apache-2.0), which takes them from annex C; where
its public edition 2 has more of them these stand here too. The words are our own.
"""

from collections.abc import Mapping

from bal.harmonise.reading_type import INTERVALS_S

Table = Mapping[int, str]


def table(text: str) -> dict[int, str]:
    """Code → words, of `code words; code words`."""
    entries = (entry.strip().partition(" ") for entry in text.replace("\n", " ").split(";"))
    return {int(code): words for code, _, words in entries if code}


MACRO_PERIODS = table("""
    0 not applicable; 8 billing period; 11 day from midnight; 13 calendar month; 22 season;
    24 week from Monday midnight; 32 period that the message states
""")

AGGREGATES = table("""
    0 not applicable; 2 average; 4 excess over a threshold; 5 high threshold; 7 low threshold;
    8 maximum; 9 minimum; 11 nominal; 12 normal; 16 second maximum; 17 second minimum;
    23 third maximum; 24 fourth maximum; 25 fifth maximum; 26 sum; 27 high; 28 low
""")

_FIXED_MIN = {50: 60, 51: 30, 52: 20, 53: 15, 54: 10, 55: 5, 56: 1}
_ROLLING_MIN = {  # minutes of the block → of its sub-intervals, in the order of their codes, 57 on
    60: (30, 20, 15, 12, 10, 6, 5, 4),
    30: (15, 10, 6, 5, 3, 2),
    15: (5, 3, 1),
    10: (5, 2, 1),
    5: (1,),
}
_ROLLING = [(block, part) for block, parts in _ROLLING_MIN.items() for part in parts]


def _plain(length_s: int) -> str:
    minutes = length_s // 60
    hours = minutes // 60
    return f"{hours}-hour interval" if hours > 1 else f"{minutes}-minute interval"


MEASURING_PERIODS: Table = {
    0: "not applicable",
    15: "present period",
    16: "previous period",
    **{code: _plain(length_s) for code, length_s in INTERVALS_S.items()},
    **{code: f"{minutes}-minute fixed block" for code, minutes in _FIXED_MIN.items()},
    **{
        code: f"{block}-minute rolling block of {part}-minute parts"
        for code, (block, part) in enumerate(_ROLLING, 57)
    },
    100: "interval that the message states",
    101: "fixed block that the message states",
    102: "rolling block that the message states",
}

ACCUMULATIONS = table("""
    0 not applicable; 1 bulk quantity; 2 continuous cumulative; 3 cumulative; 4 delta data;
    6 indicating; 9 summation; 10 time delay; 12 instantaneous; 13 latching quantity;
    14 bounded quantity
""")

FLOW_DIRECTIONS = table("""
    0 not applicable; 1 forward; 2 lagging; 3 leading; 4 net; 5 quadrants 1 + 2;
    7 quadrants 1 + 3; 8 quadrants 1 + 4; 9 quadrants 1 - 4; 10 quadrants 2 + 3;
    11 quadrants 2 + 4; 12 quadrants 2 - 3; 13 quadrants 3 + 4; 14 quadrants 3 - 2;
    15 quadrant 1; 16 quadrant 2; 17 quadrant 3; 18 quadrant 4; 19 reverse; 20 total;
    21 total by phase
""")

COMMODITIES = table("""
    0 not applicable; 1 electricity secondary metered; 2 electricity primary metered;
    3 communication; 4 air; 5 insulating gas; 6 insulating oil; 7 natural gas; 8 propane;
    9 drinking water; 10 steam; 11 waste water; 12 heating fluid; 13 cooling fluid;
    14 reclaimed water; 15 nitrogen oxides; 16 sulphur dioxide; 17 methane; 18 carbon dioxide;
    19 carbon; 20 hexachlorocyclohexane; 21 perfluorocarbons; 22 sulphur hexafluoride;
    23 television; 24 internet; 25 refuse; 26 electricity transmission metered
""")

MEASUREMENT_KINDS = table("""
    0 not applicable; 2 apparent power factor; 3 currency; 4 current; 5 current angle;
    6 current imbalance; 7 date; 8 demand; 9 distance; 10 distortion volt-amperes;
    11 energization; 12 energy; 13 energization on the load side; 14 fan; 15 frequency;
    16 funds; 17 ASAI of IEEE 1366; 18 ASIDI of IEEE 1366; 19 ASIFI of IEEE 1366;
    20 CAIDI of IEEE 1366; 21 CAIFI of IEEE 1366; 22 CEMIn of IEEE 1366; 23 CEMSMIn of IEEE 1366;
    24 CTAIDI of IEEE 1366; 25 MAIFI of IEEE 1366; 26 MAIFIe of IEEE 1366; 27 SAIDI of IEEE 1366;
    28 SAIFI of IEEE 1366; 31 line losses; 32 losses; 33 negative sequence;
    34 phasor power factor; 35 phasor reactive power; 36 positive sequence; 37 power;
    38 power factor; 40 quantity power; 41 voltage sag; 42 voltage swell; 43 switch position;
    44 tap position; 45 tariff rate; 46 temperature; 47 total harmonic distortion;
    48 transformer losses; 49 voltage dip of 10 to 15 %; 50 voltage dip of 15 to 30 %;
    51 voltage dip of 30 to 60 %; 52 voltage dip of 60 to 90 %; 53 voltage dip of 90 to 100 %;
    54 voltage; 55 voltage angle; 56 voltage excursion; 57 voltage imbalance; 58 volume;
    59 duration without flow; 60 zero sequence; 64 distortion power factor;
    81 frequency excursion; 90 application context; 91 application title; 92 asset number;
    93 bandwidth; 94 battery voltage; 95 broadcast address; 96 device address of type 1;
    97 device address of type 2; 98 device address of type 3; 99 device address of type 4;
    100 device class; 101 electronic serial number; 102 end device id;
    103 group address of type 1; 104 group address of type 2; 105 group address of type 3;
    106 group address of type 4; 107 IP address; 108 MAC address;
    109 manufacturer's configuration id; 110 manufacturer's serial number;
    111 manufacturer's product number; 112 manufacturer's communication address;
    113 multicast address; 114 one-way address; 115 signal strength; 116 two-way address;
    117 signal to noise ratio; 118 alarm; 119 battery carry-over; 120 data overflow alarm;
    121 demand limit; 122 demand reset; 123 diagnostic; 124 emergency limit; 125 encoder tamper;
    126 momentary interruption of IEEE 1366; 127 momentary interruption event of IEEE 1366;
    128 sustained interruption of IEEE 1366; 129 interruption behaviour; 130 inversion tamper;
    131 load interrupt; 132 load shed; 133 maintenance; 134 physical tamper;
    135 power loss tamper; 136 power outage; 137 power quality; 138 power restoration;
    139 programmed; 140 push button; 141 relay activation; 142 relay cycle; 143 removal tamper;
    144 reprogramming tamper; 145 reverse rotation tamper; 146 switch armed;
    147 switch disabled; 148 tamper; 149 watchdog timeout; 150 bill of the last period;
    151 bill to date; 152 bill carried over; 153 connection fee; 154 audible volume;
    155 volumetric flow
""")

PHASES = table("""
    0 not applicable; 16 neutral; 17 neutral to ground; 32 phase C; 33 phase C to neutral;
    40 phase C against voltage of phase A; 41 phases A and C to neutral; 64 phase B;
    65 phase B to neutral; 66 phases B to C; 72 phase B against voltage of phase A;
    96 phases C to A; 97 phases B and C to neutral; 128 phase A; 129 phase A to neutral;
    132 phases A to B; 136 current of phase A against its voltage;
    193 phases A and B to neutral; 224 phases ABC; 225 phases ABC to neutral;
    256 phase S2; 257 phase S2 to neutral; 272 phase S2 to neutral; 512 phase S1;
    513 phase S1 to neutral; 528 phase S1 to neutral; 768 phases S1 to S2;
    769 phases S1 and S2 to neutral; 784 phases S1 and S2 to neutral; 1248 three-wire wye;
    1249 four-wire wye; 2272 three-wire delta; 2273 four-wire delta; 6369 four-wire high-leg delta;
    10465 four-wire open delta; 17153 networked
""")

MULTIPLIERS = table("""
    -12 pico; -9 nano; -6 micro; -3 milli; -2 centi; -1 deci; 0 times 1; 1 deca; 2 hecto; 3 kilo;
    6 mega; 9 giga; 12 tera
""")
PREFIXES = table("-12 p; -9 n; -6 µ; -3 m; 3 k; 6 M; 9 G; 12 T")  # nobody says dWh
# Units that a prefix goes before; `km³` would be another thing than 1000 m³.
PREFIXED = frozenset({
    "m", "g", "A", "K", "mol", "cd", "rad", "sr", "Gy", "Bq", "Sv", "F", "C", "s", "H", "V", "Ω",
    "J", "N", "Hz", "lx", "lm", "Wb", "T", "W", "Pa", "S", "VA", "var", "VAh", "Wh", "varh", "Ah",
    "l", "B", "Bm",
})  # fmt: skip

UNITS = table("""
    0 none; 2 m; 3 g; 4 rev/s; 5 A; 6 K; 7 mol; 8 cd; 9 deg; 10 rad; 11 sr; 21 Gy; 22 Bq; 23 °C;
    24 Sv; 25 F; 26 C; 27 s; 28 H; 29 V; 30 Ω; 31 J; 32 N; 33 Hz; 34 lx; 35 lm; 36 Wb; 37 T; 38 W;
    39 Pa; 41 m²; 42 m³; 43 m/s; 44 m/s²; 45 m³/s; 46 m/m³; 47 g·m; 48 g/m³; 49 m²/s; 50 W/(m·K);
    51 J/K; 53 S; 54 rad/s; 61 VA; 63 var; 65 cos φ; 66 V·s; 67 V²; 68 A·s; 69 A²; 70 A²·s;
    71 VAh; 72 Wh; 73 varh; 74 V/Hz; 75 Hz/s; 76 characters; 77 characters/s; 78 g·m²; 79 B;
    80 money; 81 W/s; 82 l/s; 100 Q; 101 Qh; 102 Ω·m; 103 A/m; 104 V²h; 105 A²h; 106 Ah;
    107 Wh/m³; 108 time stamp; 109 state; 110 states; 111 count; 113 Bm; 114 code; 115 Wh/rev;
    116 varh/rev; 117 VAh/rev; 118 end device event; 119 ft³; 120 ft³ compensated;
    121 ft³ uncompensated; 122 ft³/h; 123 ft³/h compensated; 124 ft³/h uncompensated; 125 m³/h;
    126 m³/h compensated; 127 m³/h uncompensated; 128 US gal; 129 US gal/h; 130 imperial gal;
    131 imperial gal/h; 132 BTU; 133 BTU/h; 134 l; 137 l/h; 138 l/h compensated;
    139 l/h uncompensated; 140 Pa gauge; 141 psi absolute; 142 psi gauge; 143 l/l; 144 g/g;
    145 mol/m³; 146 mol/mol; 147 mol/kg; 148 m/m; 149 s/s; 150 Hz/Hz; 151 V/V; 152 A/A; 153 W/VA;
    154 rev; 155 Pa absolute; 156 l uncompensated; 157 l compensated; 158 kat; 159 min; 160 h;
    161 Q at 45°; 162 Q at 60°; 163 Qh at 45°; 164 Qh at 60°; 165 J/kg; 166 m³ uncompensated;
    167 m³ compensated; 168 W/W; 169 therm
""")

CURRENCIES = table("""
    0 not applicable; 36 AUD; 124 CAD; 156 CNY; 203 CZK; 208 DKK; 348 HUF; 352 ISK; 356 INR;
    376 ILS; 392 JPY; 410 KRW; 484 MXN; 554 NZD; 578 NOK; 643 RUB; 702 SGD; 710 ZAR; 752 SEK;
    756 CHF; 784 AED; 826 GBP; 840 USD; 941 RSD; 946 RON; 949 TRY; 975 BGN; 978 EUR; 980 UAH;
    985 PLN; 986 BRL
""")
