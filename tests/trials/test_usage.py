"""What a process holds: each measure sees what it is there to see."""

import ctypes
import os
import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from usage import (
    LIMITS,
    MEASURES,
    UsageHook,
    allocated_bytes,
    growing,
    log_bytes,
    open_files,
    resident_bytes,
    slope,
    tensor_bytes,
)

from tresnet_det import InPlaceABN

ROOT = Path(__file__).parents[2]
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
    assert grows.exceeds(1e6) and not grows.exceeds(2e6)
    assert not slope(steps, 4e9 + noise).exceeds(0)
    assert slope(steps, [7] * 300) == (0, 0)
    with pytest.raises(ValueError, match='needs 4 values or more, got 3'):
        slope([1, 2, 3], [1, 2, 3])


def test_the_log_is_counted():
    hub = MessageHub.get_instance('test_the_log')
    with patch.object(MessageHub, 'get_current_instance', lambda: hub):
        for _ in range(5):
            hub.update_scalar('loss', 1.0)
            hub.update_scalar('time', 1.0)
        assert log_bytes() == 5 * 2 * 16


@pytest.mark.parametrize(
    'name, leak', [(None, 0), ('unlogged', 17), ('tensors', 17), ('files', 0.01)]
)
def test_a_leak_is_told(name, leak):
    """Bytes or files that stay, an iteration, beside what goes and comes."""
    usage = UsageHook(100)
    usage.steps = [*range(100, 3100, 100)]
    noise = np.random.default_rng(0).normal(0, 50, len(usage.steps))
    for measure in MEASURES:
        usage.values[measure] = (
            6e6
            + noise * (measure != 'files')
            + (leak * np.array(usage.steps) if measure == name else 0)
        )
    assert growing(usage.slopes(1000)) == [name] * (name is not None)


@pytest.mark.long
def test_the_command(monkeypatch, capfd):
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'long_run.py',
            '--epochs',
            '5',
            '--images',
            '8',
            '--interval',
            '4',
            '--first',
            '8',
        ],
    )
    # So short a run tells nothing of memory; of files, any count is too much.
    monkeypatch.setitem(LIMITS, 'unlogged', 1e9)
    monkeypatch.setitem(LIMITS, 'files', -1)
    with pytest.raises(SystemExit, match='error: .* limit grows: files$'):
        runpy.run_path(
            str(ROOT / 'tests' / 'trials' / 'long_run.py'), run_name='__main__'
        )
    lines = capfd.readouterr().out.splitlines()
    assert 'limit' in lines[-len(MEASURES) - 2]
    assert '20 iterations, 5 starts of a data loader' in '\n'.join(lines)
    table = {
        cells[1].strip(): [int(cell.replace(',', '')) for cell in cells[2:4]]
        for cells in (line.split('|') for line in lines[-len(MEASURES) :])
    }
    assert list(table) == list(MEASURES)
    # Tiny images have the same 9 numbers a step as large ones.
    assert table['log'] == [9 * 16 * 8, 9 * 16 * 20]
    first, last = table['files']
    assert first == last
    first, last = table['tensors']
    assert 1e6 < first and abs(last - first) < 0.01 * first
