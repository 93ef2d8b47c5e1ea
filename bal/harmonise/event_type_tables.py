"""What the codes of an EndDeviceEventType mean: the tables of IEC 61968-9 annex E, in a few words.

Of IEC 61968-9 EndDeviceEventType.type, EndDeviceEventType.domain, EndDeviceEventType.subDomain and
EndDeviceEventType.eventOrAction. The standard is not public. The numbers are those that makers of
meters and of head-ends publish of their event codes, without their private ones; the words are our
own. What becomes of a code that is not here: docs/spec/end-device-events.md.
"""

from bal.harmonise.reading_type_tables import table

TYPES = table("""
    0 not applicable; 1 data aggregation point; 2 demand response device; 3 electricity meter;
    4 gas meter; 5 gateway; 6 signal processor; 7 premises network gateway; 8 transformer;
    10 collector; 11 network router; 12 premises network device; 13 feeder; 14 generator;
    15 in-home display; 16 load control device; 17 premises network meter;
    18 prepayment terminal; 19 controllable thermostat; 20 range extender; 21 regulator;
    22 substation; 23 energy router; 24 water meter; 25 waste water meter;
    26 communication module; 58 electric vehicle
""")

DOMAINS = table("""
    0 not applicable; 1 communication; 2 battery; 3 cartridge; 4 gas supply; 5 water supply;
    6 installation; 7 configuration; 8 demand; 9 module firmware; 10 pairing; 11 firmware;
    12 security; 13 video display; 14 mobile security; 15 load control; 16 load profile; 17 logs;
    18 memory; 19 modem; 20 billing; 21 metrology; 23 network; 26 power; 29 pressure;
    31 remote connect and disconnect; 35 temperature; 36 clock; 37 watchdog; 38 pulse counter;
    39 associated device; 40 volume
""")

SUBDOMAINS = table("""
    0 not applicable; 1 access; 2 allocation; 3 keep-alive process; 4 frequency;
    5 automatic registration; 6 current; 7 automatic time; 8 credit; 9 pricing; 10 identity;
    11 maintenance mode; 12 metering mode; 13 British thermal units; 14 buffer; 15 cable;
    16 calculation; 17 status; 18 calibration; 19 test mode; 21 certificate; 22 charge;
    23 constants; 24 password; 25 phase; 26 control point; 27 power factor; 28 power quality;
    29 cover; 30 cyclic redundancy check; 31 data; 32 security key; 33 data log; 34 date; 35 day;
    36 decryption; 38 voltage; 39 concentration; 40 encoder; 41 encoder register; 42 EPROM;
    43 event; 44 event log; 45 external wireless module; 46 feature; 47 firmware reset; 48 flow;
    49 supercompressibility; 50 frames; 51 gas chromatograph; 52 head-end system;
    53 history log; 54 HMAC; 55 input; 56 daylight saving time; 57 install date;
    58 intelligent register; 59 interval; 60 input and output; 61 LAN address; 62 last read;
    63 list; 64 list pointers; 65 login; 66 magnetic switch; 67 measurement; 68 mesh; 69 mobile;
    70 mole percent; 71 network id; 72 non-volatile memory; 73 window; 74 association;
    75 parameter; 76 parent device; 77 parity; 78 phase sequence; 79 phase voltage;
    80 power quality recording; 81 prepayment credit; 82 processor; 83 program; 84 pulse; 85 RAM;
    86 rate; 87 readings; 88 recovery; 89 register; 90 registration; 91 relay; 92 ROM;
    93 rotation; 94 real-time pricing; 95 schedule; 96 secondary credit; 97 holiday;
    98 secured register; 99 secured table; 100 self-test; 101 set point; 102 sigmatic message;
    103 signature; 104 signature length; 105 signature time stamp; 106 signature usage;
    107 standard time; 108 standby mode; 109 storage; 110 table; 111 test; 112 text message;
    113 tier; 114 time; 115 time reset; 116 time synchronisation; 117 time variance;
    118 time zone; 119 security key length; 120 security key version; 121 time of use;
    122 transceiver; 123 usage; 124 version; 125 time-out; 126 phase A; 127 IP address; 128 door;
    129 session; 130 phase angle; 131 voltage of phase A; 132 voltage of phase B;
    133 voltage of phase C; 134 phase B; 135 phase C; 136 radio; 137 neutral current;
    138 emergency limit of supply; 139 limit of supply; 140 tariff; 141 enclosure;
    142 analogue-to-digital converter; 143 display; 144 sensor; 145 low-speed bus;
    146 option board; 147 meter bus; 148 all events; 197 queue; 202 read access;
    211 remote access; 228 season; 231 self-read; 240 specific gravity; 261 threshold;
    282 write access; 283 activation; 284 checksum; 285 alarm table; 286 measurement type;
    287 current of phase A; 288 current of phase B; 289 current of phase C; 290 apparent power;
    291 apparent power of phase A; 292 apparent power of phase B; 293 apparent power of phase C;
    294 reactive power; 295 reactive power of phase A; 296 reactive power of phase B;
    297 reactive power of phase C; 298 initialisation
""")

