"""YAML as the programs read it that these files are for: where versions of YAML or its readers differ, that is a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ruamel.yaml
import yaml


def documents(text: str) -> list[Any]:
    """Every document, read by the rules of YAML 1.1, which must be what it is by those of 1.2.

    Raises `yaml.YAMLError`, or `ValueError` where the two differ (`yes`, `010`, `1_000`).
    """
    for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
        _each_member_once(node)
    old = list(yaml.safe_load_all(text))
    new = list(ruamel.yaml.YAML(typ="safe", pure=True).load_all(text))
    if old != new:
        raise ValueError("it means something else to another reader of YAML")
    return old


def _each_member_once(node: yaml.Node | None) -> None:
    """Readers let the second of two win."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {sorted(twice)}", node.start_mark)
        for _, value in node.value:
            _each_member_once(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _each_member_once(value)


def document(path: Path) -> Any:
    """The one document of a file."""
    [found] = documents(path.read_text(encoding="utf-8"))
    return found
