"""Annotation files of real tools: told, mended, and a training step on them.

    python tests/trials/mend_and_train.py FOLDER [--out FOLDER]

For each JSON file of the folder images are drawn in the sizes that it states. Then
tools/check_data.py tells all problems at once and mends, and tools/own_data.py makes a
set; both end in one step of a tiny FCOS. Printed are the problems, each change,
what own_data asks, and a table.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmdet.registry import RUNNERS
from mmengine.config import Config
from small_runs import small_config

from tresnet_det.common.errors import UserError
from tresnet_det.common.markdown import as_text
from tresnet_det.data.annotation_files import read_annotations
from tresnet_det.data.checking.check import Checked, check
from tresnet_det.data.checking.findings import Level
from tresnet_det.data.checking.splits import named_splits
from tresnet_det.data.checking.writing import write_mended
from tresnet_det.data.mending import Choices
from tresnet_det.data.own_data import Options, make_own_data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='of annotations')
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
    return one_step(small_config('fcos', root, root / 'work', tuple(classes)))


def one_step(cfg: Config) -> float:
    """Loss of the first training step of a config."""
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (1333, 800)  # smaller ones would lose small boxes
    cfg.default_hooks.checkpoint = None
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'] = cfg[f'{split}_evaluator'] = None
        cfg[f'{split}_cfg'] = None
    runner = RUNNERS.build(cfg)
    runner.train()
    return runner.message_hub.get_scalar('train/loss').current()


def tried(
    file: Path, root: Path, ending: str = ''
) -> tuple[Checked, list[str], list[str], float]:
    """Checks, mends and trains.

    Args:
        file: Annotations.
        root: Folder to work in.
        ending: Of the images, if other than the file says.

    Returns:
        What was found before, what was changed, what was told of it, and the loss.
    """
    draw_images(read_annotations(file), root / 'images', ending)
    splits = named_splits([file, root / 'images'])
    before = check(splits)
    mended = check(splits, Choices(merge_names=True))
    lines = write_mended(mended, root / 'ann.json')
    after = check(named_splits([root / 'ann.json', root / 'images']))
    assert not after.of(Level.ERROR), after.of(Level.ERROR)
    content = json.loads((root / 'ann.json').read_text())
    loss = step_on(root, [category['name'] for category in content['categories']])
    assert math.isfinite(loss)
    return before, mended.reads[0].changes, lines, loss


def own(file: Path, root: Path) -> tuple[list[str], list[str], float]:
    """The same by tools/own_data.py, on the images that ``tried`` drew.

    Returns:
        What was asked, what was told, and the loss.
    """
    source = root / 'source'
    source.mkdir()
    (source / 'images').symlink_to((root / 'images').resolve())
    shutil.copyfile(file, source / 'annotations.json')
    answers: dict = dict(alike=True)  # the drawn images look alike
    asked = []
    for name, value in (
        ('merge_names', True),
        ('boxes_on', 'seen'),
        ('skip_broken', True),
        ('', None),
    ):
        try:
            result = make_own_data(source, root / 'set', Options(**answers))
            break
        except UserError as error:
            asked.append(str(error))
            answers |= {name: value} if name else {}
    else:
        raise UserError(asked[-1])
    cfg = Config.fromfile(result.config)
    cfg.model.backbone = dict(
        type='TResNet', arch=dict(depths=(1, 1, 1, 1), width=8), norm_eval=False
    )
    cfg.model.neck.in_channels = [8, 16, 128, 256]
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.custom_hooks = []
    # The schedule of epochs has no meaning in one step.
    cfg.param_scheduler = None
    cfg.work_dir = cfg.experiment_name = cfg.visualizer.name = str(root / 'own')
    return asked, result.lines, one_step(cfg)


def main() -> None:
    args = parse_args()
    out = args.out or Path(tempfile.mkdtemp())
    rows = []
    for file in sorted(args.folder.glob('*.json')):
        # As CVAT's exports often are: video frames saved with another ending.
        ending = '.jpg' if file.stem == 'cvat' else ''
        before, changes, _, loss = tried(file, out / file.stem, ending)
        found = [f for f in before.findings if 'pairs' not in f.text]
        asked, told, own_loss = own(file, out / file.stem)
        print(f'\n== {file.stem}')
        print('\n'.join(f'{f.level.value}: {f.text}' for f in found))
        print('--mend:', *changes, sep='\n  ')
        print('own_data asked:', *asked, sep='\n  ')
        print('own_data told:', *told, sep='\n  ', flush=True)
        counts = ' and '.join(
            f'{sum(f.level is level for f in found)} {level.value}' for level in Level
        )
        change = as_text('; '.join(changes))
        rows.append([file.stem, counts, change, f'{loss:.3f}', f'{own_loss:.3f}'])
    print('\n| file | problems named | changes | loss | own_data: loss |')
    print('|---|---|---|---|---|')
    for row in rows:
        print(f'| {" | ".join(row)} |')


if __name__ == '__main__':
    main()
