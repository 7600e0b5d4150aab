"""An experiment that somebody sent: no name in its files leads out of it, and nothing in it runs."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import blosc2
import pytest
import torch
from fake_members import fake_tools
from sent import Sent, command, edit

from nnactive_ext.cli import query, run
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import digest
from nnactive_ext.files import read_json, write_json
from nnactive_ext.members.tools import Tools
from nnactive_ext.members.training import train_member

RUN = ["-d", "101", "-device", "cpu", "--disable_progress_bar"]
MODEL = "nnActiveTrainer_10epochs_NoMirroring__nnUNetPlans__3d_fullres"
OUT = "../../../OUTSIDE"
PLAN, DATASET, LOOP = "nnactive_plan.json", "dataset.json", "loop_000.json"


@pytest.fixture
def sent(planned, tmp_path, monkeypatch) -> Sent:
    made = fake_tools(classes=3)
    monkeypatch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device: made))
    return Sent(tmp_path, planned.name)


@pytest.fixture(autouse=True)
def shown(capsys, request):
    """With -s, what each refusal says."""
    yield
    if request.config.getoption("capture") == "no":
        print(request.node.name, capsys.readouterr().err)


def refused(sent: Sent, main=run.main, words=RUN) -> None:
    before = sent.elsewhere()
    assert command(main, words) == 1
    assert not sent.canary.exists()
    assert sent.elsewhere() == before


def case_called(name: str):
    """Everything that names the case tiny_3 names it so."""

    def change(sent: Sent) -> None:
        edit(sent.raw / PLAN, lambda c: c["pool"].update({name: c["pool"].pop("tiny_3")}))
        label = {"label": f"labelsTr/{name}.nii.gz"}
        edit(sent.raw / DATASET, lambda c: c["dataset"].update({name: c["dataset"].pop("tiny_3") | label}))
        (sent.raw / LOOP).write_text((sent.raw / LOOP).read_text().replace("tiny_3", name.replace("\\", "\\\\")))
        edit(sent.raw / "nnactive_inputs.json", lambda c: c["images"].update({name: c["images"].pop("tiny_3")}))
        edit(sent.raw / "nnactive_inputs.json", lambda c: c["references"].pop("tiny_3") and None)
        (sent.preprocessed / "nnactive_state.json").unlink()

    return change


def plan_says(**fields):
    def change(sent: Sent) -> None:
        edit(sent.raw / PLAN, lambda c: c | fields)

    return change


def nnunet_plans_say(**fields):
    def change(sent: Sent) -> None:
        edit(sent.preprocessed / "nnUNetPlans.json", lambda c: c | fields)
        freeze(sent)

    return change


def freeze(sent: Sent) -> None:
    """What was frozen of nnU-Net's plans fits, as whoever sends an experiment would see to."""
    plans = read_json(sent.preprocessed / "nnUNetPlans.json")
    edit(sent.raw / "nnactive_inputs.json", lambda c: c["plans"].update(content=plans, sha256=digest(plans)))


def data_identifier(sent: Sent) -> None:
    def elsewhere(content):
        content["configurations"]["3d_fullres"]["data_identifier"] = OUT

    edit(sent.preprocessed / "nnUNetPlans.json", elsewhere)
    shutil.copytree(sent.preprocessed / "nnUNetPlans_3d_fullres", sent.victim, dirs_exist_ok=True)
    freeze(sent)


def label_at(place: str):
    def change(sent: Sent) -> None:
        edit(sent.raw / DATASET, lambda c: c["dataset"]["tiny_4"].update(label=place.replace("ROOT", str(sent.root))))

    return change


def splits(sent: Sent) -> None:
    edit(sent.preprocessed / "splits_final.json", lambda c: c[0]["train"].append(f"{OUT}/x") or c)


def file_ending(sent: Sent) -> None:
    edit(sent.raw / DATASET, lambda c: c | {"file_ending": "/../../../../OUTSIDE/x.nii.gz"})


def loop_names(sent: Sent) -> None:
    edit(sent.raw / LOOP, lambda c: c["patches"][0].update(file=f"{OUT}/tiny_4.nii.gz"))


def journal(name: str):
    def change(sent: Sent) -> None:
        new = {"folder": "raw", "name": name, "content": {}}
        rest = {"events": [], "put_away": False, "relabel": [], "last": [], "id": "1"}
        write_json(sent.raw / "nnactive_journal.json", {"what": "a change", "files": [new], **rest})

    return change


def labels_link(sent: Sent) -> None:
    """To the label maps of the dataset that the experiment was planned from."""
    shutil.rmtree(sent.raw / "labelsTr")
    (sent.raw / "labelsTr").symlink_to(sent.root / "nnUNet_raw/Dataset100_Tiny/labelsTr")


def deeper_link(folder: str):
    def change(sent: Sent) -> None:
        place = sent.root / folder
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(sent.victim)

    return change


