"""The predictions that one network makes of an image where several of them are members: mirrored, noisy, or with dropout."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import DROPOUT, MIRROR, SSN, MemberKind
from nnactive_ext.nnunet.stochastic_head import RANK, head_of
from nnactive_ext.randomness import generator

if TYPE_CHECKING:
    import numpy as np
    import torch

NOISE = 0.1
"""Standard deviation of the noise on the preprocessed image, as in the thesis (docs/methods.md)."""


@dataclass(frozen=True)
class Pass:
    """One prediction: mirrored along some ``axes`` of the network patch, of the image with noise (``noisy``), or with the
    ``dropout`` of that number."""

    axes: tuple[int, ...] = ()
    noisy: bool = False
    dropout: int | None = None

    def __str__(self) -> str:
        """As messages name it, after the network; empty for the plain prediction."""
        mirrored = f", mirrored along axis {' and '.join(map(str, self.axes))}" if self.axes else ""
        passed = f", pass {self.dropout}" if self.dropout is not None else ""
        return f"{mirrored}{', with noise' if self.noisy else ''}{passed}"


@dataclass(frozen=True)
class Draws:
    """Where the randomness of passes comes from: the experiment's seed and the members' cycle."""

    seed: int
    cycle: int

    def noise(self, image: torch.Tensor, case: str) -> torch.Tensor:
        """``image`` (channel, z, y, x) with Gaussian noise, the same for all members of a case."""
        import numpy as np
        import torch

        drawn = generator(self.seed, self.cycle, "noise", case).standard_normal(image.shape, np.float32)
        return image + NOISE * torch.from_numpy(drawn)

    def dropout(self, member: str, case: str) -> int:
        """The seed of all tiles of a member's pass."""
        return int(generator(self.seed, self.cycle, f"dropout, {member}", case).integers(2**63))

    def samples(self, number: int, network: str, case: str) -> np.ndarray:
        """Standard normal (sample, factor): where along the factors of a stochastic network each sample of the image lies."""
        return generator(self.seed, self.cycle, f"samples, {network}", case).standard_normal((number, RANK))


def passes(kind: MemberKind, axes: Sequence[int]) -> list[Pass]:
    """The predictions of one network.

    Args:
        kind: what members are.
        axes: those of the network patch that the trainer mirrored, from 0.
    """
    if kind.name == MIRROR:
        mirrored = [chosen for number in range(len(axes) + 1) for chosen in itertools.combinations(axes, number)]
        return [Pass(chosen, noisy) for noisy in ((False, True) if kind.noise else (False,)) for chosen in mirrored]
    return [Pass(dropout=number) for number in range(kind.number)] if kind.name == DROPOUT else [Pass()]


def check_passes(predictor: Any, kind: MemberKind, where: object) -> None:
    """Networks that cannot make the passes are an error: nothing was mirrored in training, or there is no dropout.

    Args:
        predictor: nnU-Net's, with the members opened.
        kind: what members are.
        where: the folder of the members, for the message.
    """
    if kind.name == MIRROR and not predictor.allowed_mirroring_axes:
        raise NnActiveError(
            f"{where}: -members {kind} needs networks that were trained on mirrored images, but {predictor.trainer_name} does "
            "not mirror (its checkpoint has no mirroring axes), for example because left and right are different classes. "
            "Choose other members, or train with a trainer that mirrors."
        )
    if kind.name == DROPOUT and not _dropouts(predictor.network):
        raise NnActiveError(
            f"{where}: -members {kind} needs networks with dropout, and these have none. Plan the experiment with -members "
            f"{kind}, or choose other members."
        )
    if kind.name == SSN and head_of(predictor.network) is None:
        raise NnActiveError(
            f"{where}: -members {kind} needs stochastic networks, and {predictor.trainer_name} trains others. Plan the "
            f"experiment with -members {kind}, or choose other members."
        )


@contextmanager
def predicting(predictor: Any, one: Pass, seed: int = 0) -> Iterator[None]:
    """Let nnU-Net's predictor predict each tile as ``one`` pass does; ``seed``: of its dropout."""
    predict: Callable[[torch.Tensor], torch.Tensor]
    if one.axes:
        along = [axis + 2 for axis in one.axes]

        def predict(tile: torch.Tensor) -> torch.Tensor:
            import torch

            return torch.flip(predictor.network(torch.flip(tile, along)), along)

    elif one.dropout is not None:

        def predict(tile: torch.Tensor) -> torch.Tensor:
            # All tiles drop the same channels, or there would be seams between them.
            with _seeded(seed, predictor.device):
                for module in _dropouts(predictor.network):
                    module.train()
                return predictor.network(tile)  # type: ignore[no-any-return]

    else:
        yield
        return
    predictor._internal_maybe_mirror_and_predict = predict
    try:
        yield
    finally:
        del predictor._internal_maybe_mirror_and_predict


def _dropouts(network: torch.nn.Module) -> list[torch.nn.Module]:
    from torch.nn.modules.dropout import _DropoutNd

    return [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's generators of this device begin with ``seed``, and go on afterwards where they were."""
    import torch

    kept: Any = torch.random.fork_rng([device] if device.type == "cuda" else []) if device.type != "mps" else nullcontext()
    with kept:
        torch.manual_seed(seed)
        yield
