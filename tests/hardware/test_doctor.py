"""`segcct doctor`: facts of the machine, what they mean, and what is missing."""

from __future__ import annotations

import json
import py_compile
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segcct import environment as doctor
from segcct.cli import main
from segcct.errors import ModelError
from segcct.files.disk_space import free_bytes
from segcct.hardware.memory import free_memory_gb
from segcct.hardware.processor import instruction_sets, processor_name
from segcct.tasks.segmentation.timed_step import MACHINES

CPUINFO = """processor\t: 0
model name\t: Some Processor 9000
flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 hypervisor

processor\t: 1
model name\t: Some Processor 9000
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


def test_instruction_sets_are_those_of_the_first_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    (tmp_path / "arm").write_text(ARM)
    assert instruction_sets(tmp_path / "cpuinfo") == ["avx2", "avx512f", "avx512_bf16"]
    assert processor_name(tmp_path / "cpuinfo") == "Some Processor 9000"
    assert instruction_sets(tmp_path / "arm") == ["asimd", "bf16"]
    assert instruction_sets(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [("3000000000", "1000000000", 2.0), ("max", "1", 8.192), ("99000000000", "1", 8.192), ("10", "20", 0.0)],
)
def test_free_memory_keeps_to_the_limit_of_a_container(tmp_path, limit, used, expected):
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    assert free_memory_gb(tmp_path / "meminfo", tmp_path) == pytest.approx(expected)


def test_pages_of_files_that_a_container_only_keeps_count_as_free(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("2900000000\n")
    stat = "anon 900000000\nfile 2000000000\nshmem 100\ninactive_file 1500000000\nactive_file 500000000\n"
    (tmp_path / "memory.stat").write_text(stat)
    assert free_memory_gb(tmp_path / "meminfo", tmp_path) == pytest.approx(2.1)
    (tmp_path / "memory.stat").write_text("damaged")
    assert free_memory_gb(tmp_path / "meminfo", tmp_path) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("membership", "job", "limit", "used"),
    [
        ("0::/slurm/job_7/step_0", "slurm/job_7", "max", "current"),
        ("5:cpu:/\n4:memory:/slurm/job_7/step_0\n0::/", "memory/slurm/job_7", "limit_in_bytes", "usage_in_bytes"),
    ],
)
def test_free_memory_keeps_to_the_limit_of_a_job_of_a_batch_system(tmp_path, membership, job, limit, used):
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    (tmp_path / "membership").write_text(membership + "\n")
    (tmp_path / job / "step_0").mkdir(parents=True)
    for folder, bytes_at_most in ((job, "3000000000"), (f"{job}/step_0", "9223372036854771712")):
        (tmp_path / folder / f"memory.{limit}").write_text(bytes_at_most)
        (tmp_path / folder / f"memory.{used}").write_text("1000000000")
    assert free_memory_gb(tmp_path / "meminfo", tmp_path, tmp_path / "membership") == pytest.approx(2.0)


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(free_bytes(tmp_path), rel=0.1)


def facts(**changes: object) -> dict[str, object]:
    usual = {"cores": {"machine": 8, "usable": 2, "container": 2.0}, "load": 4.2, "threads": 2, "devices": ["cpu"],
             "device": "cpu", "free_memory_gb": 16.0, "free_disk_gb": 50.0, "missing": {},
             "torch_is_compiled": True}  # fmt: skip
    return {**usual, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"load": 9.2}, "Other processes want 9.2 cores and the machine has 8"),
        ({"threads": 1}, "allows 1 of 2 cores"),
        ({"devices": ["cpu", "mps"]}, "--train.device mps"),
        ({"free_memory_gb": 1.5}, "Only 1.5 GB of memory"),
        ({"free_disk_gb": 1.0}, "Only 1.0 GB of disk"),
        ({"torch_is_compiled": False}, "unset PYTHONDONTWRITEBYTECODE, or compile all packages once"),
        ({"missing": {"demo": ["nilearn"]}}, "nilearn not installed: pip install 'segcct[demo]'"),
    ],
)
def test_advice_says_what_is_wrong_and_nothing_else(changes, expected):
    assert doctor.advice(facts()) == []
    (sentence,) = doctor.advice(facts(**changes))
    assert expected in sentence


def test_packages_of_an_extra_for_users_that_are_not_installed_are_named(monkeypatch):
    required = ["torch>=2.6", 'surely-not-installed>=1; extra == "demo"', 'nilearn-not-installed>=8; extra == "test"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: required)
    assert doctor.missing_packages() == {"demo": ["surely-not-installed"]}


def test_a_package_without_compiled_files_is_noticed(monkeypatch, tmp_path):
    package = tmp_path / "uncompiled_package.py"
    package.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert not doctor.has_bytecode("uncompiled_package")
    py_compile.compile(str(package))
    assert doctor.has_bytecode("uncompiled_package")


def test_doctor_prints_the_machine_and_json_holds_the_same(capsys):
    assert main(["doctor", "--no-speed"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("torch ", "device", "cores", "precision", "memory"))
    assert main(["doctor", "--no-speed", "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)
    assert stored["cores"]["usable"] >= 1
    assert stored["precision"]["auto"] in ("fp32", "bf16")
    assert "step" not in stored


SMALL_DOCTOR = """
import sys
from segcct.cli import main
from segcct.tasks.segmentation import timed_step
timed_step.SIZE, timed_step.BATCH = 32, 1
sys.exit(main(["doctor", "--json"]))
"""


def test_the_reference_step_is_timed_in_both_precisions():
    """In a process of its own: after the threads of OpenVINO, a loader's workers cannot be forked from this one."""
    done = subprocess.run([sys.executable, "-c", SMALL_DOCTOR], capture_output=True, encoding="utf-8", check=True)
    facts = json.loads(done.stdout)
    step = facts["step"]
    assert set(step["seconds"]) == {"fp32", "bf16"}
    assert all(0 < seconds < 60 for seconds in step["seconds"].values())
    shown = doctor.describe(facts)
    assert f"fp32 {step['seconds']['fp32']:.2f} s, bf16 {step['seconds']['bf16']:.2f} s" in shown
    assert "no bf16 instructions: fp32 1.62 s, bf16 22.60 s" in shown
    assert set(facts["backends"]) == {"torch fp32", "torch bf16", "onnx fp32", "openvino fp32", "openvino bf16"}
    assert "fastest: segcct predict --backend " in shown


