"""nnU-Net's trainer for partial labels: network patches around annotated voxels, partial loss, 200 epochs.

``nnActiveTrainer_<N>epochs``, ``nnActiveTrainer_NoMirroring`` and ``nnActiveTrainer_<N>epochs_NoMirroring`` exist for
any N > 0, and the same for each variant (``nnActiveTrainer_Finetune``, ``nnActiveTrainer_Snapshots``,
``nnActiveTrainer_SSN``, ``nnActiveTrainer_AbeT``). nnU-Net loads this file as a module of its own, so imports are
absolute and helpers live in nnactive_ext.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name
from time import monotonic

import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import journal, marks
from nnactive_ext.experiment.environment import observe
from nnactive_ext.experiment.locks import Lock
from nnactive_ext.experiment.training_checks import check_places, check_training
from nnactive_ext.files import remove_temporary, replacing
from nnactive_ext.nnunet.architecture import check_architecture
from nnactive_ext.nnunet.checkpoints import check_checkpoint
from nnactive_ext.nnunet.partial_loss import without_smoothing
from nnactive_ext.nnunet.properties import check_cases
from nnactive_ext.nnunet.sampling import RegionDataLoader
from nnactive_ext.nnunet.trainers import EPOCHS, NAME, VARIANTS
from nnactive_ext.randomness import generator

CUDA = torch.device("cuda")
_MOMENTUM = 0.99
"""nnU-Net's."""
_SECONDS_BETWEEN_PLOTS = 60
_SECONDS_BETWEEN_CHECKPOINTS = 600
"""What a training that is killed, or whose node is taken away, loses at most, and an epoch."""


def _iterations(configuration: dict, key: str, default: int) -> int:
    """Iterations per epoch: the environment variable ``nnactive_<key>``, else the plans' ``"nnactive": {key: ...}``."""
    place, value = f"environment variable nnactive_{key}", os.environ.get(f"nnactive_{key}")
    if value is None:
        place = f'plans, the configuration\'s "nnactive": {{"{key}": ...}}'
        value = (configuration.get("nnactive") or {}).get(key, default)
    if not (str(value).isdecimal() and int(value) > 0):
        raise NnActiveError(f"{place}: expected a whole number greater than 0, got {value!r}.")
    return int(value)


