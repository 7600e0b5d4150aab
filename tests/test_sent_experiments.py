"""An experiment that somebody sent: no name in its files leads out of it, and nothing in it runs."""

from __future__ import annotations

import shutil

import pytest
from fake_members import fake_tools
from sent import Sent, command, edit

from nnactive_ext.cli import run
from nnactive_ext.files import write_json
from nnactive_ext.members.tools import Tools

RUN = ["-d", "101", "-device", "cpu", "--disable_progress_bar"]
MODEL = "nnActiveTrainer_10epochs_NoMirroring__nnUNetPlans__3d_fullres"
OUT = "../../../OUTSIDE"
PLAN, DATASET, LOOP = "nnactive_plan.json", "dataset.json", "loop_000.json"


@pytest.fixture
def sent(planned, tmp_path, monkeypatch) -> Sent:
    made = fake_tools(classes=3)
    monkeypatch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device: made))
    return Sent(tmp_path, planned.name)


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
    """Also what was frozen of them, as whoever sends an experiment would see to."""

    def change(sent: Sent) -> None:
        edit(sent.preprocessed / "nnUNetPlans.json", lambda c: c | fields)
        (sent.raw / "nnactive_inputs.json").unlink()

    return change


def data_identifier(sent: Sent) -> None:
    def elsewhere(content):
        content["configurations"]["3d_fullres"]["data_identifier"] = OUT

    edit(sent.preprocessed / "nnUNetPlans.json", elsewhere)
    shutil.copytree(sent.preprocessed / "nnUNetPlans_3d_fullres", sent.victim, dirs_exist_ok=True)
    (sent.raw / "nnactive_inputs.json").unlink()


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
    "another dataset of nnU-Net's": nnunet_plans_say(dataset_name="Dataset100_Tiny"),
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


@pytest.mark.parametrize("attack", NAMES.values(), ids=NAMES.keys())
def test_names_stay_in_the_experiment(sent, attack):
    attack(sent)
    refused(sent)
