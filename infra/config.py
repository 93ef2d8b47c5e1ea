"""The configuration file: TOML, every key documented in docs/configuration.md, no others taken."""

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from bal.derive.vee_rules import VeeRules
from bal.errors import Stop

# It is the name in vkeys, signatures and checkpoints, where a space or a + would end it
# (c2sp.org/signed-note, c2sp.org/tlog-checkpoint: a schema-less URL). "" is none.
_ORIGIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?(?:/[A-Za-z0-9._~/-]*)?)?")


@dataclass(frozen=True, slots=True)
class AnchorConfig:
    """[anchor]: when and where heads go on chain."""

    interval_s: int = 10  # between two heads; the promise stands in the log's entry 0
    rpc_url: str = ""  # JSON-RPC endpoint; "" runs the chain inside the process
    contract: str = ""  # address of a deployed CheckpointAnchor; "" deploys one (own chain only)
    key_file: str = ""  # anchorer's key, 64 hex digits; "" makes one in the data folder
    depth: int = 0  # blocks on top before a head is final; 0 on the platform's own chain
    fee_max_gwei: int = 0  # per gas, at most; 0: no limit
    deploy: bool = False  # deploy the contract at the first start, with the folder's admin key


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """[checkpoint]: how often a signed head is published."""

    interval_ms: int = 100  # at most one in this time


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """[limits]: what the platform takes at most."""

    message_bytes: int = 4 * 1024 * 1024  # one raw message
    depth: int = 64  # nesting levels of XML and JSON
    sessions: int = 10_000  # MQTT sessions at once
    backlog_messages: int = 100_000  # on the bus and not yet in the log; above, intake says wait
    disk_free_bytes: int = 512 * 1024 * 1024  # less is an alarm
    disk_stop_bytes: int = 128 * 1024 * 1024  # below, nothing more is accepted
    bulk_processes: int = field(default=4, metadata={"zero": True})  # for bulk messages; 0: none


@dataclass(frozen=True, slots=True)
class LogConfig:
    """[log]: who the log is."""

    origin: str = ""  # schema-less URL that names the log; "" makes gridseal.invalid/<16 hex>


@dataclass(frozen=True, slots=True)
class DayConfig:
    """[day]: when a day is closed."""

    grace_h: int = 0  # hours after a day's end before its device-days are written
    back_days: int = 31  # from then on; what ended longer ago is closed by command only


@dataclass(frozen=True, slots=True)
class VeeConfig:
    """[vee]: what is checked and estimated when a day is closed (docs/spec/vee.md)."""

    enabled: bool = False  # costs a close about as much again
    estimate: bool = True  # missing slots get estimates; without, there are findings only
    power_kw_max: int = 1_000  # what a connection carries; more energy is a finding

    def rules(self) -> VeeRules | None:
        """The limits of the checks; None where there are none."""
        if not self.enabled:
            return None
        return VeeRules(estimate=int(self.estimate), power_w_max=self.power_kw_max * 1000)


@dataclass(frozen=True, slots=True)
class SignerConfig:
    """[signer]: the log's key in a PKCS#11 token; without a module it is a file."""

    module: str = ""  # the token's PKCS#11 library
    token: str = ""  # its label
    label: str = ""  # CKA_LABEL of the Ed25519 key pair
    pin_file: str = ""  # the user PIN alone, 0600


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """[kafka]: the bus; without an address it is in the data folder."""

    bootstrap: str = ""  # host:port, several with commas between
    ca: str = ""  # PEM files: who vouches for Kafka, and whom Kafka knows the platform by
    certificate: str = ""
    key: str = ""
    topic: str = ""  # bal.raw.<epoch>
    audit_certificate: str = ""  # PEM files of who only looks; else those above
    audit_key: str = ""


@dataclass(frozen=True, slots=True)
class CassandraConfig:
    """[cassandra]: the customer database; without an address it is in the data folder."""

    hosts: str = ""  # contact points, several with commas between
    port: int = 9042
    ca: str = ""  # PEM files
    certificate: str = ""
    key: str = ""
    passwords: str = ""  # folder with a file for each role: writer, reader
    keyspace: str = "gridseal"
    datacenter: str = ""  # the nearest; "" where there is one
    heads: bool = False  # the log's heads row is there, too
    log_keyspace: str = "gridseal_log"  # where that row is


@dataclass(frozen=True, slots=True)
class MosquittoConfig:
    """[mosquitto]: a broker whose messages are taken too."""

    host: str = ""
    port: int = 8883
    ca: str = ""  # PEM files
    certificate: str = ""
    key: str = ""
    passwords: str = ""  # folder with a file for each of the platform's users: collector, receipts
    accounts: str = ""  # the broker's own password file, which devices are enrolled in; "": by hand
    pid_file: str = ""  # of the broker, which is told to read its accounts again


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """[http]: what the gateways are to their callers; counts for `gridseal run gateway`."""

    issuer: str = ""  # https://… that all gateways are reached by; "": each by its own address


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """[mqtt]: what the collectors are to their devices; counts for `gridseal run collector`."""

    url: str = ""  # mqtts://… that all collectors are reached by; "": each by its own address


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """[dataset]: what catalogues are told of the data (docs/semantics.md)."""

    title: str = "Gridseal"  # what it is called
    licence: str = ""  # IRI of the terms of use; "": nothing is said
    publisher: str = ""  # IRI of who answers for the data; "": nothing is said


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file; a missing table or key has its default."""

    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    day: DayConfig = field(default_factory=DayConfig)
    vee: VeeConfig = field(default_factory=VeeConfig)
    signer: SignerConfig = field(default_factory=SignerConfig)
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    cassandra: CassandraConfig = field(default_factory=CassandraConfig)
    mosquitto: MosquittoConfig = field(default_factory=MosquittoConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)


def is_origin(text: str) -> bool:
    """Whether a log may be named so; "" is no name and fine."""
    return _ORIGIN.fullmatch(text) is not None


def load(path: Path | None) -> Config:
    """Read a configuration file. Raises Stop("config-invalid") that names the key at fault."""
    if path is None:
        return Config()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Stop("config-invalid", f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Stop("config-invalid", f"{path}: {error}") from error
    tables = get_type_hints(Config)
    unknown = sorted(set(data) - set(tables))
    if unknown:
        raise Stop("config-invalid", f"{path}: there is no table [{unknown[0]}]")
    return Config(**{name: _table(path, name, tables[name], data[name]) for name in data})


def _table(path: Path, name: str, kind: type[Any], values: Any) -> Any:
    if not isinstance(values, dict):
        raise Stop("config-invalid", f"{path}: [{name}] must be a table")
    known = {f.name: f for f in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise Stop("config-invalid", f"{path}: there is no key {name}.{key}")
        wanted = get_type_hints(kind)[key]
        if type(value) is not wanted:
            raise Stop("config-invalid", f"{path}: {name}.{key} must be {wanted.__name__}")
        if (name, key) == ("log", "origin") and not is_origin(value):
            text = f"{path}: log.origin must be like example.org/log: no scheme, space or +"
            raise Stop("config-invalid", text)
        zero = known[key].default == 0 or known[key].metadata.get("zero", False)
        if wanted is int and (value < 0 or (value == 0 and not zero)):
            raise Stop("config-invalid", f"{path}: {name}.{key} must not be {value}")
    return kind(**values)
