"""A last.ckpt after damage, a partial copy or an attack: bytes that torch.save did not write, valid archives with other
content, and a pickle that would run code."""

from __future__ import annotations

import io
import tempfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Change = Callable[[bytes], bytes]
PAYLOAD_RAN = Path(tempfile.gettempdir(), f"segcct-payload-ran-{uuid.uuid4().hex}")
"""Exists once the code in a pickle has run."""


def flipped(place: float) -> Change:
    """Flip one bit, at a fraction of the file's length."""

    def change(sound: bytes) -> bytes:
        at = min(int(place * len(sound)), len(sound) - 1)
        return sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :]

    return change


def flipped_in_a_tensor(sound: bytes) -> bytes:
    """Flip one bit in the largest tensor: bytes between tensors are unused."""
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        largest = max(archive.infolist(), key=lambda each: each.file_size)
        content = archive.read(largest)
    at = sound.index(content[:4096], largest.header_offset) + len(content) // 2
    return sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :]


def _saved(state: Any) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def _in_state(change: Callable[[dict[str, Any]], None]) -> Change:
    def changed(sound: bytes) -> bytes:
        state = torch.load(io.BytesIO(sound), weights_only=True)
        change(state)
        return _saved(state)

    return changed


class Payload:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (PAYLOAD_RAN.touch, ())


def _with_payload(sound: bytes) -> bytes:
    return _saved({**torch.load(io.BytesIO(sound), weights_only=True), "extra": Payload()})


def _packed(sound: bytes) -> bytes:
    """The same archive with compressed members, which might unpack to any size."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound)) as source, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return content.getvalue()


def _cut(state: dict[str, Any]) -> None:
    name = next(iter(state["state_dict"]))
    state["state_dict"][name] = state["state_dict"][name].flatten()[:1]


def _renamed(state: dict[str, Any]) -> None:
    name = next(iter(state["state_dict"]))
    state["state_dict"][name + "_old"] = state["state_dict"].pop(name)


def _progress(state: dict[str, Any]) -> dict[str, int]:
    progress: dict[str, int] = state["loops"]["fit_loop"]["epoch_progress"]["current"]
    return progress


STATES: dict[str, Change] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "a byte early": flipped(0.1),
    "a byte of a tensor": flipped_in_a_tensor,
    "a byte late": flipped(0.9),
    "a web page": lambda sound: b"<html></html>",
    "another archive": lambda sound: _zip({"readme.txt": b"hello"}),
    "compressed members": _packed,
    "a pickle that runs code": _with_payload,
    "only a list": lambda sound: _saved([1, 2]),
    "only weights": lambda sound: _saved(torch.load(io.BytesIO(sound), weights_only=True)["state_dict"]),
    "no clock": _in_state(lambda state: state.pop("clock")),
    "a clock without time": _in_state(lambda state: state["clock"].pop("elapsed")),
    "elapsed as text": _in_state(lambda state: state["clock"].update(elapsed="long")),
    "weights as text": _in_state(lambda state: state["state_dict"].update({next(iter(state["state_dict"])): "x"})),
    "a weight cut": _in_state(_cut),
    "a weight renamed": _in_state(_renamed),
    "epoch as text": _in_state(lambda state: state.update(epoch="one")),
    "epoch below zero": _in_state(lambda state: state.update(epoch=-3)),
    "loops as list": _in_state(lambda state: state.update(loops=[])),
    "loops of nothing": _in_state(lambda state: state.update(loops={"fit_loop": {"x": 1}})),
    "an epoch that has not ended": _in_state(lambda state: _progress(state).update(processed=0)),
    "an optimizer without moments": _in_state(lambda state: state["optimizer_states"][0].update(state={})),
    "no optimizer": _in_state(lambda state: state.update(optimizer_states=[])),
    "an optimizer of another network": _in_state(lambda state: state["optimizer_states"][0].update(param_groups=[])),
    "callbacks of nothing": _in_state(lambda state: state.update(callbacks={"ValidationCallback": 3})),
    "another network": _in_state(lambda state: state["training"]["architecture"].update(name="unet")),
    "another dataset": _in_state(lambda state: state["training"].update(data_fingerprint="0")),
    "another seed": _in_state(lambda state: state["training"].update(seed=99)),
}


def _zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()
