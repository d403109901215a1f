"""The plan of a training: what it says where a system does not tell everything."""

from __future__ import annotations

from segcct.tasks.training_run import Plan


def test_a_plan_without_a_known_peak_of_memory():
    assert "memory      not known here\n" in str(Plan("train 4 cases", 1000, 0.5, None, 30.0))
