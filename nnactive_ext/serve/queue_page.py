"""The queue page: the tasks of the last cycle with their states."""

from __future__ import annotations

from dataclasses import dataclass

from nnactive_ext.exchange.marking import marked
from nnactive_ext.exchange.page import BADGES
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.pages.templates import render
from nnactive_ext.screening.answers import note_of, second_looks
from nnactive_ext.serve.queue import following
from nnactive_ext.serve.task_pages import TaskPages


@dataclass
class QueuePage:
    """Shows the tasks that ``tasks`` has pages of."""

    tasks: TaskPages

    def title(self, experiment: Experiment) -> str:
        return f"{experiment.name}, cycle {experiment.last_loop}"

    def parts(self, experiment: Experiment, who: str, editor: str = "") -> dict[str, str]:
        """The parts of the page that change with the tasks, as ``who`` sees them: name -> HTML. ``editor``: what the address of
        a task ends with, so that it opens in the editor of ``who``."""
        shown = self.tasks.rows(experiment, who)
        self.tasks.prepare(experiment, shown)
        states = [row.status for row in shown]
        first = experiment.state["cycle"] < 0
        goals = marked(experiment).items() if first and experiment.plan.starting_budget else ()
        todo = render(
            "serve",
            "todo.html",
            is_open=experiment.last_loop > experiment.state["cycle"],
            first=first,
            rows=shown,
            counts=[(badge.split(" ", 1)[1], states.count(status)) for status, badge in BADGES.items()],
            following=following(shown, "", who),
            strangers=sum(bool(row.verdict) for row in shown),
            editor=editor,
            missing=[(name, number, goal) for name, (number, goal) in goals if number < goal],
        )
        looks = render("serve", "second_looks.html", looks=self._second_looks(experiment), editor=editor)
        return {"todo": todo, "looks": looks, "tasks": render("serve", "tasks.html", rows=shown, editor=editor)}

    def _second_looks(self, experiment: Experiment) -> list[tuple[str, str]]:
        """The tasks that members differ from most, of any cycle, by the ids that browsers know: (id, why)."""
        looks = second_looks(experiment)
        tasks = {task.id: task for task in all_tasks(experiment)} if looks else {}
        return [(self.tasks.site.shown(tasks[one]).id, note_of(compared)) for one, compared in looks.items()]
