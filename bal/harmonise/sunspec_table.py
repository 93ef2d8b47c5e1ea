"""Points of SunSpec's information models, as data.

Source: SunSpec Information Model Reference (models 1, 101-103, 111-113, 120, 122, 124, 160,
201-204, 211-214, 701, 702, 713, 714, 802): names, types, scale factors and symbols of the points.
What a point is called here, its register, is ours (docs/spec/sunspec.md).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from bal.harmonise import quantity as q
from bal.harmonise import sunspec_states as s
from bal.harmonise.quantity import Quantity
from bal.harmonise.states import States

COMMON = 1

_UNITS: dict[str, tuple[Quantity, int]] = {  # → quantity, power of ten; *: rated or set
    "A": (q.CURRENT, 0),
    "V": (q.VOLTAGE, 0),
    "W": (q.ACTIVE_POWER, 0),
    "VA": (q.APPARENT_POWER, 0),
    "var": (q.REACTIVE_POWER, 0),
    "Wh": (q.ACTIVE_ENERGY, 0),
    "VAh": (q.APPARENT_ENERGY, 0),
    "varh": (q.REACTIVE_ENERGY, 0),
    "Hz": (q.FREQUENCY, 0),
    "cos": (q.POWER_FACTOR, 0),
    "cos%": (q.POWER_FACTOR, -2),  # "Pct": 98.5 is cos φ 0.985
    "C": (q.TEMPERATURE_C, 0),
    "soc": (q.STATE_OF_CHARGE, 0),
    "%": (q.SHARE, 0),
    "n": (q.COUNT, 0),
    "DC-W": (q.DC_POWER, 0),
    "DC-Wh": (q.DC_ENERGY, 0),
    "Ah": (q.CHARGE, 0),
    "S": (q.SUSCEPTANCE, 0),
    "A*": (q.RATED_CURRENT, 0),
    "V*": (q.RATED_VOLTAGE, 0),
    "W*": (q.RATED_ACTIVE_POWER, 0),
    "VA*": (q.RATED_APPARENT_POWER, 0),
    "var*": (q.RATED_REACTIVE_POWER, 0),
    "Wh*": (q.RATED_ACTIVE_ENERGY, 0),
    "cos*": (q.RATED_POWER_FACTOR, 0),
}


class Point(NamedTuple):
    """A point that is a number with a unit, or (quantity None) a state."""

    type: str  # of its registers
    scale: str  # point that holds its scale factor, "" for none
    register: str  # "" for a state
    quantity: Quantity | None
    shift: int = 0
    words: States | None = None  # of a state; None where its maker defines it


class Model(NamedTuple):
    """One information model."""

    points: Mapping[str, Point]
    group: str = ""  # member that holds the repeating group
    of_group: Mapping[str, Point] = MappingProxyType(
        {}
    )  # `#` in a register is the number of the instance
    evidence: frozenset[str] = frozenset()  # points that are no values and have no record


def _points(text: str) -> dict[str, Point]:
    """Lines of: point, type, scale factor or `-`, unit, register."""
    found: dict[str, Point] = {}
    for line in text.strip().splitlines():
        name, kind, scale, unit, register = line.split()
        quantity, shift = _UNITS[unit]
        found[name] = Point(kind, "" if scale == "-" else scale, register, quantity, shift)
    return found


def _states(kind: str, **words: States | None) -> dict[str, Point]:
    return {name: Point(kind, "", "", None, 0, one) for name, one in words.items()}


def _floats(points: dict[str, Point]) -> dict[str, Point]:
    """The same of a model whose values are floating point and have no scale factors."""
    return {
        name: one if one.quantity is None else one._replace(type="float32", scale="")
        for name, one in points.items()
    }


_INVERTER = _points("""
    A       uint16  A_SF    A       current
    AphA    uint16  A_SF    A       current.A
    AphB    uint16  A_SF    A       current.B
    AphC    uint16  A_SF    A       current.C
    PPVphAB uint16  V_SF    V       voltage.AB
    PPVphBC uint16  V_SF    V       voltage.BC
    PPVphCA uint16  V_SF    V       voltage.CA
    PhVphA  uint16  V_SF    V       voltage.AN
    PhVphB  uint16  V_SF    V       voltage.BN
    PhVphC  uint16  V_SF    V       voltage.CN
    W       int16   W_SF    W       activePower
    Hz      uint16  Hz_SF   Hz      frequency
    VA      int16   VA_SF   VA      apparentPower
    VAr     int16   VAr_SF  var     reactivePower
    PF      int16   PF_SF   cos%    powerFactor
    WH      acc32   WH_SF   Wh      activeEnergyExport
    DCA     uint16  DCA_SF  A       current.DC
    DCV     uint16  DCV_SF  V       voltage.DC
    DCW     int16   DCW_SF  DC-W    power.DC
    TmpCab  int16   Tmp_SF  C       temperature.cabinet
    TmpSnk  int16   Tmp_SF  C       temperature.heatSink
    TmpTrns int16   Tmp_SF  C       temperature.transformer
    TmpOt   int16   Tmp_SF  C       temperature.other
