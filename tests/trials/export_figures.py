"""Trains small detectors, exports them, and says what that changed.

    python tests/trials/export_figures.py OUT [--data demo FOLDER] [--heads fcos gfl]

For each family and data set: a training of a few epochs from random weights
(tests/trials/small_heads.py), then tools/deployment/export.py in each precision,
which compares with MMDetection on the whole val split. `demo` is the drawn set;
a folder has annotations, train and val. Prints a Markdown table, and the operators
that TensorRT's table lacks. What is in OUT already, checkpoints and the exports'
logs, is not made again.
"""

import argparse
import contextlib
import io
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tresnet_det  # noqa: F401

# isort: split
import onnx
from small_heads import FAMILIES, annotations, small_config

from tresnet_det.common.atomic import written_whole
from tresnet_det.data.demo_data import make_demo_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'deployment'))

from tensorrt_table import TENSORRT  # noqa: E402

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
SCALES = {'demo': (160, 160)}  # width and height; of folders:
SCALE = (256, 192)
LIMITS = ('fp32', 'fp16', 'int8')
HEAD = 'detector, data | val images | AP | fp32 | fp16 | int8 | bytes of fp32'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path)
    parser.add_argument('--data', nargs='+', default=['demo'], help='demo, or folders')
    parser.add_argument(
        '--heads', nargs='+', choices=FAMILIES, default=[*FAMILIES], metavar='FAMILY'
    )
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--num-train', type=int, default=300, help='of the demo set')
    parser.add_argument('--num-val', type=int, default=50, help='of the demo set')
    parser.add_argument('--pt2', action='store_true', help='torch.export programs too')
    parser.add_argument(
        '--all-images',
        action='store_true',
        help='compare on the train split as well: more boxes, so less chance',
    )
    return parser.parse_args()


@dataclass(frozen=True)
class Export:
    """What the export tool said.

    Attributes:
        log: What it printed, and its error if it refused.
        file: What it wrote; there is none where it refused.
    """

    log: str
    file: Path

    @property
    def written(self) -> bool:
        return self.file.exists()

    def figures(self, who: str) -> dict[str, float]:
        """COCO figures to 4 digits, of boxes and of masks ('AP of masks')."""
        found = {}
        for kind, line in re.findall(rf'^ *{who}(, masks)?: (AP .*)$', self.log, re.M):
            ending = ' of masks' if kind else ''
            for name, value in re.findall(r'(\w+) (\S+)', line):
                found[name + ending] = float(value)
        return found

    @property
    def largest(self) -> tuple[str, float]:
        """The figure that is off most, and by how much."""
        right, got = self.figures('mmdetection'), self.figures('file')
        off = {name: round(got[name] - right[name], 4) for name in right}
        name = max(off, key=lambda name: abs(off[name]))
        return name, off[name]

    @property
    def cell(self) -> str:
        if not self.figures('file'):
            return f'**failed**: {self.log.strip().splitlines()[-1]}'
        name, off = self.largest
        text = f'{name} {off:+.4f}' if off else 'equal'
        return text if self.written else f'**refused**: {text}'


def say(log: Path) -> None:
    print(f'{log.parent.name}: {log.stem}', file=sys.stderr, flush=True)


def trained(family: str, data: Path, work: Path, epochs: int) -> tuple[Path, Path]:
    """Config and checkpoint; a training that was stopped goes on."""
    config, checkpoint = work / 'config.py', work / f'epoch_{epochs}.pth'
    if not checkpoint.exists():
        work.mkdir(parents=True, exist_ok=True)
        scale = SCALES.get(data.name, SCALE)
        small_config(family, data, scale, epochs, work).dump(config)
        say(work / 'training')
        subprocess.run(
            [sys.executable, '-W', 'ignore', TOOLS / 'train.py', config, '--resume'],
            stdout=sys.stderr,
            check=True,
        )
    return config, checkpoint


def export(
    config: Path, checkpoint: Path, precision: str, images: Path | None = None
) -> Export:
    """What the export tool says of a precision, or of 'pt2'; kept in a file.

    Args:
        images: Data whose val split is compared in place of the config's.
    """
    name = precision if images is None else f'{precision}-{images.name}'
    file = config.with_name(f'{name}.{"pt2" if precision == "pt2" else "onnx"}')
    log = file.with_suffix('.log')
    how = ['--precision', precision]
    if precision == 'pt2':
        how = ['--format', 'torch-export']
    if images is not None:
        how += [
            '--cfg-options',
            f'val_dataloader.dataset.data_root={images}/',
            f'val_dataloader.dataset.ann_file={annotations(images, "val")}',
            f'val_evaluator.ann_file={annotations(images, "val")}',
        ]
    if not log.exists():
        say(log)
        told = called(
            TOOLS / 'deployment' / 'export.py', config, checkpoint, file, *how
        )
        with written_whole(log) as part:
            part.write_text(told)
    return Export(log.read_text(), file)


