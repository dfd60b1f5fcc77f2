"""Checks a JSON value against the part of JSON Schema that docs/report-json.md uses.

In: a value and a schema. Out: the faults, each with the place where it is.
"""

from typing import Any

_TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None),
    "boolean": bool,
}  # fmt: skip
_KNOWN = {"$schema", "$defs", "$ref", "type", "required", "properties", "items", "enum", "const", "minimum", "maximum"}


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "$") -> list[str]:
    """Return what of `value` does not fit `schema`; `root` holds the definitions."""
    unknown = set(schema) - _KNOWN
    if unknown:
        return [f"{where}: the schema uses {sorted(unknown)}, which is not checked"]
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, where)
    found = _plain(value, schema, where)
    if isinstance(value, dict):
        found += [f"{where}: no {name}" for name in schema.get("required", ()) if name not in value]
        for name, part in schema.get("properties", {}).items():
            if name in value:
                found += faults(value[name], part, root, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for place, item in enumerate(value):
            found += faults(item, schema["items"], root, f"{where}[{place}]")
    return found


def _plain(value: Any, schema: dict[str, Any], where: str) -> list[str]:
    found = []
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    fits = [
        kind for kind in kinds if isinstance(value, _TYPES[kind]) and (kind == "boolean") == isinstance(value, bool)
    ]
    if kinds and not fits:
        found.append(f"{where}: {value!r} is no {' or '.join(kinds)}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is not one of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: {value!r} is not {schema['const']!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            found.append(f"{where}: {value!r} is below {schema['minimum']}")
        if value > schema.get("maximum", value):
            found.append(f"{where}: {value!r} is above {schema['maximum']}")
    return found
