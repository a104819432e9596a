"""Columns of numbers between NumPy and Arrow, and the task table, in the types that stock LeRobot expects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from representation.data.lerobot_format import Feature


def column_from_values(feature: Feature, values: NDArray) -> pa.Array:
    """Arrow column of an array: plain for a shape of (1,), else lists of fixed length.

    Args:
        feature: its dtype and its shape (n,).
        values: (N, n).
    """
    flat = pa.array(np.ascontiguousarray(values, dtype=feature.dtype).reshape(-1))
    return flat if feature.shape == (1,) else pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])


def column_values(table: pa.Table, feature: Feature) -> NDArray:
    """A column of numbers as an array.

    Args:
        table: rows read from parquet.
        feature: which column, with its dtype and shape.

    Returns:
        (N, *shape) of the feature's dtype.

    Raises:
        ValueError: values are missing or not finite, or dtype or shape differ from the feature's.
    """
    column = table.column(feature.key).combine_chunks()
    flat, missing = column, 0
    while True:
        missing += flat.null_count
        if isinstance(flat, pa.ExtensionArray):
            flat = flat.storage
        elif isinstance(flat, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            flat = flat.flatten()
        else:
            break
    if missing:
        raise ValueError(f"{feature.key}: expected no missing values, found {missing}")
    if not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type) or pa.types.is_boolean(flat.type)):
        raise ValueError(f"{feature.key}: expected {feature.dtype}, found {column.type}")
    if len(flat) != len(table) * prod(feature.shape):
        raise ValueError(
            f"{feature.key}: expected {len(table)} rows of shape {feature.shape}, found {len(flat)} numbers"
        )
    values = flat.to_numpy(zero_copy_only=False)
    if values.dtype != np.dtype(feature.dtype):
        raise ValueError(f"{feature.key}: expected {feature.dtype}, found {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(
            f"{feature.key}: expected finite numbers, found {int((~np.isfinite(values)).sum())} that are not"
        )
    return values.reshape(len(table), *feature.shape)


def task_table(tasks: Sequence[str]) -> pa.Table:
    """The table of `meta/tasks.parquet`: `task_index`, and the sentence as what pandas takes for the index.

    Args:
        tasks: sentences in the order of their numbers.
    """
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "__index_level_0__": list(tasks)})

    def described(name: str | None, field: str, kind: str, dtype: str) -> dict[str, Any]:
        return {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": dtype, "metadata": None}

    pandas = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [
            described("task_index", "task_index", "int64", "int64"),
            described(None, "__index_level_0__", "unicode", "object"),
        ],
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
