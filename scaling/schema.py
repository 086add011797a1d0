"""What whoever reads a study needs of scaling, under one name: its tables, records, arrays, and reading within limits.

`analysis` imports nothing else of scaling, and this module neither torch nor pandas, numpy only where arrays are read.
"""

from scaling.arrays import ARRAYS, GALLERY, IMAGE_GALLERY, PROMPT_GALLERY, SPURIOUS_GALLERY, arrays
from scaling.columns import (
    EVALS,
    IDENTITY,
    IMAGES,
    KEYS,
    NESTED,
    NOISE_LEVELS,
    PROMPTS,
    SCHEMA_VERSION,
    STRATA,
    TABLES,
    Column,
    SchemaError,
    own_columns,
    readme_rows,
)
from scaling.limits import parse_json, printable, read_parquet, read_yaml
from scaling.records import RECORD_BYTES, RECORDS, RECORDS_BYTES, records, rows, whole_lines

__all__ = [
    "ARRAYS",
    "EVALS",
    "GALLERY",
    "IDENTITY",
    "IMAGES",
    "IMAGE_GALLERY",
    "KEYS",
    "NESTED",
    "NOISE_LEVELS",
    "PROMPTS",
    "PROMPT_GALLERY",
    "RECORDS",
    "RECORDS_BYTES",
    "RECORD_BYTES",
    "SCHEMA_VERSION",
    "SPURIOUS_GALLERY",
    "STRATA",
    "TABLES",
    "Column",
    "SchemaError",
    "arrays",
    "own_columns",
    "parse_json",
    "printable",
    "read_parquet",
    "read_yaml",
    "readme_rows",
    "records",
    "rows",
    "whole_lines",
]  # fmt: skip
