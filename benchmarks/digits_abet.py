"""AbeT's last layer on a small network for digits: its energy while the network learns, beside that of a plain layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnactive_ext.metrics import auroc
from nnactive_ext.ood import energy

if TYPE_CHECKING:
    from benchmarks.digits_ood import Known

STEPS = (10, 20, 40, 80, 160, 320)
RATE = 0.01


def learning(known: Known, seed: int) -> np.ndarray:
    """AUROC of unseen classes by energy, and training accuracy, in %, after some steps of Adam on the whole training set.

    Returns:
        float64 (2, steps, 2): AbeT's layer, then the plain one.
    """
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from nnactive_ext.nnunet.abet_head import TemperatureHead

    torch.set_num_threads(1)
    x, classes = torch.from_numpy(known.digits.x), np.unique(known.digits.y)
    train, y = torch.from_numpy(known.parts["train"]), torch.from_numpy(np.searchsorted(classes, known.digits.y))
    found = np.empty((2, len(STEPS), 2))
    for row in range(2):
        torch.manual_seed(seed)
        last: nn.Module = nn.Conv2d(32, len(classes), 1)
        body = (nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Unflatten(1, (32, 1, 1)))
        model = nn.Sequential(*body, last if row else TemperatureHead(last), nn.Flatten())
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
        for step in range(1, STEPS[-1] + 1):
            model.train()
            optimiser.zero_grad()
            cross_entropy(model(x[train]), y).backward()
            optimiser.step()
            if step in STEPS:
                model.eval()
                with torch.no_grad():
                    logits = model(x)
                score = energy(logits.numpy().T)
                accuracy = (logits[train].argmax(1) == y).double().mean().item()
                strange = auroc(score[known.parts["near"]].tolist(), score[known.parts["inside"]].tolist())
                found[row, STEPS.index(step)] = 100 * strange, 100 * accuracy
    return found
