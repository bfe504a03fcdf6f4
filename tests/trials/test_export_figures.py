"""The table of exports, from what the export tool says."""

import json
import sys

import export_figures
import onnx
import pytest
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from onnx import helper
from small_heads import FAMILIES, small_config
from small_runs import box, coco

LOG = """folding norms into convs
comparing the detections on the val split
  50 images, 700 detections, 0.9971 of them the same
  mmdetection: AP 0.1000 AP50 0.3000
         file: AP {ap} AP50 0.2990
  mmdetection, masks: AP 0.0800 AP50 0.2000
  file, masks: AP 0.0800 AP50 0.2000
{end}
"""
ENDS = {
    'fp32': ('0.1000', 'fp32.onnx: 6.1 MB, verified'),
    'fp16': ('0.1002', 'fp16.onnx: 3.1 MB, verified'),
    'int8': ('0.0900', 'error: the int8 file does not find what MMDetection finds'),
}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / 'cells'
    (folder / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (folder / split).mkdir()
        content = coco([box(1, 5, 6, 20, 30)], ('red', 'white'))
        (folder / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    return folder


def test_the_command(tmp_path, data, monkeypatch, capsys):
    calls = []

    def called(tool, config, checkpoint, file, option, precision):
        calls.append((tool.name, option, precision))
        if precision == 'torch-export':
            file.touch()
            return '  1.5e-06 of the largest value\nout.pt2: verified'
        ap, end = ENDS[precision]
        if 'verified' in end:
            kind = 'Relu' if precision == 'fp32' else 'RoiAlign'
            node = helper.make_node(kind, ['x'], ['y'])
            onnx.save(
                helper.make_model(helper.make_graph([node], 'g', [], [])),
                file,
            )
        return LOG.format(ap=ap, end=end)

    def trained(family, data, work, epochs):
        work.mkdir(parents=True, exist_ok=True)
        return work / 'config.py', work / f'epoch_{epochs}.pth'

    monkeypatch.setattr(export_figures, 'called', called)
    monkeypatch.setattr(export_figures, 'trained', trained)
    command = 'export_figures.py', tmp_path / 'out', '--data', data, '--pt2'
    monkeypatch.setattr(sys, 'argv', [*map(str, command), '--heads', 'mask-rcnn'])
    for _ in range(2):  # the second one exports nothing again
        export_figures.main()
        lines = capsys.readouterr().out.splitlines()
        assert lines[2].startswith(
            '| mask-rcnn, cells-boxes-as-masks | 50 | 0.1000, masks 0.0800 | '
            'AP50 -0.0010 | AP50 -0.0010 | **refused**: AP -0.0100 | '
        )
        assert lines[2].endswith('%, - | 1.5e-06 |')
        assert lines[0].count('|') == lines[1].count('|') == lines[2].count('|')
        assert lines[-1] == 'fp16: RoiAlign; fp32: none'
    assert [precision for *_, precision in calls] == [*ENDS, 'torch-export']
    notes = tmp_path / 'out' / 'cells-boxes-as-masks' / 'annotations' / 'val.json'
    (note,) = json.loads(notes.read_text())['annotations']
    assert note['segmentation'] == [[5, 6, 25, 6, 25, 36, 5, 36]]


def test_all_images_become_one_split(tmp_path, data):
    both = export_figures.all_as_val(data, tmp_path / 'both')
    for split in ('train', 'val'):
        for name in ('1.png', '2.png'):
            (data / split / name).write_text(f'{split} {name}')
    content = json.loads((both / 'annotations' / 'val.json').read_text())
    names = [image['file_name'] for image in content['images']]
    assert [(both / 'val' / name).read_text() for name in names] == [
        *('train 1.png', 'train 2.png', 'val 1.png', 'val 2.png')
    ]
    assert [image['id'] for image in content['images']] == [1, 2, 3, 4]
    ids = [(note['id'], note['image_id']) for note in content['annotations']]
    assert ids == [(1, 1), (2, 3)]
    assert len(content['categories']) == 2


def test_all_images_are_what_is_compared(tmp_path, data, monkeypatch):
    told = []
    monkeypatch.setattr(
        export_figures, 'called', lambda *arguments: told.append(arguments) or ''
    )
    both = export_figures.all_as_val(data, tmp_path / 'both')
    made = export_figures.export(tmp_path / 'c.py', tmp_path / 'e.pth', 'fp16', both)
    assert made.file == tmp_path / 'fp16-both.onnx'
    assert told[0][3:] == (
        tmp_path / 'fp16-both.onnx',
        *('--precision', 'fp16', '--cfg-options'),
        f'val_dataloader.dataset.data_root={both}/',
        f'val_dataloader.dataset.ann_file={both}/annotations/val.json',
        f'val_evaluator.ann_file={both}/annotations/val.json',
    )


def test_what_ended_otherwise_is_told(tmp_path):
    made = export_figures.Export('exporting\nerror: no such head\n', tmp_path / 'a')
    assert made.cell == '**failed**: error: no such head'


@pytest.mark.parametrize('family', FAMILIES)
def test_small_detectors_are_built(family, data, tmp_path):
    cfg = small_config(family, data, (256, 192), 4, tmp_path)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    assert sum(value.numel() for value in model.parameters()) < 3e6
    assert cfg.val_evaluator.ann_file == f'{data}/annotations/val.json'
    masks = [step.get('with_mask') for step in cfg.train_dataloader.dataset.pipeline]
    assert (True in masks) == (family == 'mask-rcnn')