def frozen(**fields):
    def change(sent: Sent) -> None:
        edit(sent.raw / "nnactive_inputs.json", lambda c: c["plans"].update(fields))

    return change


NAMES = {
    "a case above": case_called(f"{OUT}/evil"),
    "an absolute case": case_called("/tmp/t23_evil"),
    "a case with a backslash": case_called("..\\evil"),
    "a case on a drive": case_called("C:evil"),
    "a case with NUL": case_called("a\0b"),
    "a case that is too long": case_called("a" * 300),
    "trainer": plan_says(trainer=f"{OUT}/x"),
    "plans_identifier": plan_says(plans_identifier=f"{OUT}/x"),
    "configuration": plan_says(configuration="../x"),
    "dataset": plan_says(dataset="../../OUTSIDE/x"),
    "test": plan_says(test=[f"{OUT}/x"]),
    "test_folder": plan_says(test_folder=OUT),
    "benchmark": plan_says(benchmark=OUT),
    "dropped": plan_says(dropped=[f"{OUT}/x"]),
    "a type": plan_says(trainer=["x"]),
    "nnU-Net's dataset": nnunet_plans_say(dataset_name=f"{OUT}/x"),
    "nnU-Net's name of plans": nnunet_plans_say(plans_name=f"{OUT}/x"),
    "data_identifier": data_identifier,
    "label above": label_at("../../OUTSIDE/tiny_4.nii.gz"),
    "absolute label": label_at("ROOT/OUTSIDE/tiny_4.nii.gz"),
    "label of another dataset": label_at("../Dataset100_Tiny/labelsTr/tiny_4.nii.gz"),
    "label of another case": label_at("labelsTr/tiny_5.nii.gz"),
    "splits": splits,
    "file ending": file_ending,
    "loop file": loop_names,
    "journal above": journal("../../OUTSIDE/x.json"),
    "journal with a drive": journal("C:\\x.json"),
    "labels of another dataset": labels_link,
    "link to a cycle's results": deeper_link("nnUNet_results/Dataset101_Tiny/nnactive/cycle_000"),
    "link to a fold": deeper_link(f"nnUNet_results/Dataset101_Tiny/{MODEL}/fold_0"),
    "link to answers": deeper_link("nnUNet_raw/Dataset101_Tiny/annotation"),
    "frozen plans": frozen(identifier=f"{OUT}/x"),
    "frozen data folder": frozen(data_folder=OUT),
}


QUICK = ("a case above", "trainer", "data_identifier", "label of another dataset", "splits", "loop file", "journal above")
QUICK += ("labels of another dataset", "link to a fold", "frozen plans")
"""Of :data:`NAMES`; the others lead through the same few places."""


