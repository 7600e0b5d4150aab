"""How near the estimated hours of training a member are to a real training: ``python -m benchmarks.pace NUMBER``.

NUMBER is a planned experiment whose labels of cycle 0 are in place, planned with ``--preset cpu`` for ``-device cpu``. The
estimate is the one that ``nnactive_plan -i`` prints; the member of fold 0 is then trained in full, as ``nnactive_run`` does.
"""

from __future__ import annotations

import argparse
from time import perf_counter

from nnactive_ext.nnunet.environment import prepare_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number")
    parser.add_argument("-device", default="cpu", choices=("cuda", "cpu"))
    options = parser.parse_args()
    prepare_device(options.device)  # before anything imports torch, as nnactive_run does

    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.members.training import train_member
    from nnactive_ext.nnunet.pace import measure
    from nnactive_ext.planning.hours import member_hours

    experiment = open_experiment(options.number)
    content = {key: value for key, value in experiment.dataset.json.items() if key != "dataset"}
    began = perf_counter()
    hours = member_hours(experiment.plan, content, measure)
    print(f"estimate: {3600 * hours.value:.0f} s ({hours.why}); it took {perf_counter() - began:.0f} s")
    began = perf_counter()
    train_member(experiment, 0, options.device)
    seconds = perf_counter() - began
    print(f"training: {seconds:.0f} s; estimate / training = {3600 * hours.value / seconds:.2f}")


if __name__ == "__main__":
    main()
