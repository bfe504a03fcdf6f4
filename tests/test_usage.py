"""What a process holds: each measure sees what it is there to see."""
import ctypes
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tresnet_det import InPlaceABN
from tresnet_det.trials.usage import (MEASURES, allocated_bytes, open_files,
                                      resident_bytes, slope, tensor_bytes)

ROOT = Path(__file__).parents[1]
MIB = 2**20


def test_tensors_count_once_a_storage():
    before = tensor_bytes()
    held = torch.ones(MIB, dtype=torch.uint8)
    views = [held[1:], held.view(2, -1)]
    assert tensor_bytes() - before == MIB
    del held, views
    assert tensor_bytes() == before


def test_memory_is_seen():
    # What other tests freed would be given out again.
    ctypes.CDLL(None).malloc_trim(0)
    measures = resident_bytes, allocated_bytes
    before = [measure() for measure in measures]
    held = torch.ones(64 * MIB, dtype=torch.uint8)
    for measure, was in zip(measures, before):
        assert abs(measure() - was - 64 * MIB) < 8 * MIB
    del held


def test_allocated_sees_what_only_a_graph_holds():
    """A leak in an autograd function would be of this kind."""
    norm = InPlaceABN(64)
    before = allocated_bytes(), tensor_bytes()
    y = norm(torch.randn(16, 64, 64, 64)).sum()
    kept = 16 * 64**3 * 4
    assert allocated_bytes() - before[0] > 0.95 * kept
    assert tensor_bytes() - before[1] < 0.05 * kept
    y.backward()
    assert allocated_bytes() - before[0] < 0.05 * kept


def test_open_files():
    before = open_files()
    with open(os.devnull):
        assert open_files() == before + 1
    assert open_files() == before


def test_slope_and_its_confidence():
    steps = range(0, 3000, 10)
    noise = np.random.default_rng(0).normal(0, 1e6, len(steps))
    grows = slope(steps, 4e9 + 2e6 * np.array(steps) / 1000 + noise)
    assert abs(grows.growth - 2e6) < grows.confidence < 4e5
    assert not grows.is_flat
    assert slope(steps, 4e9 + noise).is_flat
    assert slope(steps, [7] * 300) == (0, 0)
    with pytest.raises(ValueError, match='needs 4 values or more, got 3'):
        slope([1, 2, 3], [1, 2, 3])


def test_the_command(monkeypatch, capfd):
    monkeypatch.setattr(sys, 'argv', [
        'long_run.py', '--epochs', '5', '--images', '8', '--interval', '4',
        '--first', '8'])
    runpy.run_path(str(ROOT / 'tools' / 'long_run.py'), run_name='__main__')
    lines = capfd.readouterr().out.splitlines()
    assert '20 iterations, 5 starts of a data loader' in '\n'.join(lines)
    table = {cells[1].strip(): [int(cell.replace(',', '')) for cell
                                in cells[2:4]]
             for cells in (line.split('|') for line in lines[-len(MEASURES):])}
    assert list(table) == list(MEASURES)
    first, last = table['files']
    assert first == last
    first, last = table['tensors']
    assert 1e6 < first and abs(last - first) < 0.01 * first
