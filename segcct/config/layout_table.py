"""The tables of dataset layouts, of scans and of labeled images: `data.layout` is one of their names.

To add one, write its file in datasets/layouts/ and its row here; from another package, `register_layout`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from segcct.plugins import Registry

_FILES = {
    "dicom": "dicom_series",
    "nnunet": "nnunet",
    "brats": "brats",
    "acdc": "acdc",
    "synapse": "synapse",
    "slices": "stored_slices",
    "folder": "case_folders",
    "paired": "paired_folders",
    "pictures": "images_2d",
}
"""Layout -> its file in datasets/layouts/, in the order in which `segcct init` asks them."""

LAYOUTS = Registry(
    "layout", "segcct.layouts", {name: f"segcct.datasets.layouts.{file}:LAYOUT" for name, file in _FILES.items()}
)

IMAGE_LAYOUTS = Registry(
    "layout of labeled images",
    "segcct.image_layouts",
    {
        "classes": "segcct.tasks.classification.class_folders:LAYOUT",
        "cifar": "segcct.tasks.classification.cifar:LAYOUT",
        "idx": "segcct.tasks.classification.idx:LAYOUT",
    },
)


class NameIn:
    """Marks the type of a key whose value is a name in a table."""

    def __init__(self, table: Registry) -> None:
        self.table = table

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self.table.checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.table)}


LayoutName = Annotated[str, NameIn(LAYOUTS)]
ImageLayoutName = Annotated[str, NameIn(IMAGE_LAYOUTS)]
