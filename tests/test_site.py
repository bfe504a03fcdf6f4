"""What the documentation site is made with: its tables and its link check."""

import sys
from pathlib import Path

import pytest
from mmengine.fileio import load

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / 'docs'))

import check_links  # noqa: E402
import model_zoo  # noqa: E402


def test_zoo_has_every_config_of_every_metafile_with_its_cost():
    text = model_zoo.zoo(ROOT)
    rows = {
        line.partition('[')[2].partition(']')[0]: line for line in text.splitlines()
    }
    for path in model_zoo.metafiles(ROOT):
        for model in load(path)['Models']:
            row = rows[model['Name']]
            assert f'](../{model["Config"]})' in row
            if '_coco' in model['Name'] and path.parent.name in ('fcos', 'mask_rcnn'):
                assert f'| {model["Metadata"]["Epochs"]} epochs |' in row
                assert row.endswith('| not run |')
    assert '| 38.03 | 236.5 |' in rows['fcos_tresnet-m_fpn_amp-1x_coco']
    assert '| 62.37 | 237.8 |' in rows['faster-rcnn_tresnet-v2_l_fpn_2x_coco']
    assert '| 160000 iterations |' in rows['fpn_tresnet-m_4xb4-160k_ade20k-512x512']


@pytest.mark.parametrize(
    'link, turned',
    [
        ('../paper/README.md', 'paper.md'),
        ('comparison/report.md', 'bccd-comparison-report.md'),
        (
            'fcos_r50_fpn_256x192_bccd.py',
            '../../configs/bccd/fcos_r50_fpn_256x192_bccd.py',
        ),
        ('README.md#top', 'bccd.md#top'),
        ('../../docs/start.md#mmcv', '../../docs/start.md#mmcv'),
    ],
)
def test_links_of_readmes_are_turned(link, turned):
    assert model_zoo.turned(link, ROOT / 'configs' / 'bccd', ROOT) == turned


@pytest.mark.parametrize(
    'html, fault',
    [
        ('<a href="b.html#here">', None),
        ('<a href="#own"><i id="own">', None),
        ('<a href="https://arxiv.org/abs/1">', None),
        ('<img src="data:image/png;base64,AA">', None),
        ('<a href="c.html">', 'leads nowhere'),
        ('<img src="c.png">', 'leads nowhere'),
        ('<a href="b.html#there">', 'no such anchor'),
        ('<a href="#there">', 'no such anchor'),
        ('<script src="https://cdn.example/x.js">', 'from the network'),
        ('<link href="//fonts.example/x.css">', 'from the network'),
    ],
)
def test_link_check(tmp_path, html, fault):
    (tmp_path / 'index.html').write_text(html)
    (tmp_path / 'b.html').write_text('<h2 id="here">')
    found = check_links.faults(tmp_path)
    assert found == [] if fault is None else fault in found[0]


def test_styles_load_nothing_from_the_network(tmp_path):
    (tmp_path / 'a.css').write_text('@font-face { src: url("https://x.example/f") }')
    assert 'from the network' in check_links.faults(tmp_path)[0]
