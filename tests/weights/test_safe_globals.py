"""mmengine's checkpoints load with weights_only on; code in files does not."""

import argparse
import io
import os
import pathlib
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.utils import digit_version

import tresnet_det  # noqa: F401
from tresnet_det.weights.files import read_weights
from tresnet_det.weights.formats import CheckpointError
from tresnet_det.weights.safe_globals import data_only, load


def reload(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason="this torch's weights_only refuses mmengine's log values",
)
def test_log_values_come_back():
    buffer = HistoryBuffer([np.float64(1.5), 2.5], [1, 1])
    again = reload(dict(loss=buffer, lr=np.float32(0.1)))
    assert again['loss'].mean() == 2.0
    assert again['loss'].statistics('max') == 2.5
    assert again['lr'] == np.float32(0.1)


class Asks:
    """Pickles as getattr(owner, name)."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return getattr, self.arguments


@pytest.mark.parametrize(
    'owner, name',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, 'register_statistics'),
        (torch.Tensor, 'apply_'),
        (dict, 'mean'),
    ],
)
def test_no_other_attribute_is_given(owner, name):
    with pytest.raises(pickle.UnpicklingError):
        reload(Asks(owner, name))


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason='this torch reads everything',
)
def test_we_read_after_others_struck_classes_out(tmp_path):
    """As the fork of mmengine does whenever it read a checkpoint."""
    torch.save(HistoryBuffer([1.0], [1]), tmp_path / 'a.pth')
    with torch.serialization.safe_globals([HistoryBuffer]):
        pass
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'a.pth')
    assert load(tmp_path / 'a.pth').current() == 1


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason='this torch cannot be told what a name stands for',
)
def test_other_trainers_command_lines_are_data(tmp_path):
    """What timm's CheckpointSaver writes; of averaged weights these are taken."""
    args = argparse.Namespace(
        lr=0.1, out=pathlib.Path('/no'), more=argparse.Namespace()
    )
    content = dict(
        args=args,
        optimizer=dict(state={}),
        state_dict={'a': torch.zeros(1)},
        state_dict_ema={'a': torch.ones(1)},
    )
    torch.save(content, tmp_path / 'last.pth.tar')
    assert read_weights(tmp_path / 'last.pth.tar')[0]['a'] == 1
    # Elsewhere they stay refused, and so does all that is no data.
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'last.pth.tar', weights_only=True)
    args.hidden = Runs(tmp_path / 'made')
    torch.save(content, tmp_path / 'last.pth.tar')
    with pytest.raises(CheckpointError, match='was refused'):
        read_weights(tmp_path / 'last.pth.tar')
    assert not (tmp_path / 'made').exists()


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason="this torch's weights_only refuses mmengine's log values",
)
def test_no_reader_unpickles(tmp_path, monkeypatch):
    """Whatever the reader, and the user's environment, ask of torch.load."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    before = dict(os.environ)
    torch.save(Runs(tmp_path / 'made'), tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError), data_only():
        torch.load(tmp_path / 'a.pth', weights_only=False)
    assert not (tmp_path / 'made').exists()
    assert dict(os.environ) == before


class Runs:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)
