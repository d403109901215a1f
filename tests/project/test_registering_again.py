"""A cell of a notebook that registers something can be changed and run again; a name that others have is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from segcct.config.layout_table import LAYOUTS
from segcct.errors import PluginError
from segcct.metrics import all_metrics, metric_table
from segcct.models import zoo
from segcct.tasks import task
from segcct.tasks.segmentation.segmentation_loss import LOSS_TERMS

CELLS = {
    "metric": """
from segcct.metrics import Metric, register_metric
def score(pair):
    return 1.0
row = Metric(key="mine", label="version {version}", score=score)
register_metric(row)
""",
    "layout": """
from segcct.datasets.layouts import Found, Layout, register_layout
def find(data, tree):
    return Found()
row = Layout("mine", find, lambda data: "version {version}")
register_layout(row)
""",
    "model": """
from functools import partial
from segcct.models.zoo import Entry, register_model
def build(version, **_):
    raise NotImplementedError
row = Entry("mine", "segmenter", partial(build, {version}))
register_model(row)
""",
    "loss term": """
from torch import nn
from segcct.tasks.segmentation.segmentation_loss import LossTerm, register_loss_term
class Mine(nn.Module):
    version = {version}
row = LossTerm(Mine)
register_loss_term("mine", row)
""",
    "task": """
from segcct.tasks.task import TaskRow, register_task
places = ("__main__:Task", "__main__:Config", "__main__:Model")
row = TaskRow("mine", "train-mine", "version {version}", *places)
register_task(row)
""",
}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Mapping[str, Any]]:
    """Kind -> its table, put back after the test."""
    all_metrics()
    registries = {
        "metric": metric_table._TABLE,
        "layout": LAYOUTS,
        "loss term": LOSS_TERMS,
        "model": zoo._TABLE,
        "task": task._TABLE,
    }
    for table in registries.values():
        monkeypatch.setattr(table, "_added", dict(table._added))
    return {kind: table._added for kind, table in registries.items()}


def run(kind: str, version: int, module: str) -> Any:
    """Run a cell as code of a module; returns its row."""
    names: dict[str, Any] = {"__name__": module}
    exec(CELLS[kind].replace("{version}", str(version)), names)
    return names["row"]


@pytest.mark.parametrize("kind", CELLS)
def test_the_last_run_of_a_cell_counts(kind: str, tables: Mapping[str, Mapping[str, Any]]) -> None:
    first, second = (run(kind, version, "__main__") for version in (1, 2))
    assert first != second
    assert tables[kind]["mine"] is second


@pytest.mark.parametrize("kind", ["metric", "layout", "model", "loss term"])
@pytest.mark.parametrize("modules", [("one", "one"), ("one", "__main__"), ("__main__", "one")])
def test_packages_do_not_take_names_from_each_other(
    kind: str, modules: tuple[str, str], tables: Mapping[str, Mapping[str, Any]]
) -> None:
    first = run(kind, 1, modules[0])
    with pytest.raises(PluginError, match=f"there is a {kind} 'mine' already. Register yours under another name"):
        run(kind, 2, modules[1])
    assert tables[kind]["mine"] is first
