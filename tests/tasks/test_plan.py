"""The plan of a training: what it says where a system does not tell everything."""

from __future__ import annotations

import sys

import pytest

from segcct.tasks.training_run import Plan, peak_memory_mb


def test_a_system_without_resource_usage_leaves_the_memory_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows, where importing it fails
    assert peak_memory_mb() is None
    plan = Plan("train 4 cases", 1000, 0.5, peak_memory_mb(), 30.0)
    assert "memory      not known here\n" in str(plan)


def test_peak_memory_is_bytes_on_macs_and_kilobytes_elsewhere(monkeypatch):
    resource = pytest.importorskip("resource")
    usage = type("Usage", (), {"ru_maxrss": 2_500_000})
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory_mb() == 2500.0
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory_mb() == 2.5
