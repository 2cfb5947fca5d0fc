"""Write the JSON Schemas beside this file: ``python docs/schema/export.py`` from the root."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parents[1]))

from stream.schema import schema_texts  # noqa: E402

for _name, _text in schema_texts().items():
    (_HERE / _name).write_text(_text)
