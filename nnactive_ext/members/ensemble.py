"""The trained members of the current cycle: what they say about a pool case, and their segmentation of a test case."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nnactive_ext.engine.threads import cores
from nnactive_ext.errors import OF_THE_MACHINE, TOO_MANY_FILES, NnActiveError
from nnactive_ext.experiment.experiment import Experiment, with_members
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.marks import ALL, CHECKPOINTS, Fold, is_trained, label_version, read_mark
from nnactive_ext.experiment.member_kinds import SEEDS, SNAPSHOTS, SSN, MemberKind
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.members.describing import Describer, network_size
from nnactive_ext.members.passes import Draws, Pass, check_passes, passes, predicting
from nnactive_ext.members.samples import check_memory, sample, with_factors
from nnactive_ext.members.slabs import Member, in_slabs, whole_fits
from nnactive_ext.members.statistics import DIVERGED
from nnactive_ext.members.taps import plain
from nnactive_ext.members.transfer import nearby
from nnactive_ext.nnunet.architecture import check_architecture
from nnactive_ext.nnunet.checkpoints import check_checkpoint, read_checkpoint
from nnactive_ext.nnunet.dataset import Case
from nnactive_ext.nnunet.environment import check_torchvision, extend_environment
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.nnunet.pretrained import digest, read_tensors
from nnactive_ext.nnunet.trainers import check_trainer, snapshot_file, snapshot_files
from nnactive_ext.paths import inside
from nnactive_ext.query_methods.base import Description
from nnactive_ext.words import count, listed

if TYPE_CHECKING:
    import torch


def always_by_onednn(network: torch.nn.Module) -> None:
    """Let the float32 3D convolutions of a network that predicts on the CPU go through oneDNN, whatever their size.

    torch's own loop, which it takes for a batch of one and few features (``use_mkldnn`` in its Convolution.cpp), is slower.
    Results and gradients differ in the last bits; where torch has no oneDNN nothing changes.
    """
    import torch

    if not torch.backends.mkldnn.is_available():
        return
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d) and module.padding_mode == "zeros":
            module._conv_forward = partial(_convolved, module)  # type: ignore[method-assign]


def _convolved(
    convolution: torch.nn.Conv3d, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    import torch

    c = convolution
    if image.dtype != torch.float32 or isinstance(c.padding, str):
        return torch.nn.functional.conv3d(image, weight, bias, c.stride, c.padding, c.dilation, c.groups)
    return torch.mkldnn_convolution(image, weight, bias, c.padding, c.stride, c.dilation, c.groups)


class Members(Protocol):
    def logits(self, image: np.ndarray, case: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        """Each member's name and logits (class or region, z, y, x) for a preprocessed image (channel, z, y, x) of a ``case``.

        They are predicted one after another, when asked for, and on any device; an image's logits are large, so none
        are kept here.
        """
        ...


class Ensemble(Members, Protocol):
    """Trained members: the logits of each for a pool case, descriptors of its patches, and the common segmentation of a test
    case."""

    def describe(
        self, image: np.ndarray, boxes: Sequence[Patch], description: Description
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """The descriptors of boxes of a preprocessed image (channel, z, y, x) by the first member.

        Args:
            image: as for :meth:`logits`.
            boxes: in voxels of ``image``, inside it.
            description: what descriptors are made of; not those in files.

        Returns:
            float32 (boxes, D), and how many of the D belong to each layer.
        """
        ...

    def segment(self, case: Case, inference: Inference = NNUNET) -> np.ndarray:
        """The label map (z, y, x) of an image on its own grid, predicted with an ``inference``."""
        ...


def device_of(ensemble: Members) -> str:
    """The device on which an ensemble predicts: cuda, cpu or mps; empty if it does not say."""
    return str(getattr(getattr(ensemble, "device", None), "type", ""))


def start_weights(experiment: Experiment) -> dict[str, torch.Tensor]:
    """The weights that all members start from; NnActiveError if they start from scratch."""
    if not experiment.plan.pretrained:
        raise NnActiveError(
            f"features=pretrained describes patches by the weights that members start from, and {experiment.name} was planned "
            "without any. Plan it with -pretrained FILE, or choose features=encoder."
        )
    return read_tensors(experiment.preprocessed.folder, experiment.plan.pretrained["sha256"])


def fold_folder(experiment: Experiment, fold: Fold) -> Path:
    return experiment.model_folder / f"fold_{fold}"


def trained_folds(experiment: Experiment) -> list[int]:
    """The folds with a finished member of the current cycle; a late answer may add folds that nobody has trained yet."""
    plan, cycle = experiment.plan, experiment.state["cycle"]
    folders = {fold: fold_folder(experiment, fold) for fold in experiment.folds()}
    return [f for f, folder in folders.items() if is_trained(folder, plan.experiment, cycle, plan.label_version)]


def training_begun(experiment: Experiment) -> bool:
    """Whether a member of the current cycle was trained on the labels that are in place, or its training was begun."""
    now = (experiment.plan.experiment, experiment.state["cycle"])
    marks = map(read_mark, experiment.model_folder.glob("fold_*"))
    return any((mark.get("experiment"), mark.get("cycle")) == now for mark in marks)


def asked_as(experiment: Experiment, kind: str) -> Experiment:
    """``experiment`` with members of another kind than planned (``nnactive_query -members``).

    Raises:
        NnActiveError: there is no such kind, or it is trained in another way than the members that are there.
    """
    if MemberKind.of(kind).name == SEEDS != experiment.plan.member_kind.name:
        raise NnActiveError(
            f"-members {kind}: these members are trained on all annotated cases, which is decided when an experiment is "
            f"planned. Plan another one with -members {kind}, or choose other members here."
        )
    return with_members(experiment, kind)


def check_folds(experiment: Experiment, folds: Sequence[Fold]) -> None:
    """A fold that does not exist, one that is named twice, and ``all`` beside others are errors."""
    given, there = f"-f {' '.join(map(str, folds))}", experiment.folds()
    those = f"The folds of {experiment.name} are {listed(there, 20)}; {ALL} is the member trained on all annotated cases."
    unknown = [fold for fold in folds if fold != ALL and fold not in there and not fold_folder(experiment, fold).is_dir()]
    if unknown or not folds:
        raise NnActiveError(f"{given}: there is no fold {listed(unknown)}. {those}")
    if len(set(folds)) < len(folds):
        raise NnActiveError(f"{given}: a fold is named twice, and a member asked twice says nothing new. {those}")
    if ALL in folds and len(folds) > 1:
        raise NnActiveError(f"{given}: {ALL} saw the cases that the folds validate on. Give {ALL} alone, or folds. {those}")


def check_members(experiment: Experiment, folds: Sequence[Fold]) -> list[str]:
    """The members' training numbers; anything but finished members of this experiment's current cycle is an error."""
    check_folds(experiment, folds)
    plan, cycle, trainings = experiment.plan, experiment.state["cycle"], []
    kind = plan.member_kind
    problems: list[str] = []
    lacking: list[Fold] = []
    for fold in folds:
        folder, before = fold_folder(experiment, fold), len(problems)
        mark = read_mark(folder)
        if not (folder / "checkpoint_final.pth").is_file():
            problems.append(f"{folder}: no trained member (no checkpoint_final.pth).")
        elif mark.get("experiment") != plan.experiment:
            problems.append(f"{folder}: this member was not trained on the experiment in {experiment.raw}.")
        elif mark.get("cycle") != cycle:
            problems.append(f"{folder}: this member was trained in cycle {mark.get('cycle')}; the labels are of cycle {cycle}.")
        elif label_version(mark) != plan.label_version:
            problems.append(f"{folder}: this member was trained before the classes were changed.")
        elif not mark.get("finished"):
            problems.append(f"{folder}: this member's training did not finish.")
        elif kind.name == SNAPSHOTS and (there := len(snapshot_files(folder)) + 1) != kind.number:
            problems.append(f"{folder}: this training has {count(there, 'snapshot')}; -members {kind} needs {kind.number}.")
        trainings.append(mark.get("training", ""))
        lacking += [fold] if len(problems) > before else []
    if problems:
        raise NnActiveError("\n".join([*problems, _train_first(experiment, lacking)]))
    return trainings


def _train_first(experiment: Experiment, folds: Sequence[Fold]) -> str:
    """What trains these members. ``nnactive_run`` trains the planned folds with the planned trainer only."""
    commands, cycle = experiment.commands, experiment.state["cycle"]
    planned = experiment.planned is None and ALL not in folds
    first = f"Train the members of cycle {cycle} first: {commands.run}" if planned else f"Train them in cycle {cycle} first:"
    return "\n".join([first, *(["or one by one:"] if planned else []), *(f"    {line}" for line in commands.by_hand(folds))])


class NnUNetEnsemble:
    """Members trained by nnU-Net, predicted with nnU-Net's sliding windows.

    Queries: Gaussian weighting, tile step 0.75, each member's logits apart, as the plan's kind of members has them.
    Segmentation: mirroring as trained and tile step 0.5, unless asked for otherwise, nnU-Net's own mean over the folds
    (methods.md, Training); of snapshots the last one, and without dropout.

    ``folder``: where members of an earlier cycle were put, which the caller has looked at; None: those of the current
    cycle, and anything else in their place is an error.
    """

    _near: list[Any] | None = None
    """The weights of all networks, in order, where the device has them at hand."""

    def __init__(self, experiment: Experiment, folds: Sequence[Fold], device: str, folder: Path | None = None):
        check_torchvision()
        extend_environment()
        plan = experiment.plan
        check_trainer(plan.trainer)  # or nnU-Net's failing to find it would look like damage
        if folder is None:
            check_members(experiment, folds)
        self._start = cache(partial(start_weights, experiment))
        self._open(folder or experiment.model_folder, folds, device, plan.member_kind, plan.patch_size_mm, plan.seed)
        self._check_plans(experiment)
        if folder is None:
            self._check_labels(experiment)
        self._prepare()

    @classmethod
    def of_model(
        cls,
        folder: Path,
        folds: Sequence[Fold],
        device: str,
        kind: MemberKind,
        patch_mm: tuple[float, float, float],
        seed: int,
    ) -> NnUNetEnsemble:
        """The members in a model folder of nnU-Net's, where their experiment is not at hand.

        Args:
            folder: with plans.json, dataset.json and a folder for each of the ``folds``.
            folds: the members.
            device: cuda, cpu or mps.
            kind: what members are.
            patch_mm: the experiment's query patch in mm along (z, y, x).
            seed: the experiment's.

        Raises:
            NnActiveError: a member cannot be opened, or is none of this kind.
        """
        check_torchvision()
        extend_environment()
        made = cls.__new__(cls)
        made._open(folder, folds, device, kind, patch_mm, seed)
        made._prepare()
        return made

    def _open(
        self,
        folder: Path,
        folds: Sequence[Fold],
        device: str,
        kind: MemberKind,
        patch_mm: tuple[float, float, float],
        seed: int,
    ) -> None:
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        self._folder, self._folds, self._kind, self._patch_mm = folder, tuple(folds), kind, patch_mm
        self._draws = {fold: Draws(seed, read_mark(folder / f"fold_{fold}").get("cycle", 0)) for fold in folds}
        self.device = torch.device(device)
        if self.device.type == "cpu":
            # All cores whatever OMP_NUM_THREADS says, as nnUNetv2_predict does: the last bits of a convolution depend on
            # the number of threads, and a query must not depend on the environment.
            torch.set_num_threads(cores())
        on_device = self.device.type == "cuda"
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of libraries that nnU-Net imports when it looks for trainers
            self._predictor = nnUNetPredictor(
                perform_everything_on_device=on_device, device=self.device, allow_tqdm=False, use_mirroring=False
            )
            try:
                if (plans := folder / "plans.json").is_file():
                    check_architecture(read_plans(plans), plans)
                for fold in folds:
                    check_checkpoint(inside(folder, f"fold_{fold}", "the fold", folder) / CHECKPOINTS[0])
                self._predictor.initialize_from_trained_model_folder(str(folder), self._folds)
                self._snapshots = {fold: self._earlier(fold) for fold in self._folds}
            except (NnActiveError, *OF_THE_MACHINE):
                raise
            except Exception as error:  # torch's unpicklers raise whatever a damaged file leads them to
                if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
                    raise
                raise NnActiveError(
                    f"{folder}: a member of the folds {', '.join(map(str, folds))} cannot be opened "
                    f"({str(error) or type(error).__name__}). Delete its fold folder and train it anew."
                ) from error

    def _prepare(self) -> None:
        check_passes(self._predictor, self._kind, self._folder)
        self._passes = passes(self._kind, self._predictor.allowed_mirroring_axes or ())
        self._near = nearby(self._weights(), self.device)
        if self.device.type == "cpu":
            always_by_onednn(self._predictor.network)

    @property
    def weights(self) -> str:
        """The digest of the members' parameters, whatever files they came from."""
        return hashlib.sha256("".join(map(digest, self._predictor.list_of_parameters)).encode()).hexdigest()

    def _check_plans(self, experiment: Experiment) -> None:
        name = experiment.plan.configuration
        ours = experiment.preprocessed.plans["configurations"][name]
        theirs = self._predictor.plans_manager.plans["configurations"].get(name)
        if json.dumps(ours, sort_keys=True) != json.dumps(theirs, sort_keys=True):
            raise NnActiveError(
                f"{self._folder / 'plans.json'}: the members were trained with other plans than "
                f"{experiment.preprocessed.folder / experiment.plan.plans_identifier}.json. Train them again."
            )

    def _check_labels(self, experiment: Experiment) -> None:
        """A network's outputs mean nothing without the names that it was trained with."""
        ours, theirs = experiment.dataset.json["labels"], self._predictor.dataset_json["labels"]
        if ours != theirs:
            raise NnActiveError(
                f"{self._folder / 'dataset.json'}: the members were trained with the labels {theirs}, the experiment has "
                f"{ours}. Train them again."
            )

    def logits(self, image: np.ndarray, case: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        import torch

        data = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        for (fold, network, parameters), one in itertools.product(self._networks(), self._passes):
            name, draws = f"{network}{one}", self._draws[fold]
            self._load(parameters)
            if self._kind.name == SSN:
                yield from self._samples(data, name, draws.samples(self._kind.number, name, case))
            else:
                yield name, self._predict(draws.noise(data, case) if one.noisy else data, name, one, draws.dropout(name, case))

    def parts(self, image: np.ndarray, case: str = "") -> Iterator[tuple[slice, Iterator[tuple[str, torch.Tensor]]]]:
        """As :meth:`logits`, slab by slab where a whole image does not fit on the device.

        Returns:
            The planes (of the first axis) of each slab, and in them each member's name and logits; all members of a slab must
            be taken before the next slab.
        """
        import torch

        channels, voxels = self._predictor.label_manager.num_segmentation_heads, math.prod(image.shape[1:])
        if self._kind.name == SSN or whole_fits(self.device, channels, voxels):
            yield slice(0, image.shape[1]), self.logits(image, case)
            return
        data = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        noisy = cache(lambda draws: draws.noise(data, case))
        members = []
        for (fold, network, parameters), one in itertools.product(self._networks(), self._passes):
            name, draws = f"{network}{one}", self._draws[fold]
            predicting = partial(self._predicting, name, one, draws.dropout(name, case), parameters)
            members.append(Member(name, noisy(draws) if one.noisy else data, predicting))
        predictor = self._predictor
        predictor.use_mirroring, predictor.tile_step_size = False, 0.75  # the windows depend on it
        yield from in_slabs(predictor, members)

    def _load(self, parameters: Any) -> None:
        """Let the predictor predict for a query, with a network's weights."""
        predictor = self._predictor
        predictor.use_mirroring, predictor.tile_step_size = False, 0.75
        getattr(predictor.network, "_orig_mod", predictor.network).load_state_dict(parameters)

    def _samples(self, data: torch.Tensor, network: str, drawn: np.ndarray) -> Iterator[tuple[str, torch.Tensor]]:
        """Of one stochastic network, which predicts once; each row of ``drawn`` (sample, factor) makes a member."""
        check_memory(self._predictor, tuple(data.shape[1:]))
        with with_factors(self._predictor):
            maps = self._predict(data, network, Pass(), 0)
        for number, z in enumerate(drawn, 1):
            yield f"{network}, sample {number}", sample(maps, z)

    def describe(
        self, image: np.ndarray, boxes: Sequence[Patch], description: Description
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        predictor: Any = self._predictor
        network = plain(predictor.network).to(self.device).eval()
        network.load_state_dict(predictor.list_of_parameters[0])  # of a training that kept snapshots the last
        if description.features == "pretrained":
            network.load_state_dict(self._start(), strict=False)
        plans, configuration, labels = self.planned
        size = network_size(self._patch_mm, plans.transpose_forward, configuration.spacing)
        window = tuple(map(int, configuration.patch_size))
        describer = Describer(network, window, size, self.device, bool(labels.has_regions))
        return describer.describe(image, boxes, description), describer.sections(description)

    def _networks(self) -> Iterator[tuple[Fold, str, Any]]:
        """Fold, name and parameters of each network: of a training that kept snapshots all of them, the last at the end.

        The weights stay near the device, see :func:`nnactive_ext.members.transfer.nearby`.
        """
        near = iter(self._near or self._weights())
        for fold in self._folds:
            number = len(self._snapshots[fold]) + 1
            for snapshot in range(1, number + 1):
                yield fold, f"fold {fold}{f', snapshot {snapshot}' if number > 1 else ''}", next(near)

    def _weights(self) -> list[Any]:
        last = zip(self._folds, self._predictor.list_of_parameters, strict=True)
        return [state for fold, own in last for state in (*self._snapshots[fold], own)]

    def _earlier(self, fold: Fold) -> list[Any]:
        """The parameters of a training's snapshots before its last, where these are members."""
        numbers = range(1, self._kind.number) if self._kind.name == SNAPSHOTS else ()
        files = [snapshot_file(self._folder / f"fold_{fold}", number) for number in numbers]
        return [read_checkpoint(file)["network_weights"] for file in files]

    def _predict(self, data: torch.Tensor, member: str, one: Pass, seed: int) -> torch.Tensor:
        with self._predicting(member, one, seed):
            return self._predictor.predict_sliding_window_return_logits(data)

    @contextmanager
    def _predicting(self, member: str, one: Pass, seed: int, parameters: Any = None) -> Iterator[None]:
        """The predictor predicts as a ``member`` does, with these weights; errors name it."""
        try:
            if parameters is not None:
                self._load(parameters)
            with predicting(self._predictor, one, seed):
                yield
        except RuntimeError as error:  # for want of memory, or because of infinite logits, for which nnU-Net looks
            remedy = f". {DIVERGED}" if "inf in predicted" in str(error) else ""
            raise NnActiveError(f"the prediction of {member} failed: {error}{remedy}") from error

    @property
    def planned(self) -> tuple[Any, Any, Any]:
        """nnU-Net's plans manager, configuration manager and label manager of the members."""
        return self._predictor.plans_manager, self._predictor.configuration_manager, self._predictor.label_manager

    def segment_windows(self, image: np.ndarray, windows: Sequence[tuple], inside: tuple, mirroring: bool) -> np.ndarray:
        """The label map of a part of a normalised image (channel, z, y, x) on the network's grid: nnU-Net's mean over members
        and windows, where the ``windows`` (nnU-Net's slicers) are given. ``inside``: slices of the part that is returned, in
        which all windows of each voxel must be."""
        import torch

        predictor: Any = self._predictor
        predictor.use_mirroring, predictor.tile_step_size = mirroring, 0.5
        predictor._internal_get_sliding_window_slicers = lambda shape: list(windows)
        try:
            logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image)).cpu()
        except RuntimeError as error:  # for want of memory, or because of infinite logits
            raise NnActiveError(
                f"the prediction failed: {error}. If memory is short, give smaller blocks (-block_size)."
            ) from error
        finally:
            del predictor._internal_get_sliding_window_slicers
        labels = predictor.label_manager.convert_logits_to_segmentation(logits[(slice(None), *inside)].contiguous())
        return np.asarray(labels)

    def segment(self, case: Case, inference: Inference = NNUNET) -> np.ndarray:
        import torch
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        predictor: Any = self._predictor
        predictor.use_mirroring, predictor.tile_step_size = inference.mirroring, inference.step
        plans, configuration = predictor.plans_manager, predictor.configuration_manager
        preprocessor = configuration.preprocessor_class(verbose=False)
        files = [str(file) for file in case.images]
        data, _, properties = preprocessor.run_case(files, None, plans, configuration, predictor.dataset_json)
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, plans, configuration, predictor.label_manager, properties
        )