def test_without_the_extra_only_pytorch_is_timed(monkeypatch):
    from segcct.tasks.segmentation import timed_step as reference_step

    monkeypatch.setattr(reference_step, "SIZE", 32)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert set(reference_step.backend_times_s()) == {"torch fp32", "torch bf16"}


def test_a_backend_that_fails_is_part_of_the_report(monkeypatch, tmp_path):
    from segcct.tasks.segmentation import timed_step

    def fails() -> dict[str, float]:
        raise ModelError("cannot be exported", found="onnxscript 9")

    monkeypatch.setattr(timed_step, "backend_times_s", fails)
    monkeypatch.setattr(timed_step, "reference_step_s", lambda device, precision: 1.0)
    facts = doctor.examine(tmp_path)
    assert "could not be timed: cannot be exported (found onnxscript 9)" in doctor.describe(facts)
    assert facts["step"]["seconds"]["fp32"] == 1.0


def test_a_training_step_that_fails_is_part_of_the_report(monkeypatch, tmp_path):
    from segcct.tasks.segmentation import timed_step

    def fails(device: str, precision: str) -> float:
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(timed_step, "backend_times_s", lambda: {"torch fp32": 0.1})
    monkeypatch.setattr(timed_step, "reference_step_s", fails)
    shown = doctor.describe(doctor.examine(tmp_path))
    assert "CUDA error: no kernel image is available for execution on the device" in shown
    assert "fastest: segcct predict --backend torch --precision fp32" in shown


def test_the_machines_that_doctor_compares_with_are_rows_of_the_documentation():
    table = (Path(__file__).parents[2] / "docs" / "machines.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("|")]
    steps = [row[4:6] for row in rows if len(row) == 8]
    figures = [tuple(map(float, cells)) for cells in steps if all(re.fullmatch(r"[0-9.]+", cell) for cell in cells)]
    assert figures
    for machine, seconds in MACHINES:
        assert (seconds["fp32"], seconds["bf16"]) in figures, machine
