"""From a detector to a file that has been compared with it."""

import platform
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..common.atomic import check_writable, written_whole
from ..common.errors import UserError
from ..environment.versions import __version__
from . import onnx_file, verification
from .detector import Detector, batches
from .folding import deployed
from .graphs import DetectorGraph, detector_graph
from .onnx_export import as_onnx, as_program
from .quantise import quantised
from .second_stage import difference, second_stage_difference
from .supported import check_supported

__all__ = ['PRECISIONS', 'check_output', 'export_onnx', 'export_program', 'verify']

PRECISIONS = ('fp32', 'fp16', 'int8')
Tell = Callable[[str], None]


def check_output(out: Path, suffix: str) -> None:
    """Before minutes of work: can the file be written?

    Raises:
        UserError: Another ending, a folder in its place, no right to write.
    """
    if out.suffix != suffix:
        raise UserError(f'{out} must end in {suffix}')
    if out.is_dir():
        raise UserError(f'{out} is a folder; give the path of a file')
    check_writable(out)


def export_onnx(
    detector: Detector,
    out: Path,
    precision: str = 'fp32',
    raw: bool = False,
    preprocess: bool = False,
    num_images: int | None = None,
    num_calibration: int = 64,
    tolerance: float | None = None,
    tell: Tell = print,
    float32: Sequence[str] = (),
) -> dict[str, Any]:
    """Exports, compares with MMDetection, and only then names the file.

    Args:
        detector: What is exported.
        out: The file, ending in .onnx.
        precision: One of PRECISIONS.
        raw: Boxes and scores of all points, without NMS.
        preprocess: Normalise inside, so that the input is uint8 in BGR.
        num_images: Of the val split that are compared; None for all.
        num_calibration: Images of the train split for INT8.
        tolerance: How far each COCO figure may be off; None for the
            precision's own, see `verification.LIMITS`. Written into the file.
        tell: Takes lines about what goes on.
        float32: Modules that INT8 leaves in float32, 'neck' or
            'backbone.stages.3'. Written into the file.

    Returns:
        The remarks in the file.

    Raises:
        UserError: It cannot be exported, or does not find what MMDetection
            finds; there is no file then.
    """
    onnx_file.need_packages('onnx', 'onnxscript', 'onnxruntime')
    check_output(out, '.onnx')
    check_supported(detector.model, raw)
    with tempfile.TemporaryDirectory(prefix='tresnet_det_export.') as folder:
        scratch = Path(folder)
        tell('folding norms into convs')
        graph = detector_graph(
            deployed(detector.model), raw, preprocess, half=precision == 'fp16'
        )
        tell('translating to ONNX')
        model, maps = as_onnx(graph, scratch)
        if precision == 'int8':
            tell(f'calibrating on at most {num_calibration} images')
            model = _int8(
                detector, model, scratch, num_calibration, preprocess, maps, float32
            )
    remarks = _remarks(detector, graph, precision, maps)
    if float32:
        remarks['float32'] = [*float32]
    remarks['verified'] = verify(
        detector, model, remarks, num_images, tolerance=tolerance, tell=tell
    )
    onnx_file.set_remarks(model, remarks)
    onnx_file.write_model(model, out)
    return onnx_file.read_remarks(model, out)


def _int8(
    detector: Detector,
    model: Any,
    scratch: Path,
    count: int,
    preprocess: bool,
    maps: list[str],
    float32: Sequence[str],
) -> Any:
    try:
        dataset, data = batches(detector, 'train', count, batch_size=1)
        images = (b.raw if preprocess else b.inputs for b in islice(data, count))
        first = next(images, None)
    except (UserError, OSError) as error:
        raise UserError(
            f'INT8 is calibrated on images of the train split: {error}. Put the data '
            'where the config names them (--cfg-options train_dataloader.dataset.'
            'data_root=...), or export with --precision fp16'
        ) from error
    if first is None:
        raise UserError('INT8 is calibrated on the train split, which has no image')
    source = scratch / 'fp32.onnx'
    source.write_bytes(model.SerializeToString())

    def every() -> Any:
        yield first
        yield from images

    return quantised(source, scratch / 'int8.onnx', every(), maps, float32)


