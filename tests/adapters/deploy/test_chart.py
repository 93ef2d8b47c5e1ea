"""The Helm chart: linted, of the API server's forms, hardened, every setting known to the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import cli
from infra.config import Config, load
from tests.adapters.deploy.deploy_tools import (
    DEPLOY,
    KUBERNETES,
    ROLES,
    program,
    run,
    unpack_schemas,
)

CHART = DEPLOY / "helm" / "gridseal"
RUN = "/run/gridseal"
OWN_SERVERS = """
kafka: {bootstrap: "k1.example:9093,k2.example:9094", topic: bal.raw.0123456789abcdef}
cassandra: {hosts: "c1.example,c2.example", datacenter: north}
mosquitto: {host: broker.example, port: 8884}
anchor:
  rpcUrl: https://rpc.example/
  contract: "0x5FbDB2315678afecb367f032d93F642f64180aa3"
  keySecret: anchorer
config: {anchor: {depth: 12}, limits: {backlog_messages: 20000}, log: {origin: example.org/log}}
issuer: https://gridseal.example
mqttUrl: mqtts://meters.example:8883
image: {digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
imagePullSecrets: [{name: here}]
persistence: {existingClaim: mine}
roles: {worker: {autoscaling: {enabled: true}}, gateway: {autoscaling: {enabled: true}}}
services: {collector: {type: LoadBalancer, annotations: {a: b}}}
networkPolicy:
  metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]
  kafkaTo: [{ipBlock: {cidr: 192.0.2.0/24}}]
podAnnotations: {a: b}
nodeSelector: {kubernetes.io/hostname: one}
tolerations: [{key: a, operator: Exists}]
priorityClassName: high
"""
BACKUP = """
backup: {enabled: true, existingClaim: tapes, keep: 3, schedule: "5 4 * * 0", withoutKeys: true}
"""
HEADS = """
cassandra: {hosts: "c1.example,c2.example", heads: true, logKeyspace: grid_log}
"""
VALUES = {
    "nothing": "",
    "heads in Cassandra": HEADS,
    "own servers": OWN_SERVERS,
    "a backup": BACKUP,
    "own servers and a backup": OWN_SERVERS + BACKUP,
    "a secret file": "existingConfigSecret: whole\nnetworkPolicy: {enabled: false}",
}
Documents = list[dict[str, Any]]


def helm(folder: Path, verb: list[str | Path], values: str = "") -> tuple[int, str, str]:
    given = folder / "given.yaml"
    given.write_text(values)
    command = [program("helm"), *verb, CHART, "--values", given, "--kube-version", KUBERNETES[1]]
    done = run([*command, "--namespace", "grid"], folder)
    return done.returncode, done.stdout, done.stderr


def render(folder: Path, values: str) -> str:
    code, out, said = helm(folder, ["template", "here"], values)
    assert code == 0, said
    return out


@pytest.fixture(scope="module", params=VALUES)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(tmp_path_factory.mktemp("helm"), VALUES[request.param])


@pytest.fixture(scope="module")
def documents(rendered: str) -> Documents:
    return [one for one in yaml.safe_load_all(rendered) if one]


def of_kind(documents: Documents, kind: str) -> Documents:
    return [one for one in documents if one["kind"] == kind]


def roles(documents: Documents) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod of each role."""
    for one in of_kind(documents, "Deployment"):
        yield one["metadata"]["labels"]["app.kubernetes.io/component"], one["spec"]["template"]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_helm_lints_it(tmp_path: Path, values: str) -> None:
    code, out, said = helm(tmp_path, ["lint", "--strict"], values)
    assert code == 0, out + said
    assert "0 chart(s) failed" in out
    assert "[WARNING]" not in out


