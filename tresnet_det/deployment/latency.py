"""What one image costs: MMDetection, torch's ways to be faster, onnxruntime.

All are timed in one process, in turn and round by round, from the prepared
input to the boxes in it. Start, first detection and peak memory are those of
a fresh process for each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.apis import init_detector
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModel

from ..common.errors import UserError
from ..common.paired import Seconds, paired_rounds, ratio
from . import runtime
from .folding import deployed
from .packed import packed
from .runtime import Detector, prepare, read_image

__all__ = ['TORCH_WAYS', 'Row', 'Subject', 'first_detection', 'measure', 'table']

MIB = 2**20


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        name: In the table.
        model: An ONNX file, or a config for MMDetection.
        way: One of `TORCH_WAYS` for a config, 'onnxruntime' for a file.
        checkpoint: Of the config; without one the weights are random.
    """

    name: str
    model: str
    way: str
    checkpoint: str | None = None


@dataclass(frozen=True)
class Row:
    """Figures of one subject; seconds unless named otherwise.

    Attributes:
        times: Of each round.
        ratio: CPU time, to the first subject's in the same round.
        start: From the start of a process to the first detection in it.
        peak: MiB, the most that process held.
        file: MiB on the disk, of the ONNX file or the checkpoint.
    """

    name: str
    times: list[Seconds]
    ratio: float
    start: float
    peak: float
    file: float | None


def _plain(model: BaseModel) -> BaseModel:
    return model


def _compiled(model: BaseModel) -> BaseModel:
    """All that is not per image: backbone, neck and the head's convs."""
    model = deepcopy(model)
    model.extract_feat = torch.compile(model.extract_feat)
    for name in ('rpn_head', 'bbox_head'):
        if hasattr(model, name):
            head = getattr(model, name)
            head.forward = torch.compile(head.forward)
    return model


def _folded(model: BaseModel) -> BaseModel:
    return packed(deployed(model))


# Name -> what is done to the model, and half precision or not.
TORCH_WAYS: dict[str, tuple[Callable[[BaseModel], BaseModel], bool]] = {
    'MMDetection': (_plain, False),
    'folded': (_folded, False),
    'torch.compile': (_compiled, False),
    'bfloat16': (_plain, True),
    'folded, bfloat16': (_folded, True),
}


def _model(subject: Subject, models: dict[Any, BaseModel]) -> BaseModel:
    """Detector of MMDetection; ways of the same one share its weights."""
    key = subject.model, subject.checkpoint
    if key not in models:
        cfg = Config.fromfile(subject.model)
        # No weights are fetched that a checkpoint replaces, or times need not.
        cfg.model.backbone.init_cfg = None
        models[key] = init_detector(
            cfg, subject.checkpoint, palette='random', device='cpu'
        )
    return models[key]


def _prepare_and_run(
    subject: Subject,
    size: tuple[int, int],
    threads: int,
    models: dict[Any, BaseModel],
) -> tuple[dict[str, Any], Callable[[np.ndarray], object]]:
    """How images are prepared, and what detects in the result.

    Raises:
        UserError: This way is not possible with this model.
    """
    if subject.way == 'onnxruntime':
        detector = Detector(subject.model, threads=threads)
        preprocess = dict(detector.metadata['preprocess'])
        run: Callable[[np.ndarray], object] = detector.run
    else:
        change, half = TORCH_WAYS[subject.way]
        model = _model(subject, models)
        preprocess = _preprocess_of(model)
        run = partial(_predict, change(model), size, half)
    return dict(preprocess, scale=list(size), keep_ratio=False), run


def _preprocess_of(model: BaseModel) -> dict[str, Any]:
    own = model.data_preprocessor
    normalises = own._enable_normalize
    return dict(
        mean=own.mean.flatten().tolist() if normalises else None,
        std=own.std.flatten().tolist() if normalises else None,
        bgr_to_rgb=own._channel_conversion,
        pad_size_divisor=own.pad_size_divisor,
        pad_value=own.pad_value,
        inside=False,
    )


@torch.inference_mode()
def _predict(
    model: BaseModel, size: tuple[int, int], half: bool, inputs: np.ndarray
) -> object:
    """MMDetection's predict on (1, 3, H, W)."""
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size[::-1],
            ori_shape=size[::-1],
            pad_shape=inputs.shape[2:],
            batch_input_shape=inputs.shape[2:],
            scale_factor=(1.0, 1.0),
        )
    )
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        return model.predict(torch.from_numpy(inputs), [sample])


def first_detection(subject: str, image: str, size: str) -> None:
    """Detects in one image and says so; what `measure` starts for torch.

    Args:
        subject, size: As JSON.
    """
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    width, height = json.loads(size)
    preprocess, run = _prepare_and_run(
        Subject(**json.loads(subject)), (width, height), threads, {}
    )
    run(prepare([read_image(image)], preprocess)[0])
    print('detected', flush=True)


