"""The Parquet files of a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra
from si_embodied.evaluation.lerobot import form

with extra("export"):
    import pyarrow as pa
    import pyarrow.parquet as pq

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.evaluation.lerobot.columns import Column

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""An image as the library `datasets` stores it."""


class StepTable:
    """Writes the steps, one row group an episode; begins another file when one is full."""

    def __init__(self, root: Path, columns: Sequence[Column], images: Sequence[str]) -> None:
        """Prepare to write.

        Args:
            root: the data set's folder.
            columns: of numbers.
            images: names of further columns, of PNG files.
        """
        self._root = root
        self._schema = _with_features(columns, images)
        self._writer: pq.ParquetWriter | None = None
        self._number, self._bytes = 0, 0

    def add(self, values: Mapping[str, NDArray[np.generic]], images: Mapping[str, Sequence[bytes]]) -> int:
        """Append an episode, and return the number of its file."""
        if self._bytes >= form.DATA_MB * 2**20:
            self.close()
            self._number, self._bytes = self._number + 1, 0
        if self._writer is None:
            path = self._root / form.DATA_PATH.format(**form.place(self._number))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, self._schema)
        arrays = [_array(values, images, field) for field in self._schema]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table)
        self._bytes += table.nbytes
        return self._number

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _array(values: Mapping[str, NDArray[np.generic]], images: Mapping[str, Sequence[bytes]], field: Any) -> Any:
    if field.name in images:
        return pa.array([{"bytes": image, "path": None} for image in images[field.name]], field.type)
    numbers = values[field.name]
    if pa.types.is_fixed_size_list(field.type):
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])
    return pa.array(numbers[:, 0], field.type)


def _with_features(columns: Sequence[Column], images: Sequence[str]) -> Any:
    """The schema, with what `datasets` and the hub's viewer read of it."""
    fields = [pa.field(name, _IMAGE) for name in images]
    features: dict[str, Any] = {name: {"_type": "Image"} for name in images}
    for column in columns:
        value = pa.bool_() if column.dtype == "bool" else pa.type_for_alias(column.dtype)
        feature = {"dtype": column.dtype, "_type": "Value"}
        size = len(column.names)
        fields.append(pa.field(column.name, value if column.scalar else pa.list_(value, size)))
        features[column.name] = feature if column.scalar else {"feature": feature, "length": size, "_type": "List"}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def write_names(path: Path, names: Sequence[str], column: str) -> None:
    """Write tasks or subtasks: their numbers, with the texts as what pandas takes for the index."""
    index = "__index_level_0__"
    described = [
        {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, field, kind, numpy in ((column, column, "int64", "int64"), (None, index, "unicode", "object"))
    ]
    pandas = {"index_columns": [index], "column_indexes": [], "columns": described, "pandas_version": "2.0"}
    numbers, texts = pa.array(range(len(names)), pa.int64()), pa.array(names, pa.string())
    table = pa.table({column: numbers, index: texts})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table of rows with the same keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
