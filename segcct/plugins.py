"""What other packages register: modules named by their entry points, imported when a table is asked for more."""

from __future__ import annotations

from functools import cache

from segcct.errors import PluginError


@cache
def load_plugins(group: str) -> None:
    """Import every module that an installed package names under an entry-point group, once.

    Raises:
        PluginError: one cannot be imported, or what it registers is refused; names its package.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group=group):
        try:
            point.load()
        except Exception as error:  # other people's code fails in any way
            package = "an unknown package" if point.dist is None else f"package {point.dist.name}"
            raise PluginError(
                f"the entry point {point.name} of {package} cannot be loaded ({group})",
                found=f"{type(error).__name__}: {error}",
                remedy="Mend or uninstall that package",
            ) from error