# A small process between: what is started by a large one is counted with its
# parent's memory.
_LAUNCH = """
import json, os, subprocess, sys, time
cores = sorted(os.sched_getaffinity(0))[:int(sys.argv[1])]
os.sched_setaffinity(0, cores)
start = time.perf_counter()
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE)
line = child.stdout.readline()
seconds = time.perf_counter() - start
child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([seconds, usage.ru_maxrss / 1024]))
sys.exit(status != 0 or not line)
"""
_FIRST = """
import sys
import tresnet_det
from tresnet_det.deployment.latency import first_detection
first_detection(*sys.argv[1:])
"""
# The runtime as a file of its own, where torch and mm* cannot be imported.
_ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(['torch', 'mmcv', 'mmdet', 'mmengine']))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def _fresh(
    subject: Subject, image: Path, size: tuple[int, int], threads: int
) -> tuple[float, float]:
    """Seconds to the first detection in a new process, and its peak in MiB."""
    if subject.way == 'onnxruntime':
        command = ['-c', _ALONE, str(runtime.__file__), subject.model, str(image)]
    else:
        told = json.dumps(asdict(subject))
        command = ['-W', 'ignore', '-c', _FIRST, told, str(image), json.dumps(size)]
    done = subprocess.run(
        [sys.executable, '-c', _LAUNCH, str(threads), sys.executable, *command],
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS=str(threads)),
    )
    if done.returncode:
        last = (done.stderr.strip() or 'no reason given').splitlines()[-1]
        raise UserError(f'{subject.name} failed in a new process: {last}')
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def _next(run: Callable[[np.ndarray], object], inputs: Iterator[np.ndarray]) -> None:
    run(next(inputs))


def measure(
    subjects: Sequence[Subject],
    images: Sequence[Path],
    size: tuple[int, int],
    rounds: int,
    threads: int = 1,
) -> tuple[list[Row], dict[str, str]]:
    """Measures all of them in one run.

    Args:
        subjects: The first is the base of the ratios.
        images: One a round, in turn; each subject gets the same.
        size: Width and height that they are resized to.
        rounds: That count; two come before.
        threads: Of each subject.

    Returns:
        Rows, and why the other subjects were left out, by name.

    Raises:
        UserError: Nothing could be measured, or an image cannot be read.
    """
    arrays = [read_image(path) for path in images]
    models: dict[Any, BaseModel] = {}
    inputs: dict[str, list[np.ndarray]] = {}
    steps: dict[str, Callable[[], object]] = {}
    fresh, left_out = {}, {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for subject in subjects:
            try:
                preprocess, run = _prepare_and_run(subject, size, threads, models)
                key = json.dumps(preprocess, sort_keys=True)
                if key not in inputs:  # kept once for all who prepare alike
                    inputs[key] = [prepare([one], preprocess)[0] for one in arrays]
                run(inputs[key][0])  # compiles, and shows whether it works at all
                fresh[subject.name] = _fresh(subject, images[0], size, threads)
            except UserError as error:
                left_out[subject.name] = str(error)
                continue
            steps[subject.name] = partial(_next, run, cycle(inputs[key]))
        if not steps:
            raise UserError(f'nothing could be measured: {left_out}')
        times = paired_rounds(steps, rounds)
    finally:
        torch.set_num_threads(before)
    cpu = {name: [one.cpu for one in own] for name, own in times.items()}
    base = next(iter(cpu.values()))
    rows = []
    for subject in subjects:
        if subject.name not in times:
            continue
        file = subject.model if subject.way == 'onnxruntime' else subject.checkpoint
        rows.append(
            Row(
                subject.name,
                times[subject.name],
                ratio(cpu[subject.name], base),
                *fresh[subject.name],
                None if file is None else Path(file).stat().st_size / MIB,
            )
        )
    return rows, left_out


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    head = (
        'what',
        'p50, ms',
        'p90, ms',
        'p99, ms',
        'images/s',
        'CPU, ms',
        'CPU ratio',
        'first detection, s',
        'peak, MiB',
        'file, MiB',
    )
    lines = [head, ['---'] + ['---:'] * (len(head) - 1)]
    for row in rows:
        wall = np.array([one.wall for one in row.times])
        cpu = np.array([one.cpu for one in row.times])
        lines.append(
            [
                row.name,
                *(f'{1000 * np.percentile(wall, p):.1f}' for p in (50, 90, 99)),
                f'{len(wall) / wall.sum():.2f}',
                f'{1000 * np.median(cpu):.1f}',
                f'{row.ratio:.3f}',
                f'{row.start:.2f}',
                f'{row.peak:.0f}',
                '-' if row.file is None else f'{row.file:.1f}',
            ]
        )
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
