"""The wings of the package, and which of them import which.

The test of the wings and their picture in the docs are made from WINGS.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / 'tresnet_det'


class Wing(NamedTuple):
    """A folder of the package.

    Attributes:
        floor: Imports run from a higher floor to a lower one.
        holds: What is in it.
    """

    floor: int
    holds: str


WINGS = {
    'comparison': Wing(6, 'two detectors: training, figures, report'),
    'deployment': Wing(5, 'export to one file, checks, runtime'),
    'distillation': Wing(5, 'a student learns from a teacher'),
    'training': Wing(4, 'runner, hooks, resuming, diagnosis'),
    'evaluation': Wing(3, 'COCO figures'),
    'models': Wing(3, 'backbone, classifier, norm, layers'),
    'data': Wing(3, 'annotation checks, data sets, downloads'),
    'weights': Wing(2, 'published weights: read, convert, report'),
    'environment': Wing(1, 'versions, doctor'),
    'common': Wing(0, 'errors, atomic writing, command line'),
}


class Import(NamedTuple):
    """One import: the file, its line and the full name of what it imports."""

    file: Path
    line: int
    name: str


@cache
def imports(package: Path = PACKAGE) -> tuple[Import, ...]:
    """All imports of a package's files, those within functions too."""
    return tuple(
        Import(file.relative_to(package), node.lineno, name)
        for file in sorted(package.rglob('*.py'))
        if '.mim' not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        for name in _names(node, (package.name, *file.relative_to(package).parts))
    )


def _names(node: ast.AST, file: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = file[: len(file) - node.level] if node.level else ()
        base = '.'.join(filter(None, (*start, node.module)))
        yield from (f'{base}.{alias.name}' for alias in node.names)


def arrows(package: Path = PACKAGE) -> dict[tuple[str, str], list[Import]]:
    """(wing, imported wing) -> the imports."""
    found: dict[tuple[str, str], list[Import]] = {}
    for one in imports(package):
        inside = one.name.split('.')
        if len(one.file.parts) > 1 and inside[0] == package.name:
            pair = one.file.parts[0], inside[1]
            if pair[0] != pair[1]:
                found.setdefault(pair, []).append(one)
    return found


def longest_chain(graph: Mapping[str, set[str]]) -> list[str]:
    """The longest way along the arrows that meets nothing twice."""

    def longest(way: tuple[str, ...]) -> tuple[str, ...]:
        onwards = graph.get(way[-1], set()) - {*way}
        return (
            max((longest((*way, name)) for name in sorted(onwards)), key=len)
            if onwards
            else way
        )

    return list(max((longest((name,)) for name in sorted(graph)), key=len))
