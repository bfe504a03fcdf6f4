"""The page with the progress: whole, self-contained, and of no influence.

That a training writes it: tests/data/test_own_data_formats.py.
"""

import numpy as np
import pytest
import torch
from small_runs import box, coco, small_run, write_data

from tresnet_det.training.progress_page import write_page

ANN = coco([box(1, 10, 10, 30, 30), box(2, 5, 5, 20, 20)])


def test_a_failing_page_is_a_warning_and_changes_no_weight(tmp_path):
    data = write_data(tmp_path / 'data', ANN)
    weights = []
    for name, hooks in (
        ('with', [dict(type='ProgressPage', score_thr=0.0)]),
        ('without', []),
    ):
        work_dir = tmp_path / name
        (work_dir / 'progress.html' / 'in the way').mkdir(parents=True)
        runner = small_run('fcos', data, work_dir, custom_hooks=hooks)
        runner.train()
        weights.append(runner.model.state_dict())
        log = next(work_dir.glob('*/*.log')).read_text()
        warned = 'the page with the progress could not be written: ' in log
        assert warned == bool(hooks)
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights)))


@pytest.mark.parametrize('count', [0, 2])
def test_names_are_text(tmp_path, count):
    picture = np.full((40, 2000, 3), 200, np.uint8)
    pictures = {f'<b>{n}.jpg': picture for n in range(count)}
    page = write_page(tmp_path, 'a & b', '<epoch 1>', pictures).read_text()
    assert 'a &amp; b' in page and '&lt;epoch 1&gt;' in page and '<b>' not in page
    assert page.count('<img ') == count
    assert [p.name for p in tmp_path.iterdir()] == ['progress.html']
