"""Arithmetic is chosen by measurement, devices are never replaced in silence, threads keep to the cores."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
import yaml

from segcct.cli import main
from segcct.config import SegmentationConfig, settings
from segcct.errors import ConfigError, ModelError
from segcct.hardware import precision, processor
from segcct.hardware.devices import available_devices, pick_device
from segcct.hardware.memory import peak_memory_mb, resident_mb
from segcct.hardware.precision import Timing, choose_precision
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import load_card
from segcct.training.device_settings import FIRST_CHOICE, lightning_devices, resolve_precision
from segcct.training.session import experiment_of
from tests.conftest import training_command
from tests.support.toy_pair import Nearest, card, data_section

FAST_BF16, EMULATED_BF16, LEVEL = Timing(2.0, 1.0), Timing(2.0, 28.0), Timing(2.0, 1.95)


@pytest.fixture
def measured(monkeypatch):
    """Makes this machine one with the given timing; nothing pins `auto`."""

    def machine(timing: Timing) -> None:
        monkeypatch.delenv(precision.ENVIRONMENT, raising=False)
        monkeypatch.setattr(precision, "measure_cpu", lambda: timing)

    precision._warn_if_slower.cache_clear()
    yield machine
    precision._warn_if_slower.cache_clear()


@pytest.mark.parametrize(("timing", "expected"), [(FAST_BF16, "bf16"), (EMULATED_BF16, "fp32"), (LEVEL, "fp32")])
def test_auto_is_bf16_only_where_it_is_measured_faster(measured, timing, expected):
    measured(timing)
    choice = choose_precision("auto", "cpu")
    assert choice.precision == expected
    assert f"{timing.bf16_ms:.2f} ms" in choice.reason
    assert f"{timing.fp32_ms:.2f} ms" in choice.reason


def test_an_explicit_bf16_is_obeyed_with_one_warning_that_names_the_factor(measured, capsys):
    measured(EMULATED_BF16)
    assert [choose_precision("bf16", "cpu").precision for _ in range(3)] == ["bf16"] * 3
    assert capsys.readouterr().err.count("bf16 is 14.0 times slower than fp32") == 1


def test_an_explicit_bf16_where_it_is_faster_is_obeyed_without_a_word(measured, capsys):
    measured(FAST_BF16)
    assert choose_precision("bf16", "cpu").precision == "bf16"
    assert capsys.readouterr().err == ""


def test_a_gpu_computes_in_bf16_where_it_has_the_instructions(monkeypatch):
    monkeypatch.delenv(precision.ENVIRONMENT, raising=False)
    for supported, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, s=supported: s)
        assert choose_precision("auto", "cuda").precision == expected
    assert choose_precision("auto", "mps").precision == "fp32"


def test_an_explicit_bf16_on_a_gpu_that_emulates_it_is_obeyed_with_a_warning(measured, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert [choose_precision("bf16", "cuda").precision for _ in range(2)] == ["bf16"] * 2
    assert capsys.readouterr().err.count("this GPU has no bf16 instructions") == 1


def test_the_environment_variable_decides_auto_and_only_auto(monkeypatch):
    monkeypatch.setenv(precision.ENVIRONMENT, "bf16")
    assert choose_precision("auto", "cpu").precision == "bf16"
    assert choose_precision("fp32", "cpu").precision == "fp32"
    monkeypatch.setenv(precision.ENVIRONMENT, "fp16")
    with pytest.raises(ConfigError, match="SEGCCT_PRECISION"):
        choose_precision("auto", "cpu")


def test_an_empty_environment_variable_counts_as_unset(measured, monkeypatch):
    measured(FAST_BF16)
    monkeypatch.setenv(precision.ENVIRONMENT, "")
    assert choose_precision("auto", "cpu").reason.startswith("measured here")


def test_an_unknown_precision_is_named():
    with pytest.raises(ConfigError, match="fp16"):
        choose_precision("fp16", "cpu")


def test_the_measurement_takes_milliseconds_and_leaves_random_numbers_alone():
    precision.measure_cpu.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    timing = precision.measure_cpu()
    assert torch.equal(torch.rand(3), expected)
    assert 0 < timing.fp32_ms < 1000
    assert timing.bf16_ms > 0


def test_the_clock_of_the_measurement_has_steps_far_below_a_millisecond():
    began = precision._CLOCK()
    while (now := precision._CLOCK()) == began:
        pass
    assert now - began < 1e-4


def test_inference_holds_the_precision_that_auto_became(measured):
    measured(FAST_BF16)
    assert InferenceSettings(device="cpu").precision == "bf16"
    measured(EMULATED_BF16)
    assert InferenceSettings(device="cpu").precision == "fp32"
    assert InferenceSettings(device="cpu") == InferenceSettings(precision="fp32", device="cpu")


def test_a_device_that_is_not_there_is_refused():
    assert pick_device("auto") in available_devices()
    with pytest.raises(ModelError, match="no such device"):
        pick_device("cuda:99")
    with pytest.raises(ModelError, match=r"no such device .found nix"):
        InferenceSettings(device="nix")
    with pytest.raises(ModelError, match=r"no such device on this machine .found cuda:99"):
        Predictor(Nearest(), card("segmentation", data_section()), InferenceSettings(device="cuda:99"))


def test_inference_on_auto_runs_on_the_device_that_is_picked():
    assert InferenceSettings().device == InferenceSettings(device="auto").device == pick_device()


def config(**train: object) -> SegmentationConfig:
    data = {"layout": "brats", "root": "x", "channels": {"t1": "{id}_t1"}, "label": "{id}_seg", "scheme": "brats2021"}
    return SegmentationConfig.model_validate({"data": data, "train": train})


def test_the_configuration_stores_the_choice_and_why(measured):
    measured(EMULATED_BF16)
    settled = resolve_precision(config())
    assert settled.train.precision == "fp32"
    assert "28.00 ms" in str(settled.train.precision_reason)
    measured(FAST_BF16)
    assert resolve_precision(settled) == settled  # a resumed run keeps what it began with


def test_the_other_processes_of_a_training_take_the_choice_of_the_first_and_say_nothing(measured, monkeypatch, capsys):
    monkeypatch.setenv(FIRST_CHOICE, "unset")  # so that the test leaves none behind
    measured(FAST_BF16)
    resolve_precision(config(devices=2), announce=True)
    assert "precision bf16" in capsys.readouterr().err
    measured(EMULATED_BF16)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_precision(config(devices=2), announce=True).train.precision == "bf16"
    assert resolve_precision(config(devices=2, precision="bf16"), announce=True).train.precision == "bf16"
    assert capsys.readouterr().err == ""


def test_processes_that_torchrun_starts_do_not_choose_by_themselves(measured, monkeypatch):
    measured(FAST_BF16)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resolve_precision(config()).train.precision == "fp32"
    monkeypatch.setenv("SEGCCT_PRECISION", "bf16")
    assert resolve_precision(config()).train.precision == "bf16"


def test_what_a_distributed_training_chose_decides_nothing_after_it(measured, monkeypatch):
    monkeypatch.setenv(FIRST_CHOICE, "unset")
    measured(FAST_BF16)
    resolve_precision(config(devices=2))
    measured(EMULATED_BF16)
    assert choose_precision("auto", "cpu").precision == "fp32"
    assert resolve_precision(config()).train.precision == "fp32"


def test_a_new_training_by_the_stored_config_of_another_does_not_keep_its_reason(measured, tmp_path):
    measured(FAST_BF16)
    text = settings.dump(resolve_precision(config()))
    assert "precision_reason: measured here" in text
    stored = tmp_path / "config.yaml"
    stored.write_text(text, encoding="utf-8")
    for source in (stored, yaml.safe_load(text), settings.load(SegmentationConfig, stored)):
        train = experiment_of(SegmentationConfig, source, {"train.precision": "fp32"})[0].train
        assert (train.precision, train.precision_reason) == ("fp32", None)


@pytest.mark.slow
def test_training_dry_run_and_resume_keep_the_choice(measured, phantom, tmp_path, capsys):
    measured(EMULATED_BF16)
    command = training_command(phantom, tmp_path, train__precision="auto", train__epochs="1")
    assert main([*command, "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "precision: fp32" in printed.out
    assert "28.00 ms" in printed.out
    assert "precision fp32: measured here" in printed.err
    assert main(command) == 0
    stored = yaml.safe_load((tmp_path / "small" / "config.yaml").read_text())["train"]
    assert stored["precision"] == "fp32"
    assert "28.00 ms" in stored["precision_reason"]
    measured(FAST_BF16)
    assert main(["train-seg", "--resume", str(tmp_path / "small"), "--train.epochs", "2"]) == 0
    assert yaml.safe_load((tmp_path / "small" / "config.yaml").read_text())["train"] == {**stored, "epochs": 2}
    assert load_card(tmp_path / "small" / "best").architecture.name == "cct_unet_t"
    longer = ["--train.epochs", "3", "--train.precision", "fp32"]
    assert main(["train-seg", "--resume", str(tmp_path / "small"), *longer]) == 0
    stored = yaml.safe_load((tmp_path / "small" / "config.yaml").read_text())["train"]
    assert stored["precision_reason"] is None


def test_lightning_trains_on_the_device_that_was_picked(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert lightning_devices(config(device="mps").train)["accelerator"] == "mps"
    assert lightning_devices(config(device="cpu").train)["accelerator"] == "cpu"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_container_limits_the_cores(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert processor.container_cores(tmp_path) == expected


def test_the_smallest_quota_of_a_process_counts(tmp_path):
    (tmp_path / "membership").write_text("0::/jobs/job_7\n")
    (tmp_path / "jobs" / "job_7").mkdir(parents=True)
    for folder, quota in (("jobs", "200000 100000"), ("jobs/job_7", "max 100000"), (".", "800000 100000")):
        (tmp_path / folder / "cpu.max").write_text(quota)
    assert processor.container_cores(tmp_path, tmp_path / "membership") == 2.0


def test_threads_never_exceed_the_cores_of_a_process(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(processor, "core_share", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert [processor.limit_threads(), processor.limit_threads(2), processor.limit_threads(9)] == [4, 2, 1]
    assert asked == [4, 2, 1]
    assert "4 threads instead of 64: the cores that this process has" in capsys.readouterr().err


FAULTS = """
import resource
from segcct.hardware.memory import keep_freed_memory, return_freed_memory

