"""Verdicts that the pages of the server give, without a browser: they are those of ``nnactive_annotate verdict``."""

from __future__ import annotations

import pytest
from serving import client

from nnactive_ext.labelling.closing import noted
from nnactive_ext.labelling.verdicts import irrelevant_cases, verdicts


def judge(server, task: str, verdict: str, about: str = "patch", why: str = ""):
    return server.post(f"/tasks/{task}/verdict", data={"verdict": verdict, "about": about, "why": why})


def test_a_patch_and_a_case_are_judged_in_the_pages(tasks):
    first, second, *_ = tasks.seen
    case = tasks.patch(second).case
    with client(601) as server:
        said = judge(server, first.id, "irrelevant", why="a <knee>").json()
        assert (said["status"], said["next"]) == ("done", f"/tasks/{second.id}")
        assert said["verdict"] == "The patch is irrelevant, says anna: a <knee>"
        page = server.get("/", headers={"accept": "text/html"}).text
        assert "a &lt;knee&gt;" in page
        assert "1 of them irrelevant" in page
        assert 'id="verdict"' in server.get(f"/tasks/{first.id}", headers={"accept": "text/html"}).text
        assert judge(server, first.id, "relevant").json()["status"] == "open"
        said = judge(server, second.id, "irrelevant", "case").json()
        assert said["status"] == "done"
        assert "pool" in said["text"]
        assert irrelevant_cases(tasks.experiment) == {case}
        assert noted(tasks.experiment) == [case], "the next command takes it out of the pool"
        for wrong in (("maybe", "patch"), ("irrelevant", "dataset")):
            assert judge(server, first.id, *wrong).status_code == 422
    tasks.annotate(f"rule latest -task {first.id} --disable_progress_bar")
    assert case not in tasks.experiment.plan.pool
    assert [(one.task, one.case, one.irrelevant) for one in verdicts(tasks.experiment)] == [
        (first.id, tasks.patch(first).case, False),
        ("", case, True),
    ]


@pytest.mark.slow
def test_a_private_server_shows_no_name_of_a_case_in_a_reason(tasks):
    from nnactive_ext.serve.site import Site

    site = Site(601, "anna", {"blank": True}, patience=2.0, private=True)
    site.give_pseudonyms()
    task = site.shown(site.tasks(tasks.experiment)[0]).id
    with client(601, site=site) as server:
        case = tasks.patch(tasks.seen[0]).case
        said = judge(server, task, "irrelevant", why=f"not like {case}").json()
        assert case not in str(said)
        assert case not in server.get("/", headers={"accept": "text/html"}).text
        assert said["status"] == "done"
