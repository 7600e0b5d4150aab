"""nnU-Net's preprocessing of partly labelled cases: images once, labels again whenever they change."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.files import NOTHING_KEPT, TEMPORARY, Unpacked, copy_file, sync_file, sync_folder
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.nnunet.dataset import Case, Dataset, read_images, read_labels
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.nnunet.properties import check_array, read_properties
from nnactive_ext.parallel import map_cases
from nnactive_ext.refusals import refusing


@dataclass(frozen=True)
class Preprocessed:
    """A preprocessed nnU-Net dataset: its folder, its plans and one configuration of them."""

    folder: Path
    plans_identifier: str
    configuration: str

    @property
    def plans_file(self) -> Path:
        return self.folder / f"{self.plans_identifier}.json"

    @property
    def plans(self) -> dict:
        return read_plans(self.plans_file)

    def manager(self) -> tuple[Any, Any]:
        """nnU-Net's plans manager and configuration manager."""
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        content = self.plans
        if self.configuration not in content["configurations"]:
            raise NnActiveError(
                f"{self.plans_file} has no configuration {self.configuration}; it has {', '.join(content['configurations'])}. "
                "Choose one of them with -c."
            )
        try:
            plans = PlansManager(content)
            return plans, plans.get_configuration(self.configuration)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            raise NnActiveError(f"{self.plans_file}: damaged (nnU-Net: {error!r}). Restore it from a backup.") from None

    @property
    def gt_folder(self) -> Path:
        """nnU-Net's copies of the label files."""
        return self.folder / "gt_segmentations"

    @property
    def data_folder(self) -> Path:
        return self.folder / self.manager()[1].data_identifier

    def load(self, case: str, data_folder: Path | None = None) -> tuple[np.ndarray, Grid]:
        """The preprocessed image (channel, z, y, x), float32, and how it came about."""
        import blosc2

        folder = data_folder or self.data_folder
        try:
            image = blosc2.open(urlpath=str(check_array(folder / f"{case}.b2nd")), mode="r")[:]
            properties = read_properties(folder / f"{case}.pkl")
            return image, Grid.from_properties(properties, self.plans["transpose_forward"], image.shape[1:])
        except (NnActiveError, MemoryError):
            raise
        except Exception as error:  # both libraries raise whatever they stumble over
            raise NnActiveError(
                f"{folder / case}.b2nd or .pkl: cannot be read ({brief(error)}). Delete the dataset and plan it anew."
            ) from None


def preprocess_image(
    image: np.ndarray, properties: dict[str, Any], target: Preprocessed, dataset_json: Mapping[str, Any]
) -> tuple[np.ndarray, Grid]:
    """An image that is no case of the pool as the network sees it.

    Args:
        image: (channel, z, y, x), as nnU-Net's reader gives it.
        properties: what the reader says of it.
        target: the preprocessed dataset, whose plans exist.
        dataset_json: nnU-Net's dataset.json.

    Returns:
        The preprocessed image (channel, z, y, x), float32, and how it came about.
    """
    plans, configuration = target.manager()
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, found = preprocessor.run_case_npy(image, None, dict(properties), plans, configuration, dataset_json)
    return data.astype(np.float32, copy=False), Grid.from_properties(found, plans.transpose_forward, data.shape[1:])


def preprocess(
    dataset: Dataset,
    target: Preprocessed,
    processes: int = 1,
    progress: bool = True,
    cases: Iterable[str] | None = None,
    copies: Unpacked = NOTHING_KEPT,
) -> None:
    """Preprocess images and labels, and copy the labels to ``gt_segmentations``.

    Args:
        dataset: an nnU-Net dataset with partial labels.
        target: the preprocessed dataset, whose plans exist.
        processes: how many cases are preprocessed at a time.
        progress: show a progress bar.
        cases: names of cases (default: all).
        copies: of the images, to read instead.
    """
    chosen = dataset.cases if cases is None else cases
    _run(_preprocess_case, dataset, target, chosen, "Preprocessing cases", processes, progress, copies)


def refresh(dataset: Dataset, target: Preprocessed, cases: Iterable[str], processes: int = 1, progress: bool = True) -> None:
    """Only the labels and ``class_locations`` of ``cases``; each file is replaced at once, the images stay as they are."""
    _run(_refresh_case, dataset, target, cases, "Preprocessing labels", processes, progress)


def _run(
    work: Any,
    dataset: Dataset,
    target: Preprocessed,
    cases: Iterable[str],
    what: str,
    processes: int,
    progress: bool,
    copies: Unpacked = NOTHING_KEPT,
) -> None:
    target.gt_folder.mkdir(parents=True, exist_ok=True)
    target.data_folder.mkdir(exist_ok=True)
    job = partial(work, dataset_json=dataset.json, target=target, ending=dataset.file_ending)
    map_cases(job, [dataset.cases[name].read_from(copies) for name in cases], what, processes, progress)