kept = keep_freed_memory()
for _ in range(2):
    bytearray(100_000_000)
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    bytearray(100_000_000)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first
return_freed_memory()
pages = int(open("/proc/self/statm").read().split()[1])
print(int(kept), faults, pages * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept where the C library is glibc")
@pytest.mark.parametrize("environment", [{}, {"MALLOC_TOP_PAD_": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.check=0"}])
def test_freed_memory_is_used_again_unless_the_user_has_settled_it(monkeypatch, environment):
    for name in ("GLIBC_TUNABLES", *(name for name in os.environ if name.startswith("MALLOC_"))):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, faults, resident = map(int, done.stdout.split())
    assert kept == (not environment)
    assert faults < 1000 or environment  # of 120,000 pages
    assert resident < 90e6


def test_the_peak_of_memory_begins_with_the_program():
    """A child's count by `getrusage` begins with what its parent held."""
    held = bytearray(300 << 20)
    code = "from segcct.hardware.memory import peak_memory_mb; print(peak_memory_mb())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(held) / 1e6 < (peak_memory_mb() or 0)
    if sys.platform == "linux":
        assert float(told) < 200


def test_resident_memory_is_counted_in_units_of_1024_bytes_but_on_macs(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert resident_mb(1_000_000) == 1024.0
    monkeypatch.setattr(sys, "platform", "darwin")
    assert resident_mb(1_000_000) == 1.0


def test_without_proc_the_peak_is_bytes_on_macs_and_units_of_1024_elsewhere(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource")
    usage = type("Usage", (), {"ru_maxrss": 2_500_000})
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", "freebsd")
    assert peak_memory_mb(tmp_path / "status") == 2560.0
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory_mb(tmp_path / "status") == 2.5
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows, where importing it fails
    assert peak_memory_mb(tmp_path / "status") is None
