"""Annotation files of real tools: told, mended, and a training step on them.

    python tests/trials/mend_and_train.py FILE.json ... [--out FOLDER]

Images are drawn in the sizes that the files state. A row for each file: what was
wrong with it, what was mended, and the loss of one step of a tiny FCOS.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmdet.registry import RUNNERS
from small_runs import small_config

from tresnet_det.common.markdown import as_text
from tresnet_det.data.annotation_files import read_annotations
from tresnet_det.data.checking.check import Checked, check
from tresnet_det.data.checking.findings import Level
from tresnet_det.data.checking.splits import named_splits
from tresnet_det.data.checking.writing import write_mended
from tresnet_det.data.mending import Choices


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, help='annotations')
    parser.add_argument('--out', type=Path, help='folder to work in')
    return parser.parse_args()


def draw_images(content: dict[str, Any], folder: Path, ending: str = '') -> None:
    """A file for each image; those of one size are links to one file."""
    known: dict[tuple[int, int, str], Path] = {}
    for image in content['images']:
        name = Path(image['file_name'])
        path = folder / (name.with_suffix(ending) if ending else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(image['height']), int(image['width'])
        key = (*size, path.suffix)
        if key not in known:
            ramp = np.linspace(0, 255, size[1], dtype=np.uint8)
            cv2.imwrite(str(path), np.tile(ramp[None, :, None], (size[0], 1, 3)))
            known[key] = path
        elif not path.exists():
            os.link(known[key], path)


def step_on(root: Path, classes: list[str]) -> float:
    """Loss of one training step on ``ann.json`` and ``images``."""
    cfg = small_config('fcos', root, root / 'work', tuple(classes))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    cfg.default_hooks.checkpoint = None
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'] = cfg[f'{split}_evaluator'] = None
        cfg[f'{split}_cfg'] = None
    runner = RUNNERS.build(cfg)
    runner.train()
    return runner.message_hub.get_scalar('train/loss').current()


def tried(file: Path, root: Path, ending: str = '') -> tuple[Checked, list[str], float]:
    """Checks, mends and trains.

    Args:
        file: Annotations.
        root: Folder to work in.
        ending: Of the images, if other than the file says.

    Returns:
        What was found before, what was changed, and the loss.
    """
    draw_images(read_annotations(file), root / 'images', ending)
    choices = Choices(merge_names=True)
    before = check(named_splits([file, root / 'images']), choices)
    lines = write_mended(before, root / 'ann.json')
    after = check(named_splits([root / 'ann.json', root / 'images']))
    assert not after.of(Level.ERROR), after.of(Level.ERROR)
    content = json.loads((root / 'ann.json').read_text())
    loss = step_on(root, [category['name'] for category in content['categories']])
    assert math.isfinite(loss)
    return before, lines, loss


def main() -> None:
    args = parse_args()
    out = args.out or Path(tempfile.mkdtemp())
    rows = []
    for file in args.files:
        # As CVAT's exports often are: video frames saved with another ending.
        ending = '.jpg' if file.stem == 'cvat' else ''
        before, lines, loss = tried(file, out / file.stem, ending)
        found = '; '.join(
            f'{f.level.value}: {f.text}'
            for f in before.findings
            if 'pairs' not in f.text
        )
        changes = lines[0].split(': ', 1)[1]
        rows.append([file.stem, as_text(found)[:600], as_text(changes), f'{loss:.3f}'])
    print('\n| file | found before | --mend | loss of a step |\n|---|---|---|---|')
    for row in rows:
        print(f'| {" | ".join(row)} |')


if __name__ == '__main__':
    main()
