"""A comparison that is killed and begun again ends with the same table.

Takes minutes, so it runs only when asked for:

    .venv/bin/python -m pytest -m long tests/comparison/test_comparison_killed.py
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tresnet_det.data.demo_data import make_demo_data

ROOT = Path(__file__).parents[2]
TRAINED = '*/seed_0/started.jsonl'


def start(out_dir, data, configs):
    """In a session of its own, so that all its processes can be killed."""
    return subprocess.Popen(
        [
            sys.executable,
            ROOT / 'tools/compare.py',
            *configs,
            '--data',
            data,
            '--out-dir',
            out_dir,
            '--repeats',
            '0',
            '--cfg-options',
            'train_cfg.max_epochs=4',
            'param_scheduler.1.T_max=4',
            'train_cfg.val_interval=1',
            'train_dataloader.batch_size=2',
            'auto_scale_lr.base_batch_size=2',
            'model.test_cfg.score_thr=0.0',
        ],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.long
def test_killed_twice_and_begun_again(tmp_path):
    data = tmp_path / 'data'
    make_demo_data(data, num_train=24, num_val=8)
    demo = ROOT / 'configs/demo/fcos_tresnet-m_fpn_demo.py'
    for name, width in (('wide', 16), ('narrow', 8)):
        (tmp_path / f'{name}.py').write_text(
            f'_base_ = {str(demo)!r}\n'
            'model = dict(backbone=dict(arch=dict(\n'
            f'    _delete_=True, depths=(1, 1, 1, 1), width={width})),\n'
            f'    neck=dict(in_channels={[width * k for k in (1, 2, 16, 32)]}'
            '))\n'
        )
    configs = [tmp_path / 'wide.py', tmp_path / 'narrow.py']
    assert start(tmp_path / 'whole', data, configs).wait() == 0

    out = tmp_path / 'killed'
    for arm in ('wide', 'narrow'):  # in the middle of each arm's training
        process = start(out, data, configs)
        while not any((out / arm / 'seed_0').glob('epoch_2.pth')):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / 'report.md').exists()
        assert not (out / arm / 'seed_0/epoch_4.pth').exists()
    assert start(out, data, configs).wait() == 0

    starts = [
        len(file.read_text().splitlines())
        for folder in ('whole', 'killed')
        for file in sorted((tmp_path / folder).glob(TRAINED))
    ]
    assert starts == [1, 1, 2, 2]
    whole, killed = (
        json.loads((tmp_path / folder / 'figures.json').read_text())
        for folder in ('whole', 'killed')
    )
    tables = [
        (tmp_path / folder / 'report.md')
        .read_text()
        .partition('| arm')[2]
        .partition('## Cost')[0]
        for folder in ('whole', 'killed')
    ]
    print(*tables, sep='\n')
    assert whole['wide'][0]['AP'] != whole['narrow'][0]['AP']
    assert killed == whole and tables[0] == tables[1] != ''