""") | _states("enum16", St=s.INVERTER, StVnd=None) | _states(
    "bitfield32", Evt1=s.INVERTER_EVENTS, Evt2=None, EvtVnd1=None, EvtVnd2=None, EvtVnd3=None,
    EvtVnd4=None,
)  # fmt: skip

_DER_AC = _points("""
    W           int16   W_SF        W       activePower
    VA          int16   VA_SF       VA      apparentPower
    Var         int16   Var_SF      var     reactivePower
    PF          int16   PF_SF       cos     powerFactor
    A           int16   A_SF        A       current
    LLV         uint16  V_SF        V       voltage.LL
    LNV         uint16  V_SF        V       voltage.LN
    Hz          uint32  Hz_SF       Hz      frequency
    TotWhInj    uint64  TotWh_SF    Wh      activeEnergyExport
    TotWhAbs    uint64  TotWh_SF    Wh      activeEnergyImport
    TotVarhInj  uint64  TotVarh_SF  varh    reactiveEnergyExport
    TotVarhAbs  uint64  TotVarh_SF  varh    reactiveEnergyImport
    TmpAmb      int16   Tmp_SF      C       temperature.ambient
    TmpCab      int16   Tmp_SF      C       temperature.cabinet
    TmpSnk      int16   Tmp_SF      C       temperature.heatSink
    TmpTrns     int16   Tmp_SF      C       temperature.transformer
    TmpSw       int16   Tmp_SF      C       temperature.switch
    TmpOt       int16   Tmp_SF      C       temperature.other
    VL1L2       uint16  V_SF        V       voltage.AB
    VL2L3       uint16  V_SF        V       voltage.BC
    VL3L1       uint16  V_SF        V       voltage.CA
    ThrotPct    uint16  -           %       throttling
