"""Names under which a network stores its weights, where they differ from those of its modules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from torch import nn


def store_under(network: nn.Module, prefixes: Mapping[str, str]) -> None:
    """Let state dicts of a network hold some weights under other names, in saving and in loading.

    Args:
        network: whose `state_dict` and `load_state_dict` change, also within a larger network.
        prefixes: beginning of names of weights -> what replaces it in state dicts; where two weights are one tensor,
            their names may become one.
    """
    own_names = network.state_dict().keys()
    names = {
        name: stored + name.removeprefix(prefix)
        for name in own_names
        for prefix, stored in prefixes.items()
        if name.startswith(prefix)
    }
    network.register_state_dict_post_hook(partial(_rename, names))
    network.register_load_state_dict_pre_hook(partial(_restore, names, set(names.values()) - own_names))


def _rename(names: Mapping[str, str], network: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    del network
    items = list(state.items())
    state.clear()
    for key, value in items:
        name = names.get(key.removeprefix(prefix)) if key.startswith(prefix) else None
        state.setdefault(key if name is None else prefix + name, value)


def _restore(
    names: Mapping[str, str],
    foreign: Collection[str],
    network: nn.Module,
    state: dict[str, Any],
    prefix: str,
    *_: object,
) -> None:
    del network
    for name, stored in names.items():
        if prefix + stored in state:
            state[prefix + name] = state[prefix + stored]
    for stored in foreign:
        state.pop(prefix + stored, None)
