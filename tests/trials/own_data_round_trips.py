"""Whole data sets through the exports of three tools and back.

    python tests/trials/own_data_round_trips.py [ROOT ...]

Each root has annotations/{train,val}.json and train, val. Printed is how far
the furthest edge of a box came back from where it was, in pixels.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import tresnet_det  # noqa: F401
from tresnet_det.data.own_data import make_own_data

sys.path.insert(0, str(Path(__file__).parents[1] / 'data'))

from exports import shots_of, written  # noqa: E402
from test_own_data_formats import boxes_in  # noqa: E402

DATA = Path(os.environ.get('TRESNET_DET_DATA', '../shared/data'))


def furthest(shots, out) -> float:
    """The largest difference of an edge; other images or classes raise."""
    found = boxes_in(out)
    assert {*found} == {(shot.split, shot.file.name) for shot in shots}
    most = 0.0
    for shot in shots:
        here = found[shot.split, shot.file.name]
        assert [name for name, _ in here] == [name for name, _ in shot.objects]
        for (_, one), (_, other) in zip(here, shot.objects):
            corners = [(x, y, x + w, y + h) for x, y, w, h in (one, other)]
            most = max(most, *(abs(a - b) for a, b in zip(*corners)))
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('roots', nargs='*', type=Path)
    roots = parser.parse_args().roots
    for root in roots or [DATA / name for name in ('bccd', 'cards', 'deeppcb')]:
        shots = shots_of(root.resolve())
        boxes = sum(len(shot.objects) for shot in shots)
        for name in ('voc', 'yolo', 'label_studio'):
            with tempfile.TemporaryDirectory() as folder:
                source = written(shots, Path(folder, 'source'), name)
                make_own_data(source, Path(folder, 'out'))
                pixels = furthest(shots, Path(folder, 'out'))
            print(
                f'{root.name} as {name}: {len(shots)} images, {boxes} boxes, '
                f'{pixels:.3f} pixels',
                flush=True,
            )


if __name__ == '__main__':
    main()