def test_it_is_what_the_api_server_takes(
    tmp_path: Path, rendered: str, documents: Documents
) -> None:
    kinds = {(one["apiVersion"], one["kind"]) for one in documents}
    schemas = unpack_schemas(tmp_path, kinds)
    file = tmp_path / "all.yaml"
    file.write_text(rendered)
    command = [program("kubeconform"), "-strict", "-summary", "-schema-location", schemas]
    for version in KUBERNETES:
        done = run([*command, "-kubernetes-version", version, file], tmp_path)
        assert done.returncode == 0, done.stdout
        assert f"Valid: {len(documents)}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout
    file.write_text(rendered.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    assert run([*command, "-kubernetes-version", version, file], tmp_path).returncode == 1


def test_each_role_is_there_and_hardened(documents: Documents) -> None:
    assert {name for name, _ in roles(documents)} == set(ROLES)
    for _, pod in roles(documents):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        outer = spec["securityContext"]
        assert (outer["runAsNonRoot"], outer["runAsUser"]) == (True, 10001)
        assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        assert not container.get("env"), "settings are options and the file"
        writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
        assert writable == {"/data", "/tmp"}
        for probe, path in (
            ("startupProbe", "live"),
            ("livenessProbe", "live"),
            ("readinessProbe", "ready"),
        ):
            assert container[probe]["httpGet"] == {"path": f"/health/{path}", "port": "status"}


def test_all_pods_are_on_the_node_of_the_one_volume(documents: Documents) -> None:
    claims, labels = set(), []
    for _, pod in roles(documents):
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        claims.add(volumes["data"]["persistentVolumeClaim"]["claimName"])
        (term,) = pod["spec"]["affinity"]["podAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        labels.append(term["labelSelector"]["matchLabels"])
        # its own, too: else the first pod would wait for another
        assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert len(claims) == 1
    assert all(one == labels[0] for one in labels)
    made = [one["metadata"]["name"] for one in of_kind(documents, "PersistentVolumeClaim")]
    assert claims in ({"mine"}, set(made))


def test_every_command_is_one_of_ours(documents: Documents) -> None:
    parser = cli._parser()
    for role, pod in roles(documents):
        (container,) = pod["spec"]["containers"]
        given = parser.parse_args([str(one) for one in container["args"]])
        assert (given.role, given.partitions, given.log_level) == (role, 4, "info")
        assert str(given.data).startswith("/data/")
        numbers = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert given.status == f"0.0.0.0:{numbers.pop('status')}"
        assert numbers == {"collector": {"mqtts": 8883}, "gateway": {"https": 8443}}.get(role, {})
    for one in of_kind(documents, "Service"):
        role = one["spec"]["selector"]["app.kubernetes.io/component"]
        assert [p["targetPort"] for p in one["spec"]["ports"]] == [
            {"collector": "mqtts", "gateway": "https"}[role]
        ]


def config(folder: Path, values: str) -> Config:
    """As a role reads it."""
    (one,) = of_kind(list(yaml.safe_load_all(render(folder, values))), "ConfigMap")
    file = folder / "gridseal.toml"
    file.write_text(one["data"]["gridseal.toml"])
    return load(file)


def test_the_configuration_is_one_of_ours(tmp_path: Path) -> None:
    found = config(tmp_path, "")
    assert found.http.issuer == "https://here-gridseal-gateway.grid.svc:8443"
    assert found.mqtt.url == "mqtts://here-gridseal-collector.grid.svc:8883"
    assert (found.kafka, found.cassandra, found.anchor) == (
        Config().kafka, Config().cassandra, Config().anchor,
    )  # fmt: skip
    found = config(tmp_path, OWN_SERVERS)
    assert found.kafka.bootstrap == "k1.example:9093,k2.example:9094"
    assert found.kafka.topic == "bal.raw.0123456789abcdef"
    assert (found.cassandra.hosts, found.cassandra.port) == ("c1.example,c2.example", 9042)
    assert found.cassandra.heads is False
    assert (found.mosquitto.host, found.mosquitto.port) == ("broker.example", 8884)
    assert (found.anchor.rpc_url, found.anchor.depth) == ("https://rpc.example/", 12)
    assert (found.limits.backlog_messages, found.log.origin) == (20_000, "example.org/log")
    assert found.http.issuer == "https://gridseal.example"
    assert found.mqtt.url == "mqtts://meters.example:8883"


def test_a_role_is_given_the_secrets_that_the_configuration_names(tmp_path: Path) -> None:
    found = config(tmp_path, OWN_SERVERS)
    named = {
        value
        for table in (found.kafka, found.cassandra, found.mosquitto, found.anchor)
        for key in ("ca", "certificate", "key", "key_file", "passwords")
        if (value := getattr(table, key, ""))
    }
    named = {path for path in named if not path.endswith("passwords")}
    documents = [one for one in yaml.safe_load_all(render(tmp_path, OWN_SERVERS)) if one]
    for role, pod in roles(documents):
        volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "settings")
        secrets = [one["secret"] for one in volume["projected"]["sources"] if "secret" in one]
        paths = {f"{RUN}/{item['path']}" for one in secrets for item in one["items"]}
        broker = {path for path in named if "/mosquitto/" in path}
        assert named - (set() if role == "collector" else broker) <= paths
        assert (f"{RUN}/cassandra-passwords/writer" in paths) == (role == "storer")
        assert bool(paths & broker) == (role == "collector")
        kafka = [one["name"] for one in secrets if "kafka" in one["name"]]
        assert kafka == [f"here-gridseal-kafka-{role}"]


def test_a_heads_row_in_cassandra_is_the_sequencers_alone_to_change(tmp_path: Path) -> None:
    found = config(tmp_path, HEADS)
    assert (found.cassandra.heads, found.cassandra.log_keyspace) == (True, "grid_log")
    documents = [one for one in yaml.safe_load_all(render(tmp_path, HEADS)) if one]
    for role, pod in roles(documents):
        volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "settings")
        secrets = [one["secret"] for one in volume["projected"]["sources"] if "secret" in one]
        paths = [item["path"] for one in secrets for item in one["items"]]
        logins = {path.rpartition("/")[2] for path in paths if "cassandra-passwords" in path}
        more = {role} if role == "sequencer" else {"writer"} if role == "storer" else set()
        assert logins == {"reader"} | more
    for values, word in (
        ("cassandra: {heads: true}", "cassandra.hosts says where"),
        ("cassandra: {hosts: c1}\nconfig: {cassandra: {heads: true}}", "say cassandra.heads"),
    ):
        code, _, said = helm(tmp_path, ["template", "here"], values)
        assert (code, word in said) == (1, True)


