"""The template for one's own data: a copy of it with other first lines.

That it trains and predicts: test_config_steps.py.
"""

import re
from pathlib import Path

from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / 'configs'
TEMPLATE = CONFIGS / 'own_data' / 'fcos_tresnet-m_fpn_own.py'
RULER = '# ------'
MINE = dict(
    classes=('nine', 'ten', 'jack'),
    data_root='somewhere/else',
    train=dict(ann_file='train.json', data_prefix=dict(img='a/')),
    val=dict(ann_file='val.json', data_prefix=dict(img='b/')),
    scale=(640, 480),
    batch_size=5,
    pretrained='weights.pth',
)


def test_a_copy_takes_what_stands_above_the_ruler(tmp_path):
    for path in CONFIGS.iterdir():
        if path.is_dir() and path.name != 'own_data':
            (tmp_path / path.name).symlink_to(path)
    above, ruler, below = TEMPLATE.read_text().partition(RULER)
    assert ruler
    for name, value in MINE.items():
        above, count = re.subn(rf'(?m)^{name} = .*$', f'{name} = {value!r}', above)
        assert count == 1, name
    copy = tmp_path / 'own_data' / 'mine.py'
    copy.parent.mkdir()
    copy.write_text(above + ruler + below)
    cfg = Config.fromfile(copy)
    assert cfg.model.bbox_head.num_classes == 3
    assert cfg.model.backbone.init_cfg == dict(
        type='Pretrained', checkpoint='weights.pth'
    )
    assert cfg.train_dataloader.batch_size == 5
    for split, name in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == 'somewhere/else/'
        assert tuple(dataset.metainfo.classes) == MINE['classes']
        assert dataset.ann_file == MINE[name]['ann_file']
        assert dataset.data_prefix == MINE[name]['data_prefix']
        (resize,) = (step for step in dataset.pipeline if step.type == 'Resize')
        assert tuple(resize.scale) == (640, 480)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.ann_file == 'somewhere/else/val.json'
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)


def test_everything_to_change_stands_above_the_ruler():
    above, _, below = TEMPLATE.read_text().partition(RULER)
    assert {*re.findall(r'(?m)^(\w+) = ', above)} == {'_base_', *MINE}
    assert 'cat' not in below and 'data/' not in below


def test_a_third_data_set_is_twenty_lines():
    text = (CONFIGS / 'cards' / 'fcos_tresnet-m_fpn_cards.py').read_text()
    assert len([line for line in text.splitlines() if line and line[0] != '#']) <= 20
    above, ruler, _ = text.partition(RULER)
    # A template too, for small data, with the same lines to change.
    assert ruler
    assert {*re.findall(r'(?m)^(\w+) = ', above)} == (
        {'_base_', 'levels', *MINE} - {'batch_size', 'pretrained'}
    )


def test_a_copy_for_small_objects_begins_at_stride_4(tmp_path):
    given = CONFIGS / 'cards' / 'fcos_tresnet-m_fpn_cards.py'
    text = given.read_text().replace('../_base_', str(CONFIGS / '_base_'))
    changed = re.sub(r'(?m)^levels = .*', 'levels = {}', text)
    (tmp_path / 'mine.py').write_text(changed)
    models = [Config.fromfile(path).model for path in (given, tmp_path / 'mine.py')]
    assert [model.bbox_head.strides[0] for model in models] == [8, 4]
    assert [model.neck.start_level for model in models] == [1, 0]
    assert [model.neck.num_outs for model in models] == [3, 4]
    assert {model.bbox_head.num_classes for model in models} == {6}