def called(tool: Path, *arguments: str | Path) -> str:
    """What one of our tools prints, its error at the end; in this process."""
    told, before = io.StringIO(), sys.argv
    sys.argv = [str(tool), *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(told):
            runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as end:
        print(end.code, file=told)
    finally:
        sys.argv = before
    return told.getvalue()


def with_masks(data: Path, out: Path) -> Path:
    """The data, its boxes as masks where it has none."""
    files = [annotations(data, split) for split in ('train', 'val')]
    contents = [json.loads(file.read_text()) for file in files]
    notes = [note for content in contents for note in content['annotations']]
    if all(note.get('segmentation') for note in notes):
        return data
    for note in notes:
        x, y, w, h = note['bbox']
        note['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    for split, file, content in zip(('train', 'val'), files, contents):
        with written_whole(out / 'annotations' / file.name) as part:
            part.write_text(json.dumps(content))
        if not (out / split).exists():
            (out / split).symlink_to(data / split)
    return out


def all_as_val(data: Path, out: Path) -> Path:
    """Data whose val split has the images of both splits."""
    splits = {
        split: json.loads(annotations(data, split).read_text())
        for split in ('train', 'val')
    }
    images, notes = [], []
    for split, content in splits.items():
        ids = {}
        for image in content['images']:
            ids[image['id']] = len(images) + 1
            name = f'{split}/{image["file_name"]}'
            images.append(dict(image, id=len(images) + 1, file_name=name))
            link = out / 'val' / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.unlink(missing_ok=True)  # the data lay elsewhere before
                link.symlink_to(data / split / image['file_name'])
        for note in content['annotations']:
            notes.append(dict(note, id=len(notes) + 1, image_id=ids[note['image_id']]))
    both = dict(splits['val'], images=images, annotations=notes)
    with written_whole(out / 'annotations' / 'val.json') as part:
        part.write_text(json.dumps(both))
    return out


def beyond_tensorrt(files: Iterable[Path]) -> str:
    """Operators of the files that TensorRT's table lacks, by precision."""
    found: dict[str, set[str]] = {}
    for file in files:
        kinds = {node.op_type for node in onnx.load(file).graph.node}
        found.setdefault(file.stem.split('-')[0], set()).update(kinds - TENSORRT)
    return '; '.join(
        f'{precision}: {", ".join(sorted(kinds)) or "none"}'
        for precision, kinds in found.items()
    )


def row(family: str, data: Path, out: Path, args: argparse.Namespace) -> str:
    work = out / f'{data.name}-{family}'
    if family == 'mask-rcnn':
        data = with_masks(data, out / f'{data.name}-boxes-as-masks')
    config, checkpoint = trained(family, data, work, args.epochs)
    both = all_as_val(data, out / f'{data.name}-all') if args.all_images else None
    made = {name: export(config, checkpoint, name, both) for name in LIMITS}
    first = made['fp32']
    right = first.figures('mmdetection')
    ap = f'{right["AP"]:.4f}' if right else '-'
    if 'AP of masks' in right:
        ap += f', masks {right["AP of masks"]:.4f}'
    images = re.search(r'(\d+) images, ', first.log)
    sizes = [
        f'{one.file.stat().st_size / first.file.stat().st_size:.0%}'
        if one.written and first.written
        else '-'
        for one in (made['fp16'], made['int8'])
    ]
    cells = [
        f'{family}, {data.name}',
        images[1] if images else '-',
        ap,
        *(one.cell for one in made.values()),
        ', '.join(sizes),
    ]
    if args.pt2:
        program = export(config, checkpoint, 'pt2', both)
        told = re.search(r'(\S+) of the largest value$', program.log, re.M)
        cells.append(told[1] if program.written and told else '**refused**')
    return f'| {" | ".join(cells)} |'


def main() -> None:
    args = parse_args()
    out = args.out.resolve()
    rows = []
    for name in args.data:
        data = out / 'demo' if name == 'demo' else Path(name).resolve()
        if name == 'demo':
            make_demo_data(data, args.num_train, args.num_val)
        rows += [row(family, data, out, args) for family in args.heads]
    head = HEAD + (' | pt2: maps' if args.pt2 else '')
    print(f'| {head} |\n|{"---|" * (head.count("|") + 1)}')
    print('\n'.join(rows))
    files = sorted(out.glob('*/*.onnx'))
    print(f"\nOperators of {len(files)} files that TensorRT 8.4's table lacks:")
    print(beyond_tensorrt(files))


if __name__ == '__main__':
    main()