""")
for _line, _phase in (("L1", "A"), ("L2", "B"), ("L3", "C")):
    _DER_AC |= _points(f"""
    W{_line}          int16   W_SF        W     activePower.{_phase}
    VA{_line}         int16   VA_SF       VA    apparentPower.{_phase}
    Var{_line}        int16   Var_SF      var   reactivePower.{_phase}
    PF{_line}         int16   PF_SF       cos   powerFactor.{_phase}
    A{_line}          int16   A_SF        A     current.{_phase}
    V{_line}          uint16  V_SF        V     voltage.{_phase}N
    TotWhInj{_line}   uint64  TotWh_SF    Wh    activeEnergyExport.{_phase}
    TotWhAbs{_line}   uint64  TotWh_SF    Wh    activeEnergyImport.{_phase}
    TotVarhInj{_line} uint64  TotVarh_SF  varh  reactiveEnergyExport.{_phase}
    TotVarhAbs{_line} uint64  TotVarh_SF  varh  reactiveEnergyImport.{_phase}
    """)
_DER_AC |= _states(
    "enum16", ACType=s.WIRING, St=s.OFF_ON, InvSt=s.DER_INVERTER, ConnSt=s.CONNECTION
)
_DER_AC |= _states("bitfield32", Alrm=s.DER_ALARMS, DERMode=s.DER_MODES, ThrotSrc=s.THROTTLING)

_NAMEPLATE = _points("""
    WRtg          uint16  WRtg_SF          W*    rtgMaxW
    VARtg         uint16  VARtg_SF         VA*   rtgMaxVA
    VArRtgQ1      int16   VArRtg_SF        var*  rtgMaxVar.Q1
    VArRtgQ2      int16   VArRtg_SF        var*  rtgMaxVar.Q2
    VArRtgQ3      int16   VArRtg_SF        var*  rtgMaxVar.Q3
    VArRtgQ4      int16   VArRtg_SF        var*  rtgMaxVar.Q4
    ARtg          uint16  ARtg_SF          A*    rtgMaxA
    PFRtgQ1       int16   PFRtg_SF         cos*  rtgMinPF.Q1
    PFRtgQ2       int16   PFRtg_SF         cos*  rtgMinPF.Q2
    PFRtgQ3       int16   PFRtg_SF         cos*  rtgMinPF.Q3
    PFRtgQ4       int16   PFRtg_SF         cos*  rtgMinPF.Q4
    WHRtg         uint16  WHRtg_SF         Wh*   rtgMaxWh
    AhrRtg        uint16  AhrRtg_SF        Ah         rtgMaxAh
    MaxChaRte     uint16  MaxChaRte_SF     W*    rtgMaxChargeRateW
    MaxDisChaRte  uint16  MaxDisChaRte_SF  W*    rtgMaxDischargeRateW
""") | _states("enum16", DERTyp=s.DER_TYPE)

_CAPACITY = _points("""
    WMaxRtg          uint16  W_SF    W*    rtgMaxW
    WOvrExtRtg       uint16  W_SF    W*    rtgOverExcitedW
    WOvrExtRtgPF     uint16  PF_SF   cos*  rtgOverExcitedPF
    WUndExtRtg       uint16  W_SF    W*    rtgUnderExcitedW
    WUndExtRtgPF     uint16  PF_SF   cos*  rtgUnderExcitedPF
    VAMaxRtg         uint16  VA_SF   VA*   rtgMaxVA
    VarMaxInjRtg     uint16  Var_SF  var*  rtgMaxVar
    VarMaxAbsRtg     uint16  Var_SF  var*  rtgMaxVarAbsorbed
    WChaRteMaxRtg    uint16  W_SF    W*    rtgMaxChargeRateW
    WDisChaRteMaxRtg uint16  W_SF    W*    rtgMaxDischargeRateW
    VAChaRteMaxRtg   uint16  VA_SF   VA*   rtgMaxChargeRateVA
    VADisChaRteMaxRtg uint16 VA_SF   VA*   rtgMaxDischargeRateVA
    VNomRtg          uint16  V_SF    V*    rtgVNom
    VMaxRtg          uint16  V_SF    V*    rtgMaxV
    VMinRtg          uint16  V_SF    V*    rtgMinV
    AMaxRtg          uint16  A_SF    A*    rtgMaxA
    PFOvrExtRtg      uint16  PF_SF   cos*  rtgMinPFOverExcited
    PFUndExtRtg      uint16  PF_SF   cos*  rtgMinPFUnderExcited
    ReactSusceptRtg  uint16  S_SF    S          rtgReactiveSusceptance
    WMax             uint16  W_SF    W*    setMaxW
    WMaxOvrExt       uint16  W_SF    W*    setOverExcitedW
    WOvrExtPF        uint16  PF_SF   cos*  setOverExcitedPF
    WMaxUndExt       uint16  W_SF    W*    setUnderExcitedW
    WUndExtPF        uint16  PF_SF   cos*  setUnderExcitedPF
    VAMax            uint16  VA_SF   VA*   setMaxVA
    VarMaxInj        uint16  Var_SF  var*  setMaxVar
    VarMaxAbs        uint16  Var_SF  var*  setMaxVarAbsorbed
    WChaRteMax       uint16  W_SF    W*    setMaxChargeRateW
    WDisChaRteMax    uint16  W_SF    W*    setMaxDischargeRateW
    VAChaRteMax      uint16  VA_SF   VA*   setMaxChargeRateVA
    VADisChaRteMax   uint16  VA_SF   VA*   setMaxDischargeRateVA
    VNom             uint16  V_SF    V*    setVNom
    VMax             uint16  V_SF    V*    setMaxV
    VMin             uint16  V_SF    V*    setMinV
    AMax             uint16  A_SF    A*    setMaxA
    PFOvrExt         uint16  PF_SF   cos*  setMinPFOverExcited
    PFUndExt         uint16  PF_SF   cos*  setMinPFUnderExcited