EVENTS_OR_ACTIONS = table("""
    0 not applicable; 1 aborted; 2 accessed; 3 acknowledged; 4 activated; 5 arm for closure;
    6 arm for opening; 7 attempted; 8 cancel; 10 cancelled; 11 armed for closure;
    12 armed for opening; 13 change; 14 change pending; 15 charged; 16 closed; 17 confirmed;
    18 connect; 19 deactivated; 20 delayed; 21 calculated; 22 disable; 23 disconnect; 24 changed;
    25 downloaded; 26 enable; 27 change-out required; 28 cleared; 29 established; 30 execute;
    31 cold started; 32 full; 33 initialised; 34 in progress; 35 invalid; 36 loaded; 37 normal;
    38 not authorised; 39 opened; 40 out of range; 41 pre-empted; 42 connected; 43 corrupted;
    44 processed; 45 cross phase detected; 46 read; 47 loss detected; 48 ready;
    49 re-established; 50 registered; 51 released; 52 replaced; 53 restarted; 54 start; 55 stop;
    56 substituted; 57 decreased; 58 succeeded; 59 terminated; 60 uploaded; 61 uninitialised;
    62 unlocked; 63 not secure; 64 expired; 65 reset failed; 66 disabled; 67 connect failed;
    68 disconnected; 69 high distortion; 70 cross phase cleared; 71 high distortion cleared;
    72 inactivity cleared; 73 maximum limit cleared; 74 out of range cleared;
    75 imbalance cleared; 76 enabled; 77 display; 78 displayed; 79 error; 80 opted in;
    81 opted out; 82 create; 83 created; 84 disconnect failed; 85 failed; 86 cancel failed;
    87 display failed; 88 frozen; 91 distorted; 93 maximum limit reached; 98 imbalanced;
    100 inactive; 102 increased; 105 installed; 139 exceeded; 150 minimum limit reached;
    159 mismatched; 160 not found; 161 disallowed; 177 overflow; 212 removed; 213 reprogrammed;
    214 reset; 215 reset occurred; 216 restored; 217 start failed; 218 stop failed;
    219 reversed; 220 disable failed; 221 enable failed; 222 arm for opening failed;
    223 sag started; 224 sag stopped; 225 scheduled; 226 arm for closure failed; 227 sealed;
    242 started; 243 stopped; 248 swell started; 249 swell stopped; 257 tamper detected;
    263 tilted; 269 unsealed; 270 unstable; 278 warm started; 279 error cleared;
    280 ready for activation; 281 corruption cleared; 282 write failed; 283 almost full;
    285 missing; 286 limit reached; 287 event started; 288 event stopped;
    289 switch position changed; 290 not armed; 291 tamper cleared; 292 minimum limit cleared;
    293 maximum limit cleared; 294 minimum limit changed; 295 maximum limit changed;
    296 limit changed
""")
