"""What decides results besides the plan: versions of packages, device, threads and precision, observed when they are used."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlparse

from nnactive_ext.engine.threads import cores

PACKAGES = {
    "nnactive-ext": "nnactive_ext",
    "nnunetv2": "nnunetv2",
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "numba": "numba",
    "batchgenerators": "batchgenerators",
    "batchgeneratorsv2": "batchgeneratorsv2",
    "dynamic-network-architectures": "dynamic_network_architectures",
    "acvl-utils": "acvl_utils",
    "blosc2": "blosc2",
    "SimpleITK": "SimpleITK",
    "nibabel": "nibabel",
    "scikit-image": "skimage",
}
"""Packages that decide results -> what is imported of them."""
VARIABLES = ("nnactive_iterations_per_epoch", "nnactive_val_iterations_per_epoch")
"""Environment variables that change what a training does, and that neither plans nor trainer tell. Others (nnUNet_n_proc_DA,
nnUNet_compile, nnactive_skip_validation) change its speed or what it writes, not the member."""
UNKNOWN = "unknown"
"""The version of a package that is imported from a folder in which no version is written down."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where something was computed.

    ``versions``: package -> version, ``python`` among them. ``device``: cuda, cpu or mps, empty where no network was used;
    ``device_name``: the model of that GPU or CPU. ``threads``: of torch, which the last bits of a CPU's results depend on.
    ``precision``: of the networks' convolutions, nnU-Net's "mixed" on a GPU, else "single"; ``means``: of a query, that of
    the means over members (``-precision``). ``variables``: of a training, those of :data:`VARIABLES` that were set; None where
    nothing was trained, and in files of earlier versions, which do not tell.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    device_name: str = ""
    threads: int = 0
    precision: str = ""
    means: str = ""
    variables: Mapping[str, str] | None = None

    @classmethod
    def of(cls, content: Any) -> Environment | None:
        """From a file's content; None where there is none, as in files of earlier versions."""
        if not isinstance(content, dict) or not isinstance(content.get("versions"), dict):
            return None
        texts = {key: str(content.get(key, "")) for key in ("device", "device_name", "precision", "means")}
        threads = content.get("threads")
        versions = {str(package): str(version) for package, version in content["versions"].items()}
        told = content.get("variables")
        variables = {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else None
        return cls(versions=versions, threads=threads if isinstance(threads, int) else 0, variables=variables, **texts)


def observe(device: str = "", means: str = "", training: bool = False) -> Environment:
    """Look at this process.

    Args:
        device: "cuda", "cpu" or "mps", where networks run; empty: nowhere.
        means: the precision of the means over members, in a query: "single" or "half".
        training: a network is trained, so that the environment variables that change it count.

    Returns:
        The environment; without a device it has versions only.
    """
    if not device:
        return Environment(versions=versions())
    return Environment(
        versions=versions(),
        device=device,
        device_name=_device_name(device),
        threads=_threads(),
        precision="mixed" if device == "cuda" else "single",
        means=means,
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ} if training else None,
    )


def read_all(content: Any) -> list[Environment]:
    """Those of a list in a file; empty for anything else."""
    return [one for entry in (content if isinstance(content, list) else []) if (one := Environment.of(entry))]


def distinct(environments: Iterable[Environment | None]) -> list[dict[str, Any]]:
    """As JSON, each once, in order; None is left out."""
    found: list[dict[str, Any]] = []
    for one in environments:
        if one is not None and (content := asdict(one)) not in found:
            found.append(content)
    return found


def versions() -> dict[str, str]:
    """Python and :data:`PACKAGES` -> the version that this process has imported or would import; without those missing."""
    found = {package: _version(package, module) for package, module in PACKAGES.items()}
    return {"python": platform.python_version(), **{package: version for package, version in found.items() if version}}


def _version(package: str, name: str) -> str:
    module = sys.modules.get(name)
    said = getattr(module, "__version__", None)
    if isinstance(said, str):
        return said
    place = _place(name, module)
    if place is None:
        return ""
    if written := _written(place):
        return written
    try:
        installed = metadata.distribution(package)  # the first on sys.path, as an import is
    except metadata.PackageNotFoundError:
        return UNKNOWN
    # A checkout on PYTHONPATH hides an installed package, and has no version of its own.
    return installed.version if _owns(installed, place) else UNKNOWN


def _place(name: str, module: ModuleType | None) -> Path | None:
    """The folder of a package, imported or not; None where there is none."""
    spec = getattr(module, "__spec__", None) if module else util.find_spec(name)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]).resolve() if folders else None


def _written(place: Path) -> str:
    """``__version__`` as the source of a package that is not imported has it: torch's names the CUDA it is built for, and its
    metadata do not."""
    for file in (place / name for name in ("version.py", "_version.py", "__init__.py")):
        found = _ASSIGNED.search(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
        if found:
            return found[1]
    return ""


_ASSIGNED = re.compile(r"""^__version__ *(?::[^=\n]*)?= *["']([^"'\n]+)["']""", re.MULTILINE)


def _owns(installed: metadata.Distribution, place: Path) -> bool:
    if place.parent == Path(str(installed.locate_file(""))).resolve():
        return True
    origin = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")  # of an editable installation
    return origin.startswith("file:") and place.is_relative_to(Path(unquote(urlparse(origin).path)).resolve())


def _device_name(device: str) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else cores()
