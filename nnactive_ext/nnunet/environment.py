"""What nnU-Net needs around it: its folders, where our trainers are, and a torchvision that fits torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path

from nnactive_ext.errors import NnActiveError

TRAINERS = "nnUNet_extTrainer"
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def trainers_folder() -> Path:
    """The folder of our trainers, wherever the package is installed."""
    return Path(str(resources.files("nnactive_ext.trainers"))).resolve()


def trainer_search_path(environment: Mapping[str, str]) -> str:
    """The value of ``nnUNet_extTrainer`` with our folder in it, after the user's own; an empty entry is dropped."""
    folders = [folder for folder in environment.get(TRAINERS, "").split(os.pathsep) if folder.strip()]
    ours = trainers_folder()
    if not any(Path(folder).resolve() == ours for folder in folders):
        folders.append(str(ours))
    return os.pathsep.join(dict.fromkeys(folders))


def extend_environment() -> None:
    """Let nnU-Net find our trainers, in this process and those it starts."""
    os.environ[TRAINERS] = trainer_search_path(os.environ)


def check_torchvision() -> None:
    """NnActiveError unless torchvision works with the installed torch.

    nnU-Net looks for a trainer among all of its own first, and they import torchvision (through timm): without it
    *no* trainer outside nnU-Net is found, although nnU-Net's default one trains. Imports torch: seconds.
    """
    try:
        import torch
        import torchvision

        # A torchvision made for another torch may import and only then lack its compiled operators.
        torchvision.ops.nms(torch.zeros((1, 4)), torch.zeros(1), 0.5)
    except Exception as error:  # a mismatch shows as RuntimeError, OSError, ImportError, AttributeError...
        raise NnActiveError(
            "torchvision cannot be used, and without it nnU-Net finds no trainer outside its own: "
            f"{type(error).__name__}: {error}\nInstalled: {_installed()}.\n"
            "Install the torchvision that belongs to your torch, from the same index as torch, for example "
            "'pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu'; "
            "https://pytorch.org/get-started/locally has the line for your GPU."
        ) from error


def _installed() -> str:
    """Versions of torch and torchvision, and the torch which torchvision says it is for."""
    found = []
    for name in ("torch", "torchvision"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
            continue
        if name == "torchvision":
            wanted = [line for line in metadata.requires(name) or [] if line.startswith("torch=")]
            found[-1] += f" (made for {wanted[0]})" if wanted else ""
    return ", ".join(found)


def require_nnunet_folders() -> None:
    """Check that nnU-Net's three environment variables are set; the folders need not exist.

    Raises:
        NnActiveError: names the variables that are missing.
    """
    missing = [name for name in FOLDERS if not os.environ.get(name)]
    if missing:
        word = "set" if os.name == "nt" else "export"
        lines = "\n".join(f"    {word} {name}=/path/to/{name}" for name in missing)
        names = ", ".join(missing)
        raise NnActiveError(f"Not set: {names}. nnU-Net keeps its files there; choose folders and run\n{lines}")


def prepare_device(device: str) -> None:
    """NnActiveError if ``device`` (cuda, cpu, mps) is not there; call it before anything computes on it. Imports torch."""
    if device == "cpu":
        # Read when torch is loaded. Threads that spin while they wait slow everything down several times as soon as
        # something else uses a core.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available[device]:
        others = ", ".join(name for name, there in available.items() if there)
        raise NnActiveError(f"-device {device}: torch finds no such device on this machine; it finds: {others}.")
