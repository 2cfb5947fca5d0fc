"""JSON Schema of the wire contract: the texts that ``docs/schema`` holds.

``docs/schema/export.py`` writes the files anew; a test holds them current. What JSON Schema cannot
say (sizes in bytes, nesting, the future, ``1.0`` for an integer, a name given twice) stands in
``docs/decisions/0002-decoder.md``.
"""

from __future__ import annotations

import json

from pydantic import BaseModel

from stream.wire import DeadLetter, Interaction, Item

_MODELS: dict[str, type[BaseModel]] = {
    "interaction": Interaction,
    "item": Item,
    "dead-letter": DeadLetter,
}


def schema_texts() -> dict[str, str]:
    """Return file name to JSON Schema (draft 2020-12) of every published model."""
    texts = {}
    for name, model in _MODELS.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(),
        }
        texts[f"{name}.json"] = json.dumps(schema, indent=2) + "\n"
    return texts
