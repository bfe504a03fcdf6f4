"""The GPU's report in its short form, on the CPU, and what it is made of."""

import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.nn as nn
from mmengine.utils import digit_version

from tresnet_det.comparison.gpu_report import parity, room
from tresnet_det.comparison.gpu_report.parity import Parity, compare_with_cpu

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'gpu_report.py'


def report(monkeypatch, tmp_path, *options):
    out = tmp_path / 'report.md'
    monkeypatch.setattr(sys, 'argv', ['gpu_report.py', '--out', str(out), *options])
    runpy.run_path(str(TOOL), run_name='__main__')
    return out.read_text()


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.3'),
    reason='this torch has no float16 norm and autocast on a CPU',
)
def test_short_form(monkeypatch, tmp_path):
    text = report(monkeypatch, tmp_path, '--device', 'cpu')
    assert '| TResNet-M | float32, NCHW |' in text
    assert '| ResNet-50 (torchvision) | float32, NCHW |' in text
    assert '| FCOS, TResNet-M | float32 |' in text
    assert '**no**' not in text and '| - | - |' not in text
    assert text.endswith('## Left out\n\n- nothing\n')


def test_no_time(monkeypatch, tmp_path):
    text = report(monkeypatch, tmp_path, '--device', 'cpu', '--minutes', '0')
    assert 'since 0 minutes were over: TResNet-M, kept, float32 to FCOS' in text


WITHOUT_THE_STACK = """
import importlib.util, runpy, sys
STACK = 'mmengine', 'mmcv', 'mmdet'
find_spec = importlib.util.find_spec
class Absent:
    def find_spec(self, name, *_):
        if name.partition('.')[0] in STACK:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
importlib.util.find_spec = lambda name: None if name in STACK else find_spec(name)
sys.argv = ['gpu_report.py', '--device', 'cpu', '--minutes', '0', '--out', sys.argv[2]]
runpy.run_path(TOOL, run_name='__main__')
"""


def test_torch_is_enough(tmp_path):
    script = WITHOUT_THE_STACK.replace('TOOL', repr(str(TOOL)))
    out = tmp_path / 'report.md'
    subprocess.run([sys.executable, '-W', 'ignore', '-c', script, '', out], check=True)
    text = out.read_text()
    assert '| network, InPlaceABN | float32 |' in text and '**no**' not in text
    assert '- what needs mmengine: not installed' in text
    assert '- FCOS: MMDetection is not there' in text


def test_no_gpu_is_told(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match='error: torch sees no GPU here; --device cpu'):
        report(monkeypatch, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_wrong_result_is_seen():
    class Wrong(nn.Module):
        def forward(self, x):
            return x * (1.1 if x.dtype == torch.float32 else 1)

    parts = [('wrong', Wrong, (1, 2, 3, 3), False)]
    with patch.object(parity, '_parts', return_value=parts):
        (row,) = compare_with_cpu(torch.device('cpu'), (torch.float32,))
    assert row.forward == pytest.approx(0.1, rel=1e-3) and not row.holds
    assert not Parity('', torch.float32, float('nan'), 0.0).holds


@pytest.mark.parametrize('most', [0, 1, 31, 32, 33, 100, 512])
def test_largest_that_fits(most):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= most

    found = room.largest_that_fits(fits)
    assert most - max(1, most // 32) < found <= most
    assert len(tried) < 15


def test_waits_are_warnings_of_one_kind():
    def step():
        warnings.warn('called a synchronizing CUDA operation', stacklevel=1)
        warnings.warn('deprecated', stacklevel=1)

    with (
        patch('torch.cuda.synchronize'),
        patch('torch.cuda.get_sync_debug_mode', return_value=0),
        patch('torch.cuda.set_sync_debug_mode') as mode,
    ):
        assert room.waits(step) == 1
    assert [call.args[0] for call in mode.call_args_list] == ['warn', 0]
