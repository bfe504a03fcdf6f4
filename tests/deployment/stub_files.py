"""Small ONNX files that keep the contract of exported detectors.

The first row is the box around pixels brighter than the mean, the second one
hangs on every pixel, the third covers the whole input, the fourth is unused.
"""

import hashlib
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ('red cell', 'zelle ä', 'platelet')
PREPROCESS = dict(
    scale=[160, 120],
    keep_ratio=True,
    interpolation='bilinear',
    mean=[103.53, 116.28, 123.675],
    std=[57.375, 57.12, 58.395],
    bgr_to_rgb=True,
    pad_size_divisor=32,
    pad_value=0,
    inside=False,
)
# Nothing of the stack can be imported, as where it is not installed.
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in (
            'torch', 'torchvision', 'mmcv', 'mmdet', 'mmengine', 'pycocotools',
            'matplotlib', 'onnx', 'PIL',
        ):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Absent())
"""


def write_stub(path, preprocess=(), opset=20, sizes=False, **changes):
    """Writes the file; ``changes`` go into its metadata."""
    preprocess = dict(PREPROCESS, **dict(preprocess))
    model = helper.make_model(
        _graph(preprocess, sizes), opset_imports=[helper.make_opsetid('', opset)]
    )
    model.ir_version = 9
    onnx.checker.check_model(model)
    metadata = dict(
        format=1,
        kind='detections',
        precision='float32',
        classes=CLASSES,
        preprocess=preprocess,
        test_cfg=dict(score_thr=0.05, min_bbox_size=0, max_per_img=4),
        config='model = dict()',
        checkpoint_sha256='0' * 64,
        versions={},
        verified={},
        graph_sha256=hashlib.sha256(model.SerializeToString()).hexdigest(),
    )
    metadata.update(changes)
    set_metadata(model, json.dumps(metadata))
    onnx.save(model, path)
    return path


def set_metadata(model, text):
    helper.set_model_props(model, {'other': 'kept', 'tresnet_det': text})


def turn_by_exif(path, orientation):
    """Gives a JPEG file the mark of a camera that was held another way."""
    jpeg = path.read_bytes()
    exif = b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0'
    exif += bytes([orientation, *[0] * 7])
    length = (len(exif) + 2).to_bytes(2, 'big')
    path.write_bytes(jpeg[:2] + b'\xff\xe1' + length + exif + jpeg[2:])


def _graph(preprocess, sizes):
    weights = np.random.default_rng(0).normal(0, 0.1, (4, 3, 3, 3)).astype(np.float32)
    constants = dict(
        mean=np.float32(preprocess['mean']).reshape(1, -1, 1, 1),
        std=np.float32(preprocess['std']).reshape(1, -1, 1, 1),
        weights=weights,
        zero=np.float32(0),
        half=np.float32(0.5),
        one=np.int64([1]),
        unused_score=np.zeros((1, 1), np.float32),
        quarter=np.full((1, 1), 0.25, np.float32),
        labels=np.int64([[0, 1, 2, -1]]),
        spatial=np.int64([2, 3]),
        all_but_batch=np.int64([1, 2, 3]),
        channel=np.int64([1]),
        rows=np.int64([2]),
        columns=np.int64([1]),
        last=np.int64([-1]),
    )
    nodes = []

    def node(kind, *inputs, out, **attributes):
        nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    x = 'images'
    if preprocess['inside']:
        x = node('Cast', x, out='float', to=TensorProto.FLOAT)
        if preprocess['bgr_to_rgb']:
            constants['reverse'] = np.int64([2, 1, 0])
            x = node('Gather', x, 'reverse', out='rgb', axis=1)
        x = node('Sub', x, 'mean', out='centred')
        x = node('Div', x, 'std', out='normalised')
    # Where it is bright.
    level = node('ReduceMean', x, 'channel', out='level', keepdims=0)
    bright = node('Greater', level, 'half', out='bright')
    bright = node('Cast', bright, out='bright_float', to=TensorProto.FLOAT)
    edges = []
    for side, axis in (('x', 'columns'), ('y', 'rows')):
        line = node('ReduceMax', bright, axis, out=f'line_{side}', keepdims=0)
        first = node('ArgMax', line, out=f'first_{side}', axis=1)
        last = node('ArgMax', line, out=f'end_{side}', axis=1, select_last_index=1)
        last = node('Add', last, 'one', out=f'last_{side}')
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    tight = node('Concat', left, top, right, bottom, out='tight_int', axis=1)
    tight = node('Cast', tight, out='tight', to=TensorProto.FLOAT)
    # The whole input.
    shape = node('Shape', x, out='shape')
    size = node('Gather', shape, 'spatial', out='size')
    size = node('Cast', size, out='size_float', to=TensorProto.FLOAT)
    constants['turn'] = np.int64([1, 0])
    size = node('Gather', size, 'turn', out='size_wh')
    corner = node('Mul', size, 'zero', out='corner')
    whole = node('Concat', corner, size, out='whole_one', axis=0)
    nothing = node('Mul', tight, 'zero', out='nothing')
    whole = node('Add', nothing, whole, out='whole')
    # A box that every pixel moves.
    maps = node('Conv', x, 'weights', out='maps', pads=[1, 1, 1, 1])
    means = node('ReduceMean', maps, 'spatial', out='means', keepdims=0)
    share = node('Sigmoid', means, out='share')
    share = node('Mul', share, 'half', out='small_share')
    near = node('Slice', share, 'slice_0', 'slice_2', 'channel', out='near')
    far = node('Slice', share, 'slice_2', 'slice_4', 'channel', out='far')
    constants.update(
        slice_0=np.int64([0]), slice_2=np.int64([2]), slice_4=np.int64([4])
    )
    far = node('Add', near, far, out='far_sum')
    moved = node('Concat', near, far, out='moved_share', axis=1)
    moved = node('Mul', moved, 'sides', out='moved')
    node('Concat', size, size, out='sides', axis=0)
    nodes[-1], nodes[-2] = nodes[-2], nodes[-1]
    boxes = [
        node('Unsqueeze', box, 'one', out=f'{box}_row')
        for box in (tight, moved, whole, nothing)
    ]
    node('Concat', *boxes, out='boxes', axis=1)
    # Scores: of the mean of the image, of the maps, fixed, none.
    mean = node('ReduceMean', x, 'all_but_batch', out='image_mean', keepdims=0)
    score = node('Sigmoid', mean, out='score')
    score = node('Unsqueeze', score, 'one', out='score_row')
    second = node('ReduceMean', share, 'one', out='second', keepdims=1)
    zeros = node('Mul', score, 'zero', out='zeros')
    fixed = node('Add', zeros, 'quarter', out='fixed')
    if sizes:  # the optional input halves the third score
        constants['sizes'] = np.full((1, 2), 2**31, np.int64)
        constants['height'] = np.int64([0])
        constants['limit'] = np.int64(2**31)
        constants['eighth'] = np.float32(-0.125)
        given = node('Gather', 'sizes', 'height', out='given', axis=1)
        given = node('Less', given, 'limit', out='is_given')
        given = node('Cast', given, out='given_float', to=TensorProto.FLOAT)
        given = node('Mul', given, 'eighth', out='less_score')
        fixed = node('Add', fixed, given, out='fixed_less')
    node('Concat', score, second, fixed, zeros, out='scores', axis=1)
    zeros = node('Cast', zeros, out='zeros_int', to=TensorProto.INT64)
    node('Add', zeros, 'labels_row', out='labels')
    constants['labels_row'] = constants.pop('labels')
    used = {name for n in nodes for name in n.input}
    kind = TensorProto.UINT8 if preprocess['inside'] else TensorProto.FLOAT
    return helper.make_graph(
        nodes,
        'stub',
        [
            helper.make_tensor_value_info('images', kind, ['n', 3, 'h', 'w']),
            helper.make_tensor_value_info('sizes', TensorProto.INT64, ['m', 2]),
        ][: 1 + sizes],
        [
            helper.make_tensor_value_info('boxes', TensorProto.FLOAT, ['n', 4, 4]),
            helper.make_tensor_value_info('scores', TensorProto.FLOAT, ['n', 4]),
            helper.make_tensor_value_info('labels', TensorProto.INT64, ['n', 4]),
        ],
        [
            numpy_helper.from_array(value, name)
            for name, value in constants.items()
            if name in used
        ],
    )