class nnActiveTrainer(nnUNetTrainer):
    """Trains one member on a partly annotated dataset; whatever is not said here is nnU-Net's.

    Environment variables: ``nnactive_iterations_per_epoch`` and ``nnactive_val_iterations_per_epoch`` (whole numbers,
    they override the plans), ``nnactive_skip_validation=1`` (no prediction of the validation cases after training,
    which costs time and means little on partial labels).
    """

    epochs = EPOCHS
    mirroring = True
    fold_lock: Lock | None = None
    _looked_at: frozenset[str] = frozenset()
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = CUDA):
        # nnU-Net pops this key from the plans, which only its own command adds.
        plans = {"continue_training": False, **plans}
        check_places(plans, configuration, type(self).__name__, fold)
        if PlansManager(plans).get_configuration(configuration).previous_stage_name is not None:
            raise NnActiveError(
                f"{configuration} is the second stage of a cascade, which is not supported: it would need "
                "the first stage's predictions of all cases in every cycle. Use 3d_fullres, 3d_lowres or 2d."
            )
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.epochs
        # nnU-Net's 50 would leave short trainings without anything to continue from.
        self.save_every = min(50, max(1, self.num_epochs // 4))
        if len(self.configuration_manager.pool_op_kernel_sizes) < 3:
            # nnU-Net gives the coarsest output the weight 0; if it is the only one, the loss becomes 0 / 0.
            self.enable_deep_supervision = False
        self._plotted = self._saved = monotonic()
        settings = self.configuration_manager.configuration
        self.num_iterations_per_epoch = _iterations(settings, "iterations_per_epoch", self.num_iterations_per_epoch)
        self.num_val_iterations_per_epoch = _iterations(settings, "val_iterations_per_epoch", self.num_val_iterations_per_epoch)

    def initialize(self):
        check_architecture(self.plans_manager.plans, f"{self.plans_manager.plans_name}.json")
        super().initialize()
        if self.device.type == "cpu":
            # Small networks train a fifth to a third faster there when channels are next to each other in memory.
            self.network.to(memory_format=torch.channels_last_3d if self._volumes else torch.channels_last)

    @property
    def _volumes(self) -> bool:
        return len(self.configuration_manager.patch_size) == 3

    def configure_optimizers(self):
        """nnU-Net's, with the momentum of the plans' ``"nnactive": {"momentum": ...}`` where they set one.

        The learning rate follows, so that a step comes to the same in the long run (rate / (1 - momentum) is kept):
        only the time it takes to get going changes, which nnU-Net's 0.99 needs hundreds of iterations for.
        """
        momentum = (self.configuration_manager.configuration.get("nnactive") or {}).get("momentum")
        if momentum is None:
            return super().configure_optimizers()
        if not (isinstance(momentum, (int, float)) and 0 <= momentum < 1):
            raise NnActiveError(f'plans, the configuration\'s "nnactive": {{"momentum": {momentum!r}}}: expected 0 to < 1.')
        self.initial_lr *= (1 - momentum) / (1 - _MOMENTUM)
        optimizer, scheduler = super().configure_optimizers()
        for group in optimizer.param_groups:
            group["momentum"] = momentum
        return optimizer, scheduler

    def _build_loss(self):
        return without_smoothing(super()._build_loss())

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        *others, mirror_axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if not self.mirroring:
            mirror_axes = self.inference_allowed_mirroring_axes = None
        return *others, mirror_axes

    def do_split(self):
        """nnU-Net's; the fold ``all`` of an experiment trains on the annotated cases, not on its whole pool."""
        annotated = marks.annotated_cases(self.preprocessed_dataset_folder_base) if self.fold == "all" else []
        training, validation = (annotated, annotated) if annotated else super().do_split()
        self._look_at((*training, *validation))
        return training, validation

    def _look_at(self, cases: Iterable[str]) -> None:
        """Refuse cases that could run code, before nnU-Net opens them."""
        unknown = set(cases) - self._looked_at
        check_cases(Path(self.preprocessed_dataset_folder), unknown)
        self._looked_at |= unknown

    def get_dataloaders(self):
        """nnU-Net's, with our loader."""
        patch_size = self.configuration_manager.patch_size
        scales = self._get_deep_supervision_scales()
        rotation, dummy_2d, initial_patch_size, mirror_axes = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        labels = {
            "is_cascaded": False,
            "foreground_labels": self.label_manager.foreground_labels,
            "regions": self.label_manager.foreground_regions if self.label_manager.has_regions else None,
            "ignore_label": self.label_manager.ignore_label,
        }
        train_transforms = self.get_training_transforms(
            patch_size,
            rotation,
            scales,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=self.configuration_manager.use_mask_for_norm,
            **labels,
        )
        validation_transforms = self.get_validation_transforms(scales, **labels)

        def loader(dataset, size, transforms, part):
            return RegionDataLoader(
                dataset,
                self.batch_size,
                size,
                patch_size,
                self.label_manager,
                oversample_foreground_percent=self.oversample_foreground_percent,
                probabilistic_oversampling=self.probabilistic_oversampling,
                transforms=transforms,
                described=f"the {part} cases of fold {self.fold}",
            )

        training_set, validation_set = self.get_tr_and_val_datasets()
        training = loader(training_set, initial_patch_size, train_transforms, "training")
        validation = loader(validation_set, patch_size, validation_transforms, "validation")

        processes = get_allowed_n_proc_DA()
        if processes == 0:
            augmenters = SingleThreadedAugmenter(training, None), SingleThreadedAugmenter(validation, None)
        else:
            shared = {"transform": None, "seeds": None, "pin_memory": self.device.type == "cuda", "wait_time": 0.002}
            augmenters = (
                NonDetMultiThreadedAugmenter(training, num_processes=processes, num_cached=max(6, processes // 2), **shared),
                NonDetMultiThreadedAugmenter(
                    validation, num_processes=max(1, processes // 2), num_cached=max(3, processes // 4), **shared
                ),
            )
        for augmenter in augmenters:
            next(augmenter)  # starts the workers
        return augmenters

    def on_train_start(self):
        plans = self.plans_manager
        journal.refuse_unfinished_of(plans.dataset_name)
        check_training(plans.dataset_name, plans.plans_name, self.preprocessed_dataset_folder, plans.plans, self.dataset_json)
        self._look_at(marks.annotated_cases(self.preprocessed_dataset_folder_base))  # before an earlier training is removed
        if self.local_rank == 0:
            self.fold_lock = marks.begin(
                self.output_folder,
                self.preprocessed_dataset_folder_base,
                continued=self.current_epoch > 0,
                environment=observe(self.device.type, training=True),
            )
            remove_temporary(Path(self.output_folder))
        super().on_train_start()
        self._saved = monotonic()

    def on_train_end(self):
        super().on_train_end()
        if self.local_rank == 0 and not self.disable_checkpointing:
            marks.finish(self.output_folder)
            if self.fold_lock is not None:
                self.fold_lock.release()

    def on_epoch_end(self):
        """nnU-Net's, except that ``progress.png``, which takes it a second or two, is not drawn after each short epoch, that
        long epochs leave a checkpoint every ten minutes, and that a training whose lock was lost ends before it writes over the
        checkpoints of the one that has the lock now."""
        if self.fold_lock is not None:
            self.fold_lock.check()
        every = self.save_every
        if monotonic() - self._saved >= _SECONDS_BETWEEN_CHECKPOINTS:
            self.save_every = 1
        last = self.current_epoch == self.num_epochs - 1
        due = last or monotonic() - self._plotted >= _SECONDS_BETWEEN_PLOTS
        if due:
            self._plotted = monotonic()
        else:
            self.logger.plot_progress_png = lambda folder: None
        try:
            super().on_epoch_end()
        finally:
            self.save_every = every
            if not due:
                del self.logger.plot_progress_png

    def save_checkpoint(self, filename: str):
        """nnU-Net's, but whole or not at all: a kill while it is written leaves the checkpoint before."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        with replacing(filename) as temporary:
            super().save_checkpoint(str(temporary))
        if Path(filename).name != marks.BEST:
            self._saved = monotonic()

    def load_checkpoint(self, filename_or_checkpoint: str):
        """nnU-Net's, which runs what is in the file, after a look at what that is."""
        check_checkpoint(Path(filename_or_checkpoint))
        super().load_checkpoint(filename_or_checkpoint)

    def seed_of_member(self) -> int:
        """For trainers that draw a part of the network from a seed: another one in each experiment, cycle and fold."""
        experiment, cycle = marks.state_of(self.preprocessed_dataset_folder_base)
        return int(generator(0, cycle, f"start of fold {self.fold}", experiment).integers(2**63))

    def on_validation_epoch_end(self, val_outputs: list[dict]):
        """nnU-Net's, except that an epoch without any foreground (Dice NaN) leaves the moving average as it was."""
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Mean of empty slice")
            super().on_validation_epoch_end(val_outputs)
        averages = self.logger.get_value("ema_fg_dice", step=None)
        if np.isnan(averages[-1]):
            averages[-1] = averages[-2] if len(averages) > 1 else 0.0

    def perform_actual_validation(self, save_probabilities: bool = False):
        if os.environ.get("nnactive_skip_validation", "").lower() in ("1", "true", "t"):
            self.print_to_log_file("Validation skipped, because nnactive_skip_validation is set.")
            return
        super().perform_actual_validation(save_probabilities)


def __getattr__(name: str) -> type[nnActiveTrainer]:
    """Make the trainer a name asks for; the next look-up finds it in the module."""
    match = NAME.fullmatch(name)
    if match is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    variant = (resolve_name(VARIANTS[match["kind"]]),) if match["kind"] else ()
    settings = {"epochs": int(match["epochs"] or EPOCHS), "mirroring": match["plain"] is None}
    trainer = type(name, (*variant, nnActiveTrainer), {"__module__": __name__, "__doc__": nnActiveTrainer.__doc__, **settings})
    return globals().setdefault(name, trainer)