""") | _states("enum16", NorOpCatRtg=s.NORMAL, AbnOpCatRtg=s.ABNORMAL) | _states(
    "bitfield16", IntIslandCatRtg=s.ISLANDING, IntIslandCat=s.ISLANDING
) | _states("bitfield32", CtrlModes=s.CONTROL_MODES)  # fmt: skip

_STATUS = _points("""
    ActWh    acc64   -          Wh         activeEnergyExport
    VArAval  int16   VArAval_SF var*  statVarAvail
    WAval    uint16  WAval_SF   W*    statWAvail
""") | _states("bitfield16", PVConn=s.CONNECTED, StorConn=s.CONNECTED, ECPConn=s.ECP)  # fmt: skip

_STORAGE = _points("""
    WChaMax   uint16  WChaMax_SF   W*   setMaxChargeRateW
    VAChaMax  uint16  VAChaMax_SF  VA*  setMaxChargeRateVA
    ChaState  uint16  ChaState_SF  soc       stateOfCharge
    StorAval  uint16  StorAval_SF  Ah        statAhAvail
    InBatV    uint16  InBatV_SF    V         voltage.DC
""") | _states("enum16", ChaSt=s.CHARGE)  # fmt: skip

_BATTERY = _points("""
    AHRtg         uint16  AHRtg_SF          Ah        rtgMaxAh
    WHRtg         uint16  WHRtg_SF          Wh*  rtgMaxWh
    WChaRteMax    uint16  WChaDisChaMax_SF  W*   rtgMaxChargeRateW
    WDisChaRteMax uint16  WChaDisChaMax_SF  W*   rtgMaxDischargeRateW
    DisChaRte     uint16  DisChaRte_SF      %         selfDischargeRate
    SoCMax        uint16  SoC_SF            %         rtgMaxStateOfCharge
    SoCMin        uint16  SoC_SF            %         rtgMinStateOfCharge
    SocRsvMax     uint16  SoC_SF            %         setMaxReserve
    SoCRsvMin     uint16  SoC_SF            %         setMinReserve
    SoC           uint16  SoC_SF            soc       stateOfCharge
    DoD           uint16  DoD_SF            %         depthOfDischarge
    SoH           uint16  SoH_SF            %         stateOfHealth
    NCyc          uint32  -                 n         cycles
    V             uint16  V_SF              V         voltage.DC
    VMax          uint16  V_SF              V*   rtgMaxV.DC
    VMin          uint16  V_SF              V*   rtgMinV.DC
    CellVMax      uint16  CellV_SF          V         voltage.cellMax
    CellVMin      uint16  CellV_SF          V         voltage.cellMin
    CellVAvg      uint16  CellV_SF          V         voltage.cellAverage
    A             int16   A_SF              A         current.DC
    AChaMax       uint16  AMax_SF           A*   setMaxChargeA
    ADisChaMax    uint16  AMax_SF           A*   setMaxDischargeA
    W             int16   W_SF              DC-W      power.DC