def test_nothing_is_reached_but_what_a_role_needs(tmp_path: Path) -> None:
    documents = [one for one in yaml.safe_load_all(render(tmp_path, OWN_SERVERS)) if one]
    policies = {
        one["metadata"]["labels"].get("app.kubernetes.io/component", ""): one["spec"]
        for one in of_kind(documents, "NetworkPolicy")
    }
    assert set(policies) == {"", *ROLES}
    assert all(one["policyTypes"] == ["Ingress", "Egress"] for one in policies.values())

    def ports(role: str, side: str) -> set[int]:
        rules = policies[role].get(side, [])
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert (ports("", "egress"), ports("", "ingress")) == ({53}, {9464})
    kafka = {9093, 9094}
    for role in ROLES:
        assert ports(role, "ingress") == {"collector": {8883}, "gateway": {8443}}.get(role, set())
        broker = {8884} if role == "collector" else set()
        assert ports(role, "egress") == kafka | broker | {9042, 443}
        assert policies[role]["egress"][0]["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    alone = [one for one in yaml.safe_load_all(render(tmp_path, "")) if one]
    refused = of_kind(alone, "NetworkPolicy")[0]["spec"]
    assert (refused["ingress"], refused["egress"]) == ([], [])


def backup_of(folder: Path, values: str) -> tuple[dict[str, Any], Documents]:
    """Its pod, and all documents."""
    documents = [one for one in yaml.safe_load_all(render(folder, values)) if one]
    (job,) = of_kind(documents, "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert job["spec"]["schedule"] == "5 4 * * 0"
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]
    return pod, documents


def test_no_backup_is_made_unless_asked_for(tmp_path: Path) -> None:
    for values in ("", OWN_SERVERS):
        assert "CronJob" not in render(tmp_path, values)
    code, _, said = helm(tmp_path, ["template", "here"], "backup: {enabled: true}")
    assert (code, "backup.existingClaim" in said) == (1, True)


@pytest.mark.parametrize("values", ["", OWN_SERVERS])
def test_a_backup_is_made_beside_the_roles(tmp_path: Path, values: str) -> None:
    pod, documents = backup_of(tmp_path, values + BACKUP)
    spec = pod["spec"]
    (container,) = spec["containers"]
    given = cli._parser().parse_args([str(one) for one in container["args"]])
    assert container["args"][0] == "backup"
    assert (given.keep, given.without_keys, given.without_rows) == (3, True, False)
    data = {str(role["spec"]["containers"][0]["args"][2]) for _, role in roles(documents)}
    assert data == {f"--data={given.data}"}
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts["backups"] == str(given.to)
    volumes = {one["name"]: one for one in spec["volumes"]}
    claims = {
        name: volumes[name]["persistentVolumeClaim"]["claimName"] for name in ("data", "backups")
    }
    assert claims == {"data": "mine" if values else "here-gridseal", "backups": "tapes"}
    for _, role in roles(documents):
        for key in ("affinity", "securityContext", "automountServiceAccountToken"):
            assert spec[key] == role["spec"][key]
        (other,) = role["spec"]["containers"]
        assert container["securityContext"] == other["securityContext"]
        assert container["image"] == other["image"]
    (term,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_a_backup_enters_servers_as_who_may_look(tmp_path: Path) -> None:
    pod, documents = backup_of(tmp_path, OWN_SERVERS + BACKUP)
    found = config(tmp_path, OWN_SERVERS)
    volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "settings")
    secrets = [one["secret"] for one in volume["projected"]["sources"]]
    paths = {f"{RUN}/{item['path']}" for one in secrets for item in one["items"]}
    named = {
        getattr(table, key)
        for table in (found.kafka, found.cassandra)
        for key in ("ca", "certificate", "key")
    }
    assert paths == named | {f"{found.cassandra.passwords}/reader"}
    assert "here-gridseal-kafka-worker" in {one["name"] for one in secrets}
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(documents, "NetworkPolicy")}
    policy = policies["here-gridseal-backup"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert (ports, policy.get("ingress", [])) == ({9093, 9094, 9042}, [])


def test_pods_are_moved_one_at_a_time_and_scaled_within_the_partitions(tmp_path: Path) -> None:
    documents = [one for one in yaml.safe_load_all(render(tmp_path, OWN_SERVERS)) if one]
    budgets = of_kind(documents, "PodDisruptionBudget")
    assert len(budgets) == len(ROLES)
    assert all(one["spec"]["maxUnavailable"] == 1 for one in budgets)
    scalers = of_kind(documents, "HorizontalPodAutoscaler")
    names = {one["spec"]["scaleTargetRef"]["name"] for one in scalers}
    assert names == {"here-gridseal-worker", "here-gridseal-gateway"}
    for one in of_kind(documents, "Deployment"):
        assert ("replicas" in one["spec"]) == (one["metadata"]["name"] not in names)
    for role in ("worker", "storer"):
        code, _, said = helm(tmp_path, ["template", "here"], f"roles: {{{role}: {{replicas: 5}}}}")
        assert code == 1
        assert f"roles.{role}: 5 of them, but 4 partitions" in said


@pytest.mark.parametrize(
    "values",
    [
        "partitons: 8",
        "partitions: 0",
        "logLevel: loud",
        "issuer: http://plain.example",
        "mqttUrl: mqtt://plain.example",
        "image: {digest: abc}",
        "kafka: {bootstrap: k1}",
        "kafka: {bootstrap: 'k1:9093'}",  # and no topic
        "anchor: {rpcUrl: 'https://rpc.example/'}",  # and no contract
        "config: {limits: {depth: 6.5}}",
        "cassandra: {heads: cassandra}",
        "cassandra: {logKeyspace: Log}",
        "persistence: {accessModes: [ReadOnlyMany]}",
        "roles: {workers: {replicas: 2}}",
        "backup: {enabled: yes please}",
        "backup: {keep: -1}",
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, values: str) -> None:
    code, _, said = helm(tmp_path, ["template", "here"], values)
    assert code == 1
    assert re.search(r"values don't meet the specifications|kafka\.topic|anchor\.contract", said)


def test_every_value_has_a_place_in_the_schema_and_a_use() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
    used = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for key in values:
        assert f".Values.{key}" in used, f"{key} is used by no template"
