"""The GPUs of this machine, as a user names them and as CUDA_VISIBLE_DEVICES does."""

from __future__ import annotations

import os

from nnactive_ext.errors import NnActiveError


def gpus_here() -> list[str]:
    """The GPUs that this process may use: numbers, or the names in CUDA_VISIBLE_DEVICES (numbers, UUIDs, MIG instances)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def chosen_gpus(text: str) -> list[str]:
    """Those that ``-gpus`` names: a number of GPUs, ``all``, or numbers with commas between them.

    Raises:
        NnActiveError: there are fewer, or it names none.
    """
    there = gpus_here()
    if text == "all":
        chosen = there
    elif "," in text:
        chosen = [name for name in (part.strip() for part in text.split(",")) if name]
        unknown = [name for name in chosen if name not in there]
        if unknown or len(set(chosen)) < len(chosen):
            raise NnActiveError(f"-gpus {text}: the GPUs here are {', '.join(there) or 'none'}; name each once.")
    elif text.isdecimal() and int(text) > 0:
        if int(text) > len(there):
            raise NnActiveError(f"-gpus {text}: this machine offers {len(there)}. -gpus 0, (with a comma) means GPU 0 alone.")
        chosen = there[: int(text)]
    else:
        raise NnActiveError(f"-gpus {text}: give a number of GPUs, all, or numbers such as 0,2.")
    if not chosen:
        raise NnActiveError(f"-gpus {text}: this machine offers no GPU. -device cpu -np N uses N parts of its cores.")
    return chosen