""") | _states(
    "enum16", ChaSt=s.CHARGE, LocRemCtl=s.CONTROL, Typ=s.BATTERY_TYPE, State=s.BATTERY,
    StateVnd=None,
) | _states("bitfield32", Evt1=s.BATTERY_EVENTS, Evt2=None, EvtVnd1=None, EvtVnd2=None)  # fmt: skip

_CAPACITY_OF_STORAGE = _points("""
    WHRtg    uint16  WH_SF   Wh*  rtgMaxWh
    WHAvail  uint16  WH_SF   Wh*  statWhAvail
    SoC      uint16  Pct_SF  soc       stateOfCharge
    SoH      uint16  Pct_SF  %         stateOfHealth
""") | _states("enum16", Sta=s.OK)  # fmt: skip

_MODULE = _points("""
    DCA   uint16  DCA_SF   A      current.DC#
    DCV   uint16  DCV_SF   V      voltage.DC#
    DCW   uint16  DCW_SF   DC-W   power.DC#
    DCWH  acc32   DCWH_SF  DC-Wh  energy.DC#
    Tmp   int16   -        C      temperature.DC#
""") | _states("enum16", DCSt=s.MODULE) | _states("bitfield32", DCEvt=s.MODULE_EVENTS)  # fmt: skip

_DC = _points("""
    DCA      int16   DCA_SF   A      current.DC
    DCW      int16   DCW_SF   DC-W   power.DC
    DCWhInj  uint64  DCWH_SF  DC-Wh  energyExport.DC
    DCWhAbs  uint64  DCWH_SF  DC-Wh  energyImport.DC
""") | _states("bitfield32", PrtAlrms=s.PORT_ALARMS)  # fmt: skip
_PORT = _points("""
    DCA      int16   DCA_SF   A      current.DC#
    DCV      uint16  DCV_SF   V      voltage.DC#
    DCW      int16   DCW_SF   DC-W   power.DC#
    DCWhInj  uint64  DCWH_SF  DC-Wh  energyExport.DC#
    DCWhAbs  uint64  DCWH_SF  DC-Wh  energyImport.DC#
    Tmp      int16   Tmp_SF   C      temperature.DC#
""") | _states("enum16", PrtTyp=s.PORT_TYPE, DCSta=s.PORT) | _states(
    "bitfield32", DCAlrm=s.PORT_ALARMS
)  # fmt: skip


def _code(direction: int, kind: int, phases: int, unit: int, accumulation: int = 12) -> str:
    """The ReadingType code of IEC 61968-9 for what a meter says at an instant."""
    return f"0.0.0.{accumulation}.{direction}.1.{kind}.0.0.0.0.0.0.0.{phases}.0.{unit}.0"


def _meter() -> dict[str, Point]:
    """Models 201 to 204: a meter's registers are those that a head-end has for them."""
    found: dict[str, Point] = {}

    def add(name: str, kind: str, scale: str, unit: str, code: str) -> None:
        quantity, shift = _UNITS[unit]
        found[name] = Point(kind, scale, code, quantity, shift)

    phases = (("", 0), ("A", 128), ("B", 64), ("C", 32))
    for phase, code in phases:
        ph = f"ph{phase}" if phase else ""
        add(f"A{ph}", "int16", "A_SF", "A", _code(0, 4, code, 5))
        add(f"W{ph}", "int16", "W_SF", "W", _code(0, 37, code, 38))
        add(f"VA{ph}", "int16", "VA_SF", "VA", _code(0, 37, code, 61))
        add(f"VAR{ph}", "int16", "VAR_SF", "var", _code(0, 37, code, 63))
        add(f"PF{ph}", "int16", "PF_SF", "cos%", _code(0, 38, code, 65))
        of = f"Ph{phase}" if phase else ""
        for way, direction in (("Exp", 19), ("Imp", 1)):
            energy = _code(direction, 12, code, 72, 1)
            add(f"TotWh{way}{of}", "acc32", "TotWh_SF", "Wh", energy)
            energy = _code(direction, 12, code, 71, 1)
            add(f"TotVAh{way}{of}", "acc32", "TotVAh_SF", "VAh", energy)
        for way, direction in (("ImpQ1", 15), ("ImpQ2", 16), ("ExpQ3", 17), ("ExpQ4", 18)):
            energy = _code(direction, 12, code, 73, 1)
            for name in {f"TotVArh{way}{of}", f"TotVArh{way}{ph}"}:  # 211 to 214 have the latter
                add(name, "acc32", "TotVArh_SF", "varh", energy)
    voltages = {"PhV": 225, "PhVphA": 129, "PhVphB": 65, "PhVphC": 33, "PPV": 224}
    for form in ("PPVph", "PhVph"):  # 201 has the former, 202 to 204 the latter
        voltages |= {f"{form}AB": 132, f"{form}BC": 66, f"{form}CA": 40}
    for name, code in voltages.items():
        add(name, "int16", "V_SF", "V", _code(0, 54, code, 29))
    add("Hz", "int16", "Hz_SF", "Hz", _code(0, 15, 0, 33))
    return found | _states("bitfield32", Evt=s.METER_EVENTS)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_METER = _meter()
