"""Annotation files of real tools, each to a training step.

    python tests/trials/own_data_files.py [FILE ...]

Images of the sizes that a file states are drawn, grey ones; then
tools/own_data.py's function makes a set, and a small detector trains one epoch on
a few of its images and is evaluated on a few.
"""

import argparse
import json
import os
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from mmdet.registry import RUNNERS
from mmengine.config import Config

import tresnet_det  # noqa: F401
from tresnet_det.common.errors import UserError
from tresnet_det.data.own_data import Options, make_own_data

FOLDER = Path(os.environ.get('TRESNET_DET_DATA', '../shared/data')) / 'annotations'
FEW = 4


@cache
def grey(width: int, height: int, ending: str) -> bytes:
    return cv2.imencode(ending, np.full((height, width, 3), 128, np.uint8))[1].tobytes()


def draw(ann_file: Path, source: Path) -> None:
    """The file and grey images; those of CVAT's are .jpg where it says .png."""
    content = json.loads(ann_file.read_text())
    for image in content['images']:
        name = image['file_name']
        if ann_file.stem == 'cvat':
            name = name.replace('.png', '.jpg')
        file = source / 'images' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(grey(int(image['width']), int(image['height']), file.suffix))
    (source / 'annotations.json').write_bytes(ann_file.read_bytes())


def train(config: Path, work_dir: Path) -> float:
    """The loss of the last step of an epoch on a few images."""
    cfg = Config.fromfile(config)
    cfg.model.backbone = dict(
        type='TResNet', arch=dict(depths=(1, 1, 1, 1), width=8), norm_eval=False
    )
    cfg.model.neck.in_channels = [8, 16, 128, 256]
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.indices = FEW
        loader.batch_size = 2
        loader.num_workers, loader.persistent_workers = 0, False
        for step in loader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (320, 320)
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir = cfg.experiment_name = cfg.visualizer.name = str(work_dir)
    runner = RUNNERS.build(cfg)
    runner.train()
    return float(runner.message_hub.get_scalar('train/loss').current())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', nargs='*', type=Path)
    args = parser.parse_args()
    rows = []
    for file in args.files or sorted(FOLDER.glob('*.json')):
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder, 'source'), Path(folder, 'out')
            source.mkdir()
            draw(file, source)
            answers: dict = dict(alike=True)  # grey images look alike
            asked = []
            for name, value in (
                ('merge_names', True),
                ('boxes_on', 'seen'),
                ('skip_broken', True),
                (None, None),
            ):
                try:
                    result = make_own_data(source, out, Options(**answers))
                    break
                except UserError as error:
                    asked.append(str(error))
                    answers |= {name: value} if name else {}
            else:
                rows.append((file.stem, 'refused', asked))
                continue
            loss = train(result.config, Path(folder, 'work'))
            rows.append((file.stem, f'loss {loss:.3f}', [*asked, *result.lines]))
            print('trained:', rows[-1][:2], flush=True)
    for name, end, lines in rows:
        print(f'\n== {name}: {end}')
        print('\n'.join(lines))


if __name__ == '__main__':
    main()