def _preprocess_case(case: Case, dataset_json: dict, target: Preprocessed, ending: str) -> None:
    plans, configuration = target.manager()
    reader = plans.image_reader_writer_class()
    image, properties = read_images(reader, case.images)
    preprocessor = configuration.preprocessor_class(verbose=False)
    # The image goes in without its label, as at inference: with one, masked normalisation (use_mask_for_norm) would
    # take every unannotated voxel outside the body for inside and depend on what happens to be annotated.
    data, _, properties = preprocessor.run_case_npy(image, None, properties, plans, configuration, dataset_json)
    labels = _network_labels(case, image, properties, reader, plans, configuration, data.shape[1:])
    properties["class_locations"] = class_locations(labels, plans, dataset_json, preprocessor)
    save_case(target, case.name, labels, properties, configuration, data.astype(np.float32, copy=False))
    _copy_label(case, target, ending)


def _refresh_case(case: Case, dataset_json: dict, target: Preprocessed, ending: str) -> None:
    plans, configuration = target.manager()
    reader = plans.image_reader_writer_class()
    image, _ = read_images(reader, case.images)
    stored = target.data_folder / f"{case.name}.pkl"
    with refusing(stored, "Restore it from a backup, or delete the dataset and plan it anew."):
        properties = read_properties(stored)
        labels = _network_labels(case, image, properties, reader, plans, configuration, stored_shape(case.name, target))
    preprocessor = configuration.preprocessor_class(verbose=False)
    properties["class_locations"] = class_locations(labels, plans, dataset_json, preprocessor)
    save_case(target, case.name, labels, properties, configuration)
    _copy_label(case, target, ending)


def _network_labels(
    case: Case, image: np.ndarray, properties: dict, reader: Any, plans: Any, configuration: Any, shape: Any
) -> np.ndarray:
    """The label map as nnU-Net's preprocessor makes it, (1, z, y, x) int16: transposed, cropped, -1 outside, resampled."""
    from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask

    labels, _ = read_labels(reader, case.label)
    axes = [0, *(axis + 1 for axis in plans.transpose_forward)]
    crop = tuple(slice(low, high) for low, high in properties["bbox_used_for_cropping"])
    labels = labels.transpose(axes)[(slice(None), *crop)].copy()
    image, background = image.transpose(axes), labels[0] == 0
    # Only background can be outside, and only where all channels are 0: else the mask, which takes long, is not needed.
    if (image[(slice(None), *crop)][:, background] == 0).all(0).any():
        labels[0, background & ~create_nonzero_mask(image)[crop]] = -1
    spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    target_spacing = list(configuration.spacing)
    if len(target_spacing) < 3:  # 2D configurations keep the distance between slices
        target_spacing = [spacing[0], *target_spacing]
    return configuration.resampling_fn_seg(labels, shape, spacing, target_spacing).astype(np.int16, copy=False)


def class_locations(labels: np.ndarray, plans: Any, dataset_json: dict, preprocessor: Any) -> dict:
    manager = plans.get_label_manager(dataset_json)
    wanted = list(manager.foreground_regions if manager.has_regions else manager.foreground_labels)
    if manager.has_ignore_label:
        wanted.append([-1, *manager.all_labels])
    return preprocessor._sample_foreground_locations(labels, wanted)


def save_case(
    target: Preprocessed,
    name: str,
    labels: np.ndarray,
    properties: dict,
    configuration: Any,
    data: np.ndarray | None = None,
) -> None:
    """Written under temporary names outside the data folder (nnU-Net lists that by ending), then moved into it."""
    import blosc2
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params

    final = target.data_folder
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target.folder) as temporary:
        arrays = {f"{name}.b2nd": data, f"{name}_seg.b2nd": labels}
        files = []
        for file, array in arrays.items():
            if array is None:
                continue
            blocks, chunks = comp_blosc2_params(array.shape, tuple(configuration.patch_size), array.itemsize)
            try:
                blosc2.asarray(
                    np.ascontiguousarray(array),
                    urlpath=os.path.join(temporary, file),
                    chunks=chunks,
                    blocks=blocks,
                    cparams={"codec": blosc2.Codec.LZ4HC, "clevel": 5},  # as nnU-Net writes
                )
            except RuntimeError as error:  # all that blosc2 says when the device is full
                raise NnActiveError(
                    f"{final / file}: could not be written ({error}). Check the free disk space and try again."
                ) from None
            files.append(file)
        with open(os.path.join(temporary, f"{name}.pkl"), "wb") as handle:
            pickle.dump(properties, handle)
        for file in [*files, f"{name}.pkl"]:
            sync_file(Path(temporary) / file)
            os.replace(os.path.join(temporary, file), final / file)
    sync_folder(final)  # before the state says that the case is there


def _copy_label(case: Case, target: Preprocessed, ending: str) -> None:
    copy_file(case.label, target.gt_folder / f"{case.name}{ending}")


def stored_shape(case: str, target: Preprocessed) -> Triple:
    """The shape (z, y, x) of a preprocessed image, without reading its voxels."""
    import blosc2

    file = target.data_folder / f"{case}.b2nd"
    try:
        return triple(blosc2.open(urlpath=str(check_array(file)), mode="r").shape[1:])
    except NnActiveError:
        raise
    except Exception as error:  # blosc2 raises whatever it stumbles over
        raise NnActiveError(f"{file}: cannot be read ({brief(error)}). Delete the dataset and plan it anew.") from None
