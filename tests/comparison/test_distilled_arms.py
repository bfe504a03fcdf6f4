"""Arms that learn from other arms: linked, trained after them, shown beside."""

import json
from pathlib import Path

import pytest
import torch
from test_comparison import configs, data, detections, pretend  # noqa: F401

from tresnet_det import UserError
from tresnet_det.comparison import report
from tresnet_det.comparison.cost import measure_costs
from tresnet_det.comparison.distillation_cost import step_costs
from tresnet_det.comparison.plan import check_comparable, plan_arm
from tresnet_det.comparison.teachers import in_order, link_teachers, pairs


@pytest.fixture
def arms(configs, data, tmp_path):  # noqa: F811
    """The student comes first, its teacher learns from a third arm."""
    small, narrow = configs
    student, shared = small.with_name('student.py'), small.with_name('shared.py')
    student.write_text(
        f'_base_ = {str(small)!r}\n'
        "model = dict(type='HeadSharing', detector='FCOS', teacher=dict(\n"
        f"    config={str(shared)!r}, checkpoint=''))\n"
    )
    shared.write_text(
        f'_base_ = {str(small)!r}\n'
        "model = dict(type='SharedHead', detector='FCOS', student=dict(\n"
        f"    config={str(small)!r}, checkpoint=''))\n"
    )
    return [
        plan_arm(config, tmp_path, [0, 1], str(data))
        for config in (student, shared, small)
    ]


def test_each_learns_from_the_same_seed(arms, tmp_path):
    link_teachers(arms)
    check_comparable(arms)
    for seed in range(2):
        student, shared, _ = (runs[seed].cfg.model for runs in arms)
        assert student.teacher.checkpoint == str(
            tmp_path / f'shared/seed_{seed}/epoch_2.pth'
        )
        assert shared.student.checkpoint == str(
            tmp_path / f'small/seed_{seed}/epoch_2.pth'
        )
    assert [str(run) for run in in_order(arms)] == [
        f'{arm} seed_{seed}'
        for seed in range(2)
        for arm in ('small', 'shared', 'student')
    ]
    assert pairs(arms) == [('student', 'shared'), ('shared', 'small')]


def test_a_teacher_from_nowhere_is_refused(arms):
    with pytest.raises(UserError, match='student seed_0 learns from .*shared.py'):
        link_teachers(arms[:1])
    arms[0][0].cfg.model.teacher.checkpoint = 'given.pth'
    link_teachers([arms[0][:1]])
    assert arms[0][0].cfg.model.teacher.checkpoint == 'given.pth'


def test_report_shows_teacher_and_student(arms, data, tmp_path, monkeypatch):  # noqa: F811
    link_teachers(arms)
    for wrong, runs in enumerate(arms):
        for run in runs:
            pretend(run, 2, detections(data, wrong))
    monkeypatch.setattr(report, '_cost_part', lambda *args: [])
    text = report.write_report(arms, tmp_path, 'command', 0, 0).read_text()
    part = text.partition('### Teachers and students')[2].partition('###')[0]
    rows = [line for line in part.splitlines() if line.startswith('| ')][1:]
    assert [row.split(' | ')[0] for row in rows] == [
        '| teacher shared',
        '| student student',
        '| student minus teacher',
        '| teacher small',
        '| student shared',
        '| student minus teacher',
    ]
    found = json.loads(Path(tmp_path, 'figures.json').read_text())
    gap = 100 * (found['student'][0]['AP'] - found['shared'][0]['AP'])
    assert gap > 0 and rows[2].split(' | ')[1] == f'{gap:+.1f}'
    assert text.count(' minus ') >= 3 + 2  # each pair of arms


def test_costs_without_any_file(arms):
    """A step of the student includes the teacher, whose weights cost none of
    what is kept for backward."""
    cfgs = {runs[0].arm: runs[0].cfg for runs in arms}
    costs = measure_costs(cfgs, 0)
    assert costs['student'].params == costs['small'].params
    assert costs['student'].macs == costs['small'].macs
    assert costs['student'].kept > costs['small'].kept


def test_cost_of_a_step(arms):
    cpu = torch.device('cpu')
    plain, distilled = step_costs(arms[0][0].cfg, (64, 64), 1, cpu, 1)
    assert plain.params == distilled.params
    assert (plain.resident, plain.kept_ratio, plain.train_ratio) == (0, 1, 1)
    assert distilled.resident > 1 and distilled.kept_ratio > 1
    assert distilled.train > 0
    with pytest.raises(UserError, match='is no student'):
        step_costs(arms[2][0].cfg, (64, 64), 1, cpu, 1)
