"""timm://NAME and http(s):// against servers on this machine.

The hub's client reads its environment once, on import, so it runs in a
process of its own.
"""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from official import fill
from safetensors.torch import save_file

from tresnet_det import TResNet
from tresnet_det.weights.formats import CheckpointError, from_ours
from tresnet_det.weights.pretrained import load_pretrained

TINY = dict(depths=(1, 1, 1, 1), width=8)
NAME = 'tresnet_m.miil_in21k_ft_in1k'
COMMIT = 'c' * 40
ROOT = Path(__file__).parents[2]
CLIENT = """
import json, sys
from tresnet_det import TResNet
for line in sys.stdin:
    model = TResNet(dict(depths=(1, 1, 1, 1), width=8), init_cfg=dict(
        type='Pretrained', checkpoint=line.strip()))
    try:
        model.init_weights()
        answer = dict(sum=model.conv1.weight.double().sum().item())
    except ValueError as error:
        answer = dict(type=type(error).__name__, error=str(error))
    print('answer', json.dumps(answer), flush=True)
"""


@pytest.fixture(scope='module')
def state():
    return fill({k: v.shape for k, v in TResNet(TINY).state_dict().items()})


@pytest.fixture
def server(tmp_path):
    """Serves tmp_path/www in the hub's manner and notes what was asked."""
    root = tmp_path / 'www'

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f'{self.command} {self.path}')
            file = root / self.path.lstrip('/').partition('?')[0]
            if not file.is_file():
                self.send_response(404)
                repository = file.parents[2].is_dir()
                self.send_header(
                    'X-Error-Code', 'EntryNotFound' if repository else 'RepoNotFound'
                )
                self.send_header('X-Repo-Commit', COMMIT)
                self.send_header('Content-Length', '0')
                self.end_headers()
                return
            content = file.read_bytes()
            self.send_response(200)
            self.send_header('ETag', hashlib.sha256(content).hexdigest())
            self.send_header('X-Repo-Commit', COMMIT)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            if self.command == 'GET':
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    asked = []
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def stop():
        if thread.is_alive():
            server.shutdown()
            server.server_close()
            thread.join()

    yield f'http://127.0.0.1:{server.server_port}', root, asked, stop
    stop()


@pytest.fixture
def client(tmp_path, server):
    """Starts processes that know only this hub; each loads what it is told."""
    environment = {
        k: v
        for k, v in os.environ.items()
        if not k.lower().endswith('_proxy') and not k.startswith('HF_')
    }
    environment.update(
        HF_ENDPOINT=server[0],
        HF_HOME=str(tmp_path / 'hf'),
        HF_HUB_DISABLE_TELEMETRY='1',
        PYTHONPATH=str(ROOT),
    )
    processes = []

    def start(**more):
        process = subprocess.Popen(
            [sys.executable, '-c', CLIENT],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **more},
        )
        processes.append(process)

        def load(checkpoint):
            process.stdin.write(f'{checkpoint}\n')
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith('answer '):
                    return json.loads(line[len('answer ') :])
            raise RuntimeError('the client ended without an answer')

        return load

    yield start
    for process in processes:
        process.communicate()


def published(root, name, filename):
    folder = root / 'timm' / name / 'resolve' / 'main'
    folder.mkdir(parents=True)
    return folder / filename


def test_timm_names(server, client, state, tmp_path):
    _, root, asked, stop = server
    offline, online = client(HF_HUB_OFFLINE='1'), client()
    expected = {'sum': state['conv1.weight'].double().sum().item()}
    file = published(root, NAME, 'model.safetensors')
    save_file(from_ours(state, 'timm'), file)
    url = f'/timm/{NAME}/resolve/main/model.safetensors'

    # Offline, and not in the cache: where to get it, and what it may be.
    for name, says in (
        (NAME, 'LocalEntryNotFoundError'),
        ('tresnet_m.miil_in21k_ft', 'near are tresnet_m.miil_in21k'),
    ):
        answer = offline(f'timm://{name}')
        assert answer['type'] == 'CheckpointError'
        for text in (
            says,
            f'https://huggingface.co/timm/{name}',
            "checkpoint='/path/to/model.safetensors'",
        ):
            assert text in answer['error']
    assert not asked

    # First download, then the cache, then the cache without a hub.
    assert online(f'timm://{NAME}') == expected
    assert asked.count(f'GET {url}') == 1
    assert online(f'timm://{NAME}') == expected
    assert asked.count(f'GET {url}') == 1
    assert offline(f'timm://{NAME}') == expected

    # A repository that has the pickle alone, and none at all.
    other = 'tresnet_l.miil_in1k'
    torch.save(from_ours(state, 'timm'), published(root, other, 'pytorch_model.bin'))
    assert online(f'timm://{other}') == expected
    assert f'HEAD /timm/{other}/resolve/main/model.safetensors' in asked
    answer = online('timm://resnet50.a1_in1k')
    for text in (
        'RepositoryNotFoundError',
        'No weights of that name are known',
        'https://huggingface.co/timm/resnet50.a1_in1k',
    ):
        assert text in answer['error']

    # The hub breaks down: what is in the cache still loads.
    stop()
    assert online(f'timm://{NAME}') == expected

    # The file in the cache is damaged.
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    (blob,) = (tmp_path / 'hf').glob(f'**/{sha256}')
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    answer = offline(f'timm://{NAME}')
    assert answer['type'] == 'CheckpointError'
    assert 'is damaged: its sha256 is ' in answer['error']
    assert str(blob) in answer['error']


def test_address_is_downloaded_once(server, state, tmp_path, monkeypatch):
    base, root, asked, _ = server
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'torch'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    root.mkdir()
    torch.save({'model': from_ours(state, 'official')}, root / 'm.pth')
    for _ in range(2):
        report = load_pretrained(TResNet(TINY), f'{base}/m.pth?download=true')
        assert report.format == 'official'
    assert len(asked) == 1

    # A file of the same name elsewhere is another file.
    (root / 'more').mkdir()
    torch.save({'conv1.weight': torch.ones(1)}, root / 'more' / 'm.pth')
    with pytest.raises(CheckpointError, match='not those of a TResNet'):
        load_pretrained(TResNet(TINY), f'{base}/more/m.pth?download=true')

    with pytest.raises(
        CheckpointError,
        match=r'absent\.pth could not be '
        'downloaded .*404',
    ):
        load_pretrained(TResNet(TINY), f'{base}/absent.pth')
    assert len(list((tmp_path / 'torch' / 'tresnet_det').iterdir())) == 2