def _remarks(
    detector: Detector, graph: DetectorGraph, precision: str, maps: list[str]
) -> dict[str, Any]:
    import onnx
    import onnxruntime

    outputs = {name: shape for name, _, shape in graph.outputs}
    remarks = dict(
        kind='detections' if 'labels' in outputs else 'raw',
        precision=precision,
        classes=detector.classes,
        preprocess=dict(detector.preprocess, inside=graph.preprocess),
        test_cfg=graph.applied_test_cfg,
        config=detector.config.pretty_text,
        checkpoint_sha256=detector.checkpoint_sha256,
        maps=maps,
        versions=dict(
            tresnet_det=__version__,
            python=platform.python_version(),
            torch=torch.__version__,
            onnx=onnx.__version__,
            onnxruntime=onnxruntime.__version__,
        ),
    )
    if graph.inner:
        remarks['stages'] = [*graph.inner, *outputs]
    if 'masks' in outputs:
        remarks['masks'] = dict(
            threshold=float(graph.test_cfg['mask_thr_binary']),
            size=outputs['masks'][2:],
        )
    return remarks


def verify(
    detector: Detector,
    model: Any,
    remarks: dict[str, Any],
    num_images: int | None = None,
    sizes: Any = verification.SIZES,
    tolerance: float | None = None,
    tell: Tell = print,
) -> dict[str, Any]:
    """Compares a file with the detector that it was made from.

    Args:
        detector: The reference.
        model: The onnx.ModelProto.
        remarks: As in the file.
        num_images: Of the val split; None for all.
        sizes: (images, height, width) at which the maps are compared.
        tolerance: Of each COCO figure; None for the precision's own.
        tell: Takes lines about what goes on.

    Returns:
        What was compared, with the figures, and what was not, with reasons.

    Raises:
        VerificationError: The file finds something else.
    """
    tell('comparing the maps with MMDetection')
    maps = verification.compare_maps(detector, model, remarks, sizes)
    for size, value in maps.items():
        tell(f'  {size}: {value:.1e} of the largest value')
    found: dict[str, Any] = dict(maps=maps)
    val = None
    if remarks['kind'] == 'raw':
        found['not_compared'] = 'detections and AP: a raw file ends before NMS'
    else:
        try:
            tell('comparing the detections on the val split')
            val = verification.compare_on_val(detector, model, remarks, num_images)
        except verification.VerificationError:
            raise
        except (UserError, OSError) as error:
            found['not_compared'] = f'detections and AP: {error}'
    if val is not None:
        found['val'] = val
        tell(
            f'  {val["images"]} images, {val["detections"]} detections, '
            f'{val["alike"]:.4f} of them the same'
        )
        for who in ('mmdetection', 'file', 'mmdetection_masks', 'file_masks'):
            if who in val:
                figures = ' '.join(f'{n} {v:.4f}' for n, v in val[who].items())
                tell(f'  {who.replace("_", ", "):>11}: {figures}')
        if 'masks_not_compared' in val:
            tell(f'  AP of masks not compared: {val["masks_not_compared"]}')
    else:
        tell(f'  not compared: {found["not_compared"]}')
    found['tolerance'] = verification.judge(remarks['precision'], maps, val, tolerance)
    return found


def export_program(
    detector: Detector, out: Path, raw: bool, preprocess: bool, tell: Tell = print
) -> None:
    """Writes a torch.export program, compared with MMDetection's maps.

    Raises:
        UserError: As `export_onnx`.
    """
    check_output(out, '.pt2')
    check_supported(detector.model, raw)
    tell('folding norms into convs')
    graph = detector_graph(deployed(detector.model), raw, preprocess)
    tell('tracing')
    program = as_program(graph)
    module, worst = program.module(), 0.0
    tell('comparing the maps with MMDetection')
    for count, height, width in verification.SIZES:
        if min(height, width) <= 32:
            continue
        images = verification._images(count, height, width)
        inputs = verification._normalised(detector, images)
        with torch.no_grad():
            sizes = torch.tensor([[height, width]] * count)
            outputs = module(images if preprocess else inputs, sizes)
            expected = verification.head_maps(detector.model, inputs)
        names = [name for name, _, _ in graph.outputs]
        maps = outputs[len(names) : len(outputs) - len(graph.inner)]
        for right, got in zip(expected, maps, strict=True):
            worst = max(worst, difference(right.numpy(), got.numpy()))
        if graph.inner:
            names += [*map(str, range(len(maps))), *graph.inner]
            found = {n: values.numpy() for n, values in zip(names, outputs)}
            worst = max(worst, second_stage_difference(detector.model, inputs, found))
    tell(f'  {worst:.1e} of the largest value')
    if not worst <= 1e-3:
        raise verification.VerificationError(
            f'the program computes other maps than MMDetection: {worst:.2e} of the '
            'largest value, at most 1e-3'
        )
    with written_whole(out) as part:
        torch.export.save(program, part)
