"""What a configuration says of its fields: the string below each, read from the source when help or docs ask for it.

pydantic's `use_attribute_docstrings` does the same at import, which costs every command a tenth of a second or more.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from itertools import pairwise

from pydantic import BaseModel


def description_of(kind: type[BaseModel], field: str) -> str:
    """The text below a field in its class, in one line; empty where there is none."""
    owner = next(base for base in kind.__mro__ if field in inspect.get_annotations(base))
    return _descriptions(owner).get(field, "")


@lru_cache
def _descriptions(owner: type) -> dict[str, str]:
    try:
        source = inspect.getsource(owner)
    except (OSError, TypeError):  # a class without a source file
        return {}
    (definition,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, text in pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            texts[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return texts
