"""Commands whose results the documentation shows, in their shortest form."""

import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(monkeypatch, *command):
    monkeypatch.setattr(sys, 'argv', [*map(str, command)])
    try:
        runpy.run_path(str(ROOT / command[0]), run_name='__main__')
    except SystemExit as end:
        assert not end.code


def test_benchmark(monkeypatch, capsys):
    run(
        monkeypatch,
        'tools/analysis_tools/benchmark.py',
        *('m:inplace', 'm:deployed', '--size', '32', '32', '--batch', '2'),
        *('--repeats', '1', '--operators'),
    )
    lines = capsys.readouterr().out.splitlines()
    cells = [line.strip('| ').split(' | ') for line in lines]
    assert cells[4][:2] == ['m:inplace', '29.34'] and cells[4][-1] == '-'
    assert float(cells[4][2]) > 1 and '-' not in cells[4][:-1]
    # For inference alone: nothing is kept, no step is timed. Norms went.
    assert cells[5][0] == 'm:deployed' and cells[5][1:6] == ['-'] * 5
    assert float(cells[5][6]) > 0 and float(cells[5][7]) != 1
    assert [row[:2] for row in cells[-3:]] == [
        ['m:inplace', 'training'],
        ['m:inplace', 'inference'],
        ['m:deployed', 'inference'],
    ]
    assert cells[-1][3] == '0.0 %'
    for shares in (row[2:] for row in cells[-3:-1]):
        shares = [float(share.removesuffix(' %')) for share in shares]
        assert abs(sum(shares) - 100) < 0.2 and min(shares) > 1


def test_kept_memory(monkeypatch, capsys):
    tool = 'tools/analysis_tools/kept_memory.py'
    run(monkeypatch, tool, 'm:recompute', '--size', '64', '64')
    shown = capsys.readouterr().out
    # Ten of the eleven blocks of stage 3, the first of which is blurred. In torch
    # 2.1 the mean of a gate keeps what it reads.
    assert re.search(
        r'\| layer3\.\*\.bn2 \| (Mean, )?_ActivatedBatchNorm, _ConvNorm '
        r'\| 256x4x4 \| 10 \| 0\.16 \|',
        shown,
    )
    assert '| 1024x4x4 | 11 |' not in shown  # the outputs of convs
    run(monkeypatch, tool, 'm:inplace', '--growth', '--largest', '50000')
    name, *_, residual, _ = capsys.readouterr().out.splitlines()[-1].split(' | ')
    assert name == '| m:inplace'


def test_fuzzing(monkeypatch, capsys):
    run(monkeypatch, 'tests/fuzz_checkpoints.py', '--minutes', '0.02', '--seed', '1')
    assert 'refused' in capsys.readouterr().out