def named(name: str):
    return pytest.param(NAMES[name], id=name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("attack", map(named, NAMES))
def test_names_stay_in_the_experiment(sent, attack):
    attack(sent)
    refused(sent)


def method(sent: Sent) -> None:
    file = sent.root / "method.py"
    file.write_text(
        f"import os\nos.mkdir({str(sent.canary)!r})\nfrom nnactive_ext.query_methods.methods import get\nx = get('bald')\n"
    )
    edit(sent.raw / PLAN, lambda c: c | {"method": f"{file}:x"})


def pickled(case: str):
    def change(sent: Sent) -> None:
        (file,) = sent.preprocessed.glob(f"*/{case}.pkl")
        file.write_bytes(pickle.dumps({**pickle.loads(file.read_bytes()), "more": sent.evil}))

    return change


def marked(sent: Sent) -> None:
    pickled(read_json(sent.raw / "nnactive_inputs.json")["plans"]["marked"])(sent)


def recipe(sent: Sent) -> None:
    """An array that is computed when it is opened."""
    (file,) = sent.preprocessed.glob("*/tiny_3.b2nd")
    operand = blosc2.asarray(blosc2.open(str(file))[:], urlpath=str(sent.victim / "a.b2nd"), mode="w")
    file.unlink()
    (operand + 1).save(urlpath=str(file))
    assert b"lazyexpr" in file.read_bytes() or b"LazyArray" in file.read_bytes()


def pipe(name: str):
    def change(sent: Sent) -> None:
        (file,) = sent.root.glob(name)
        file.unlink()
        os.mkfifo(file)

    return change


CODE = {
    "a method's file": method,
    "a preprocessed case": pickled("tiny_3"),
    "the case that is marked": marked,
    "a recipe for an array": recipe,
}
PIPES = [
    "*/*101*/nnactive_plan.json",
    "*/*101*/loop_000.json",
    "*preprocessed/*101*/*/tiny_3.pkl",
    "*preprocessed/*101*/*/tiny_3.b2nd",
]


@pytest.mark.parametrize("attack", CODE.values(), ids=CODE.keys())
def test_nothing_in_it_runs(sent, attack):
    attack(sent)
    refused(sent)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes on Windows")
@pytest.mark.parametrize("name", PIPES)
def test_nobody_waits_for_a_pipe(sent, name):
    pipe(name)(sent)
    refused(sent)


def test_a_link_called_like_a_temporary_file_is_removed_and_what_it_leads_to_stays(sent, planned):
    for place in (sent.raw, sent.preprocessed):
        (place / ".nnactive_tmp_x").symlink_to(sent.victim)
        (place / ".nnactive_tmp_y").symlink_to(sent.victim / "nowhere")
    before = sent.elsewhere()
    with planned.lock():
        pass
    assert not list(sent.root.glob("*/*101*/.nnactive_tmp_*"))
    assert sent.elsewhere() == before


def test_the_users_own_links_are_followed(sent, planned):
    """To a larger disk: of nnU-Net's folders, of the experiment's in them, and of a folder directly in one."""
    disk = sent.root / "disk"
    for folder in (sent.raw / "labelsTr", planned.preprocessed.data_folder, planned.preprocessed.gt_folder, sent.preprocessed):
        place = disk / folder.name
        place.parent.mkdir(exist_ok=True)
        shutil.move(folder, place)
        folder.symlink_to(place)
    (sent.root / "nnUNet_raw").rename(disk / "raw")
    (sent.root / "nnUNet_raw").symlink_to(disk / "raw")
    with Experiment(planned.name).lock():
        Experiment.find(101).check_places()


def test_the_training_of_another_dataset_is_not_begun(sent, planned):
    nnunet_plans_say(dataset_name="Dataset100_Tiny")(sent)
    before = sent.elsewhere()
    with pytest.raises(NnActiveError, match="Dataset100_Tiny"):
        train_member(planned, 0, "cpu")
    assert sent.elsewhere() == before


@pytest.mark.slow
@pytest.mark.parametrize("what", ["checkpoint", "network"])
def test_members_are_not_opened_with_what_else_they_hold(sent, trained, what):
    model = trained.model_folder
    shutil.copy(trained.preprocessed.plans_file, model / "plans.json")
    shutil.copy(trained.raw / DATASET, model / DATASET)
    checkpoint = {"trainer_name": "nnActiveTrainer_10epochs_NoMirroring", "init_args": {"configuration": "3d_fullres"}}
    if what == "network":
        (sent.victim / "hubconf.py").write_text(f"import os\nos.mkdir({str(sent.canary)!r})\ndef x(**more): ...\n")
        hub = {"repo_or_dir": str(sent.victim), "model": "x", "source": "local"}
        name = "torch.nn.functional.torch.hub.load"
        network = {"network_class_name": name, "arch_kwargs": hub, "_kw_requires_import": []}
        for file in (model / "plans.json", trained.preprocessed.plans_file):
            edit(file, lambda c: c["configurations"]["3d_fullres"].update(architecture=network))
        freeze(sent)
    for fold in range(3):
        weights = sent.evil if what == "checkpoint" else {}
        torch.save({**checkpoint, "network_weights": weights}, model / f"fold_{fold}" / "checkpoint_final.pth")
    refused(sent, query.main, RUN)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["pickle", "names in splits", "dataset of the plans", "network", "link"])
def test_a_training_opens_and_writes_nothing_else(sent, planned, attack, monkeypatch):
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock

    from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer

    for name in ("preprocessed", "results"):
        monkeypatch.setattr(stock, f"nnUNet_{name}", _Folder(sent.root / f"nnUNet_{name}"))
    plans, dataset = planned.preprocessed.plans, read_json(sent.preprocessed / DATASET)
    (file,) = sent.preprocessed.glob("*/tiny_3.pkl")
    file.write_bytes(pickle.dumps(sent.evil if attack == "pickle" else {}))
    everything = [{"train": sorted(planned.plan.pool), "val": sorted(planned.plan.pool)}] * 3
    if attack == "names in splits":
        everything[0]["train"].append(f"{OUT}/x")
        (sent.victim / "x.pkl").write_bytes(pickle.dumps(sent.evil))
    write_json(sent.preprocessed / "splits_final.json", everything)
    if attack == "dataset of the plans":
        plans["dataset_name"] = "../OUTSIDE"
    if attack == "network":
        plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "os.mkdir"
    if attack == "link":
        fold = sent.results / "nnActiveTrainer__nnUNetPlans__3d_fullres/fold_0"
        fold.parent.mkdir(parents=True)
        fold.symlink_to(sent.victim)
    before = sent.elsewhere()
    with pytest.raises(NnActiveError):
        _begin(nnActiveTrainer, plans, dataset, attack == "network")
    assert not sent.canary.exists()
    assert sent.elsewhere() == before


def _begin(trainer, plans, dataset, initialize):
    made = trainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    if initialize:
        made.initialize()
    made.do_split()


class _Folder(str):
    """nnU-Net's folder, which it reads from the environment when it is imported."""

    def __new__(cls, path: Path):
        return super().__new__(cls, str(path))

    def is_set(self) -> bool:
        return True
