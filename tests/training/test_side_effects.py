"""A computation may change what it likes in a model, but its weights."""

from threading import Lock
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tresnet_det.training.side_effects import without_side_effects


class Head(nn.Module):
    """Holds what heads of detectors hold."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer('seen', torch.zeros(2))
        self.history = []
        self.beta = 1.0
        self.assigner = SimpleNamespace(threshold=0.5, head=self)
        self.lock = Lock()  # as little to be copied as a process group
        object.__setattr__(self, 'teacher', nn.Linear(1, 1))  # hidden

    def forward(self, x):
        self.seen += 1
        self.history.append(1)
        self.beta /= 2
        self.assigner.threshold += 0.1
        self.late = x
        return self.fc(x)


def test_everything_comes_back():
    model = nn.Sequential(Head(), nn.Dropout())
    head, hooked = model[0], []
    head.register_forward_hook(lambda *_: hooked.append(1))
    model[1].eval()
    held = dict(vars(head))
    with pytest.raises(InterruptedError), without_side_effects(model):
        assert head.assigner.head is head  # a copy would be another model
        assert head.lock is held['lock'] and head.teacher is held['teacher']
        assert head.fc is held['_modules']['fc']
        model.train()
        head.fc = None
        head.fc = nn.Linear(2, 2)
        head(torch.ones(2))
        assert head.seen.tolist() == [1, 1] and head.history == [1]
        raise InterruptedError
    assert vars(head).keys() == held.keys()
    assert all(vars(head)[name] is held[name] for name in held)
    assert head.seen.tolist() == [0, 0] and head.history == []
    assert head.beta == 1 and head.assigner.threshold == 0.5
    assert model.training and not model[1].training
    assert hooked == [1]


def test_weights_are_shared():
    """So an averaged or a large model is not there twice."""
    model = Head()
    weights = [*model.parameters()]
    with without_side_effects(model):
        assert all(map(torch.Tensor.is_set_to, model.parameters(), weights))
        model(torch.ones(2)).sum().backward()
    assert weights[0].grad is not None
