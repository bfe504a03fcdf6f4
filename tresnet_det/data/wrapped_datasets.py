"""Data sets inside the data sets of a config."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ['innermost_datasets']


def innermost_datasets(dataset: Any) -> Iterator[Any]:
    """The data sets inside RepeatDataset, ConcatDataset and the like.

    Args:
        dataset: Config of a data set; what is none counts as innermost.
    """
    wrapped: Iterable[Any] = ()
    if isinstance(dataset, Mapping):
        wrapped = dataset.get('datasets') or (
            [dataset['dataset']] if dataset.get('dataset') else []
        )
    for inner in wrapped:
        yield from innermost_datasets(inner)
    if not wrapped:
        yield dataset