_COMMON = _names("Mn Md Opt Vr SN DA")
_MODULES = _names("N TmsPer ID IDStr Tms")

MODELS: dict[int, Model] = {
    COMMON: Model({}, evidence=_COMMON),
    **dict.fromkeys((101, 102, 103), Model(_INVERTER)),
    **dict.fromkeys((111, 112, 113), Model(_floats(_INVERTER))),
    120: Model(_NAMEPLATE),
    122: Model(
        _STATUS,
        evidence=_names(
            "TmSrc Tms ActVAh ActVArhQ1 ActVArhQ2 ActVArhQ3 ActVArhQ4 StSetLimMsk StActCtl RtSt Ris"
        ),
    ),
    124: Model(
        _STORAGE,
        evidence=_names(
            "WChaGra WDisChaGra StorCtl_Mod MinRsvPct OutWRte InWRte InOutWRte_WinTms"
            " InOutWRte_RvrtTms InOutWRte_RmpTms ChaGriSet"
        ),
    ),
    160: Model(_states("bitfield32", Evt=s.MODULE_EVENTS), "module", _MODULE, evidence=_MODULES),
    **dict.fromkeys((201, 202, 203, 204), Model(_METER)),
    **dict.fromkeys((211, 212, 213, 214), Model(_floats(_METER))),
    701: Model(_DER_AC, evidence=_names("MnAlrmInfo")),
    702: Model(_CAPACITY),
    713: Model(_CAPACITY_OF_STORAGE),
    714: Model(_DC, "Prt", _PORT, evidence=_names("NPrt ID IDStr")),
    802: Model(
        _BATTERY,
        evidence=_names(
            "Hb CtrlHb AlmRst WarrDt CellVMaxStr CellVMaxMod CellVMinStr CellVMinMod"
            " ReqInvState ReqW SetOp SetInvState"
        ),
    ),
}

NAMES: dict[str, int] = {  # a model's own name for its group → its number
    "common": COMMON,
    "inverter": 103,
    "inverter_single_phase": 101, "inverter_split_phase": 102, "inverter_three_phase": 103,
    "inverter_single_phase_float": 111, "inverter_split_phase_float": 112,
    "inverter_three_phase_float": 113,
    "nameplate": 120, "status": 122, "storage_basic": 124, "mppt": 160,
    "ac_meter_an_or_ab": 201, "ac_meter_abn": 202, "ac_meter_abcn": 203, "ac_meter_abc": 204,
    "DERMeasureAC": 701, "DERCapacity": 702, "DERStorageCapacity": 713, "DERMeasureDC": 714,
    "battery": 802,
}  # fmt: skip
