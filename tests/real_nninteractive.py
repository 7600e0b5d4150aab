"""Runs nnInteractive's real server and sessions on the CPU with a network written by hand: it cuts by grey values.

Started by tests/test_real_nninteractive.py, in a Python that has the package nnInteractive; its weights are not needed.
"""

from __future__ import annotations

import sys
import types

import torch
import uvicorn
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
from nnInteractive.inference.server.app import make_app
from nnInteractive.interaction.point import PointInteraction_stub


class ByGrey(torch.nn.Module):
    """What is as bright as the positive prompts, and what was segmented before, but not what is as bright as the negative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image, found, prompts = x[0, 0], x[0, 1] > 0.5, x[0, 2:]
        positive, negative = prompts[[0, 2, 4]].amax(0), prompts[[1, 3, 5]].amax(0)

        def alike(prompt: torch.Tensor) -> torch.Tensor:
            return (image - image.flatten()[prompt.flatten().argmax()]).abs() < 0.5

        if positive.max() > 0:
            found = found | alike(positive)
        if negative.max() > 0:
            found = found & ~alike(negative)
        return torch.stack([1 - found.float(), found.float()])[None]


if __name__ == "__main__":
    cpu = torch.device("cpu")
    session = nnInteractiveInferenceSession(device=cpu, torch_n_threads=1)
    artifacts = {
        "capability_content": session._legacy_default_capability(),
        "point_interaction": PointInteraction_stub(4, True),
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 0.98,
        "pad_mode_data": "constant",
        "network": ByGrey(),
        "plans_manager": None,
        "configuration_manager": types.SimpleNamespace(patch_size=[32, 32, 32]),
        "dataset_json": {},
        "trainer_name": "",
        "label_manager": None,
        "license": "CC BY-NC-SA 4.0",
    }
    app = make_app(artifacts, cpu, max_sessions=2, torch_n_threads=1, api_key="secret")
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
