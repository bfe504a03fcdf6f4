"""What users get wrong: one clear error each, and nothing half-written.

A case is a function that breaks a small training or test that works; the
words that the error must hold; and the tool. The tools run in this process,
as they are called. Broken environments: test_broken_stack.py.
"""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import SIZE, box, coco, small_config, write_data

from tresnet_det import CheckedRunner
from tresnet_det.training.mmdet_tools import run_mmdet_tool

TOOLS = Path(__file__).parents[2] / 'tools'
CLASSES = ('thing', 'other')


class Bench:
    """A small data set and config that one case may break."""

    def __init__(self, root, patch):
        self.root, self.patch = root, patch
        self.data, self.work_dir = root / 'data', root / 'run'
        self.ann, self.config = self.data / 'ann.json', root / 'config.py'
        self.image = self.data / 'images' / '1.png'
        self.checkpoint = root / 'epoch_1.pth'
        self.options = []

    def annotate(self, change):
        content = json.loads(self.ann.read_text())
        change(content)
        self.ann.write_text(json.dumps(content))

    def configure(self, line):
        """Adds a line to the config."""
        self.config.write_text(f'{self.config.read_text()}\n{line}\n')

    def argument(self, tool):
        return [
            str(self.config),
            *([str(self.checkpoint)] if tool == 'test.py' else []),
            '--work-dir',
            str(self.work_dir),
            *map(str, self.options),
        ]


@pytest.fixture(scope='session')
def sound(tmp_path_factory):
    """A bench where nothing is wrong, to be copied."""
    root = tmp_path_factory.mktemp('sound')
    data = write_data(
        root / 'data',
        coco([box(1, 10, 10, 30, 30), box(2, 5, 5, 20, 20, category=2)], CLASSES),
    )
    cfg = small_config('fcos', data, root / 'run', CLASSES)
    model = CheckedRunner.from_cfg(cfg).model
    torch.save(
        dict(
            meta=dict(epoch=1, iter=1),
            state_dict=model.state_dict(),
            message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        ),
        root / 'epoch_1.pth',
    )
    cfg.pop('work_dir')
    cfg.pop('experiment_name')
    cfg.dump(root / 'config.py')
    shutil.rmtree(root / 'run')
    return root


@pytest.fixture
def bench(sound, tmp_path, monkeypatch):
    root = tmp_path / 'a place'
    shutil.copytree(sound, root)
    config = root / 'config.py'
    config.write_text(config.read_text().replace(str(sound), str(root)))
    return Bench(root, monkeypatch)


def run(bench, tool, *arguments):
    """Calls a tool; its exit, or None."""
    bench.patch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    try:
        if tool in ('train.py', 'test.py'):
            run_mmdet_tool(tool)
        else:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
    except SystemExit as stop:
        return stop
    return None


def refused(bench, capsys, stop, words):
    """The one line, after it was looked at."""
    text = str(stop.code)
    if stop.code == 2:  # argparse has printed it
        text = capsys.readouterr().err
    else:
        assert text.startswith('error: ')
    for word in words:
        assert word in text, text
    assert 'Traceback' not in text
    return text


def edit(part, **change):
    """Changes the first entry of a part of the annotations; None drops."""

    def change_file(bench):
        def change_content(content):
            entry = content[part][0]
            entry.update(change)
            for key in [key for key, value in change.items() if value is None]:
                del entry[key]

        bench.annotate(change_content)

    return change_file


def drop(key):
    return lambda bench: bench.annotate(lambda content: content.pop(key))


def twice(part):
    return lambda bench: bench.annotate(
        lambda content: content[part].append(content[part][0])
    )


def option(*words):
    return lambda bench: bench.options.extend(words)


def line(text):
    return lambda bench: bench.configure(text)


def content(name, data):
    """Writes bytes into a file of the bench."""

    def write(bench):
        path = bench.root / name
        path.write_bytes(data)

    return write


def shortened(name, keep, source=None):
    def cut(bench):
        path = bench.root / name
        if source:
            cv2.imwrite(
                str(path),
                np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8),
            )
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep)])

    return cut


def image_as(ending, keep=1.0):
    """Another file for the first image, cut short."""

    def change(bench):
        edit('images', file_name=f'1{ending}')(bench)
        pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        whole = cv2.imencode(ending, pixels)[1].tobytes()
        (bench.data / 'images' / f'1{ending}').write_bytes(
            whole[: int(len(whole) * keep)]
        )

    return change


def turned(bench):
    """Annotated as stored, but the file says how it is to be turned."""
    edit('images', file_name='1.jpg', width=SIZE, height=32)(bench)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (SIZE, 32)).save(bench.data / 'images' / '1.jpg', exif=exif)


def folder(name):
    def change(bench):
        path = bench.root / name
        path.unlink()
        path.mkdir()

    return change


def state(change):
    """Changes the checkpoint's content."""

    def write(bench):
        checkpoint = torch.load(bench.checkpoint, weights_only=True)
        torch.save(change(checkpoint), bench.checkpoint)

    return write


def without_head(checkpoint):
    return dict(
        state_dict={
            name: value
            for name, value in checkpoint['state_dict'].items()
            if not name.startswith('bbox_head')
        }
    )


class Malicious:
    def __reduce__(self):
        return os.system, ('true',)


def second_file(bench):
    bench.ann.with_name('other.json').write_text(
        json.dumps(coco([box(3, 0, 0, 9, 9)], CLASSES, num_images=3)).replace(
            '"id": 1, "file', '"id": 9, "file'
        )
    )
    bench.configure(f"val_evaluator['ann_file'] = {str(bench.data / 'other.json')!r}")


BACKBONE = "model['backbone']"
TRAIN = "train_dataloader['dataset']"
TRAINING = {  # what is wrong -> how it comes about, words of the error
    # Configs.
    'config missing': (lambda b: b.config.unlink(), ['config.py', 'No such']),
    'config a folder': (folder('config.py'), ['config.py', 'cannot be read']),
    'config empty': (
        content('config.py', b''),
        ['config.py', 'lacks model, train_dataloader', '_base_'],
    ),
    'config broken': (line('model = dict('), ['config.py', 'SyntaxError']),
    'config of no kind': (
        lambda b: setattr(b, 'config', b.config.rename(b.root / 'c.txt')),
        ['c.txt', 'py/yml/yaml/json'],
    ),
    'base missing': (line("_base_ = 'no-base.py'"), ['no-base.py']),
    'import fails': (
        line("custom_imports = dict(imports=['no_module'])"),
        ['config.py', 'no_module'],
    ),
    'detector unknown': (line("model['type'] = 'FCOSS'"), ['model', 'FCOSS']),
    'argument unknown': (
        line(f'{BACKBONE}.update(depth=50)'),
        ['model', "argument 'depth'"],
    ),
    'arch unknown': (line(f"{BACKBONE}['arch'] = 'q'"), ["arch is 'q'", "'xl'"]),
    'norm unknown': (
        line(f"{BACKBONE}['norm_cfg'] = dict(type='GN')"),
        ['norm_cfg', 'GN', 'InPlaceABN'],
    ),
    'stages unknown': (
        line(f"{BACKBONE}['frozen_stages'] = 9"),
        ['frozen_stages is 9'],
    ),
    'neck does not fit': (
        line("model['neck']['in_channels'] = [1, 2]"),
        ['in_channels = [8, 16, 128, 256]', '[1, 2]'],
    ),
    'weights missing': (
        line(f"{BACKBONE}['init_cfg'] = dict(type='Pretrained', checkpoint='no.pth')"),
        ['no.pth does not exist', 'timm://'],
    ),
    'optimizer unknown': (
        line("optim_wrapper['optimizer']['type'] = 'SGDD'"),
        ['SGDD'],
    ),
    'transform unknown': (
        line(f"{TRAIN}['pipeline'][0]['type'] = 'Lod'"),
        ['data set', 'Lod'],
    ),
    'data set unknown': (line(f"{TRAIN}['type'] = 'CocoDat'"), ['CocoDat']),
    'fewer classes in the head': (
        line("model['bbox_head']['num_classes'] = 1"),
        ['num_classes', '(1)', 'FCOSHead', 'Set num_classes'],
    ),
    'forgotten comma': (
        line(f"{TRAIN}['metainfo'] = dict(classes='thing')"),
        ["classes = ('thing', )"],
    ),
    'AMP without a GPU': (
        line("optim_wrapper['type'] = 'AmpOptimWrapper'"),
        ['AmpOptimWrapper', 'GPU', 'nvidia-smi'],
    ),
    'AMP by its scope': (
        line("optim_wrapper['type'] = 'mmengine.AmpOptimWrapper'"),
        ['AmpOptimWrapper', 'GPU', 'nvidia-smi'],
    ),
    'AMP by its class': (
        line(
            'from mmengine.optim import AmpOptimWrapper as _Amp\n'
            "optim_wrapper['type'] = _Amp"
        ),
        ['GPU', 'nvidia-smi'],
    ),
    'hook unknown': (line("custom_hooks = [dict(type='Hok')]"), ['hooks', 'Hok']),
    'argument of a hook': (
        line("default_hooks['timer']['a'] = 1"),
        ['hooks', "argument 'a'"],
    ),
    'scheduler unknown': (
        line("param_scheduler[0]['type'] = 'Lin'"),
        ['param_scheduler', 'Lin'],
    ),
    'argument of a scheduler': (
        line("param_scheduler[0]['a'] = 1"),
        ['param_scheduler', "argument 'a'"],
    ),
    'visualizer unknown': (line("visualizer['type'] = 'Vis'"), ['visualizer', 'Vis']),
    'epochs in words': (
        line("train_cfg['max_epochs'] = 'three'"),
        ['training', "'three'"],
    ),
    'no epochs': (
        line("train_cfg['max_epochs'] = 0"),
        ['nothing would be trained', "'max_epochs': 0"],
    ),
    'negative epochs': (
        line("train_cfg['max_epochs'] = -3"),
        ['nothing would be trained', "'max_epochs': -3"],
    ),
    'no iterations': (
        line("train_cfg = dict(type='IterBasedTrainLoop', max_iters=0)"),
        ['nothing would be trained', "'max_iters': 0"],
    ),
    'seed in words': (line("randomness = dict(seed='one')"), ['randomness', "'one'"]),
    'no evaluator': (
        line('val_evaluator = None'),
        ['config.py', 'lacks val_evaluator'],
    ),
    'best by nonsense': (
        line("default_hooks['checkpoint'].update(save_best='nonsense', rule='less')"),
        ["save_best = 'nonsense'", 'coco/bbox_mAP'],
    ),
    'best by a loss that is not computed': (
        line(
            "default_hooks['checkpoint']['save_best'] = ['coco/bbox_mAP', 'val_loss']"
        ),
        ["save_best = 'val_loss'", 'ValLossHook'],
    ),
    'best by figures that are not written': (
        line(
            "default_hooks['checkpoint']['save_best'] = 'coco/bbox_mAP'; "
            "val_evaluator.update(format_only=True, outfile_prefix='a')"
        ),
        ["save_best = 'coco/bbox_mAP'", 'which are none'],
    ),
    'load_from missing': (
        line("load_from = 'no.pth'"),
        ['load_from', 'no.pth does not exist'],
    ),
    'load_from other names': (
        lambda b: (
            state(
                lambda c: dict(
                    state_dict={
                        f'{name}.a': value for name, value in c['state_dict'].items()
                    }
                )
            )(b),
            line(f'load_from = {str(b.checkpoint)!r}')(b),
        ),
        ['load_from', 'epoch_1.pth', 'no weight', 'file has backbone', 'init_cfg'],
    ),
    'load_from other shapes': (
        lambda b: (
            state(
                lambda c: dict(
                    state_dict={
                        name: value.new_zeros(value.shape + (7,))
                        for name, value in c['state_dict'].items()
                    }
                )
            )(b),
            line(f'load_from = {str(b.checkpoint)!r}')(b),
        ),
        ['load_from', 'epoch_1.pth', 'no weight', 'of another shape'],
    ),
    # Options.
    'option without =': (option('--cfg-options', 'a'), ['--cfg-options', 'KEY=VALUE']),
    'option into a number': (
        option('--cfg-options', 'train_cfg.max_epochs.x=1'),
        ['--cfg-options', 'config.py'],
    ),
    'option unknown': (option('--epochs', 3), ['--epochs']),
    'launcher unknown': (option('--launcher', 'x'), ['--launcher', "'slurm'"]),
    'launcher without torchrun': (
        option('--launcher', 'pytorch'),
        ['--launcher', 'torchrun --nproc'],
    ),
    'launcher without srun': (
        option('--launcher', 'slurm'),
        ['--launcher slurm', 'SLURM_PROCID', 'srun'],
    ),
    'launcher without mpirun': (
        option('--launcher', 'mpi'),
        ['--launcher mpi', 'OMPI_COMM_WORLD_LOCAL_RANK', 'mpirun'],
    ),
    'rate for no batch': (
        lambda b: (line('auto_scale_lr = dict()')(b), option('--auto-scale-lr')(b)),
        ['--auto-scale-lr', 'base_batch_size=16'],
    ),
    '--amp without a GPU': (option('--amp'), ['--amp', 'GPU']),
    'resume from nothing': (
        option('--resume', 'no.pth'),
        ['--resume', 'no.pth does not exist'],
    ),
    'resume from weights': (
        lambda b: (
            state(lambda c: dict(state_dict=c['state_dict']))(b),
            option('--resume', b.checkpoint)(b),
        ),
        ['epoch_1.pth', 'no state of a training', 'load_from = '],
    ),
    'resume from half a file': (
        lambda b: (
            shortened('epoch_1.pth', 0.5)(b),
            option('--resume', b.checkpoint)(b),
        ),
        ['epoch_1.pth'],
    ),
    'resume another model': (
        lambda b: (
            state(lambda c: dict(c, **without_head(c)))(b),
            option('--resume', b.checkpoint)(b),
        ),
        ['epoch_1.pth', 'bbox_head', 'missing'],
    ),
    'resume from weights of a run': (
        lambda b: option('--resume', b.checkpoint)(b),
        ['epoch_1.pth', 'no optimizer, no param_schedulers', 'load_from = '],
    ),
    'work_dir a file': (
        lambda b: b.work_dir.touch(),
        ['work_dir', 'run cannot', 'it is a file', '--work-dir'],
    ),
    'work_dir below a file': (
        lambda b: option('--work-dir', b.config / 'run')(b),
        ['work_dir', 'cannot be written: Not a directory', '--work-dir'],
    ),
    'work_dir of 300 characters': (
        option('--work-dir', 'a' * 300),
        ['work_dir', 'File name too long'],
    ),
    'work_dir where nobody can write': (
        option('--work-dir', '/proc/mine'),
        ['work_dir /proc/mine cannot be written', '--work-dir'],
    ),
    # Annotation files.
    'annotations missing': (
        lambda b: b.ann.unlink(),
        ['ann.json', 'No such file', 'data_root'],
    ),
    'annotations a folder': (folder('data/ann.json'), ['ann.json', 'Is a directory']),
    'annotations empty': (
        content('data/ann.json', b''),
        ['ann.json', 'no whole JSON', 'empty'],
    ),
    'annotations cut short': (
        shortened('data/ann.json', 0.7),
        ['ann.json', 'no whole JSON', 'cut short'],
    ),
    'annotations binary': (
        content('data/ann.json', b'\xff\xfe\x80'),
        ['ann.json', 'no whole JSON'],
    ),
    'annotations with a byte order mark': (
        lambda b: b.ann.write_bytes(b'\xef\xbb\xbf' + b.ann.read_bytes()),
        ['ann.json', 'byte order mark', 'iconv'],
    ),
    'annotations in UTF-16': (
        lambda b: b.ann.write_text(b.ann.read_text(), 'utf-16'),
        ['ann.json', 'UTF-16', 'iconv'],
    ),
    'two categories of one name': (
        lambda b: b.annotate(
            lambda c: c['categories'].append(dict(id=0, name='thing'))
        ),
        ["more than once in the file: ['thing']", 'check_data.py'],
    ),
    'strings against numbers': (
        edit('annotations', image_id='1'),
        ['ann.json', 'image_id is a string and the id a number', 'check_data.py'],
    ),
    'ignore in quotes': (
        edit('annotations', ignore='0'),
        ['ann.json', 'ignore is neither 0 nor 1', 'quotes', 'check_data.py'],
    ),
    'every box ignored': (
        lambda b: b.annotate(lambda c: [a.update(ignore=1) for a in c['annotations']]),
        ['ann.json', 'no box', 'left to train on', 'marked by "ignore"'],
    ),
    'all boxes outside': (
        lambda b: b.annotate(
            lambda c: [a.update(bbox=[99, 99, 5, 5]) for a in c['annotations']]
        ),
        ['ann.json', 'no box', 'left to train on', 'outside their image'],
    ),
    'boxes as corners': (
        lambda b: b.annotate(
            lambda c: [a.update(bbox=[20, 20, 50, 60]) for a in c['annotations']]
        ),
        ['ann.json', 'look like corners', '--corners'],
    ),
    'masks missing': (
        line(f"{TRAIN}['pipeline'][1]['with_mask'] = True"),
        ['ann.json', '2 masks that are missing or empty', 'boxes alone'],
    ),
    'masks missing for the figures': (
        line("val_evaluator['metric'] = ['bbox', 'segm']"),
        ['ann.json', '2 masks that are missing or empty', 'boxes alone'],
    ),
    'names of another ending': (
        edit('images', file_name='1.jpg'),
        ['another ending', "'1.jpg', there is '1.png'", '--mend'],
    ),
    'annotations a list': (
        content('data/ann.json', b'[]'),
        ['ann.json', 'holds a list'],
    ),
    'no images': (drop('images'), ['ann.json', '"images"']),
    'no categories': (drop('categories'), ['ann.json', '"categories"']),
    'no annotations': (drop('annotations'), ['ann.json', '"annotations"']),
    'empty list of images': (
        lambda b: b.annotate(lambda c: c.update(images=[], annotations=[])),
        ['ann.json', 'no image is left to train on'],
    ),
    'image without name': (
        edit('images', file_name=None),
        ['images without "file_name" (id 1)'],
    ),
    'image without width': (
        edit('images', width=None),
        ['images without "width" (id 1)'],
    ),
    'name of an image null': (
        lambda b: b.annotate(lambda c: c['images'][0].update(file_name=None)),
        ['ann.json', 'images whose file_name is no string (id 1)'],
    ),
    'name of an image a number': (
        edit('images', file_name=1),
        ['ann.json', 'images whose file_name is no string (id 1)'],
    ),
    'id a list': (
        edit('images', id=[1]),
        ['ann.json', 'images whose id is no number or string (id [1])'],
    ),
    'image of a box a list': (
        edit('annotations', image_id=[1]),
        ['ann.json', 'image_id is no number or string (id 1)'],
    ),
    'name of a category a list': (
        edit('categories', name=['thing']),
        ['ann.json', 'categories whose name is no number or string (id 1)'],
    ),
    'area a string': (
        edit('annotations', area='900'),
        ['ann.json', 'annotations whose area is no finite number (id 1)'],
    ),
    'crowd in words': (
        edit('annotations', iscrowd='no'),
        ['ann.json', 'annotations whose iscrowd is neither 0 nor 1 (id 1)'],
    ),
    'image of width 0': (edit('images', width=0), ['no positive number (id 1)']),
    'box missing': (
        edit('annotations', bbox=None),
        ['annotations without "bbox" (id 1)'],
    ),
    'area missing': (
        edit('annotations', area=None),
        ['annotations without "area" (id 1)'],
    ),
    'category missing': (
        edit('annotations', category_id=None),
        ['without "category_id"'],
    ),
    'name missing': (
        edit('categories', name=None),
        ['categories without "name" (id 1)'],
    ),
    'image id twice': (twice('images'), ['ids used by several images']),
    'annotation id twice': (
        twice('annotations'),
        ['ids used by several annotations (id 1)'],
    ),
    'category id twice': (twice('categories'), ['ids used by several categories']),
    'image unknown': (
        edit('annotations', image_id=77),
        ['image_id is none of the images (id 1)'],
    ),
    'category unknown': (
        edit('annotations', category_id=77),
        ['category_id is none of the categories'],
    ),
    'box of three': (edit('annotations', bbox=[1, 2, 3]), ['bbox', '(id 1)']),
    'box of NaN': (
        edit('annotations', bbox=[1, 2, float('nan'), 4]),
        ['bbox', 'finite', '(id 1)'],
    ),
    'box of words': (
        edit('annotations', bbox=['1', '2', '3', '4']),
        ['bbox', 'numbers'],
    ),
    'class misspelt': (
        edit('categories', name='thign'),
        ["'thign'", "'thing'", 'ann.json', 'disagree'],
    ),
    'classes in another order': (
        lambda b: b.annotate(lambda c: c['categories'].reverse()),
        ['another order', 'ann.json'],
    ),
    'figures of other images': (second_file, ['other.json', 'ann.json', 'evaluator']),
    'figures of no file': (
        line("val_evaluator['ann_file'] = 'no.json'"),
        ['no.json', 'evaluator'],
    ),
    # Images.
    'image missing': (
        lambda b: b.image.unlink(),
        ['1 of 2 images', '1.png', 'data_prefix', 'skip_corrupt_images'],
    ),
    'all images missing': (
        lambda b: shutil.rmtree(b.image.parent),
        ['2 of 2 images', 'data_prefix'],
    ),
    'image a folder': (
        folder('data/images/1.png'),
        ['1.png', 'Is a directory', 'skip_corrupt_images'],
    ),
    'image of 0 bytes': (
        content('data/images/1.png', b''),
        ['1.png', '0 bytes', 'skip_corrupt_images'],
    ),
    'image a web page': (
        content('data/images/1.png', b'<html>Not found'),
        ['1.png', 'no image', '<html>N'],
    ),
    'PNG cut short': (shortened('data/images/1.png', 0.6), ['1.png', 'cut short']),
    'JPEG cut short': (image_as('.jpg', 0.6), ['1.jpg', 'cut short']),
    'BMP cut short': (image_as('.bmp', 0.6), ['1.bmp', 'damaged']),
    'size is another': (edit('images', width=32), ['1.png', '64 x 64', '32 x 64']),
    'turned by EXIF': (turned, ['1.jpg', '32 x 64', '64 x 32', 'EXIF']),
    'told by another process': (
        lambda b: (
            content('data/images/1.png', b'')(b),
            line('train_dataloader.update(num_workers=1)')(b),
        ),
        ['error: the image ', '1.png is empty (0 bytes)'],
    ),
}
TESTING = {
    'checkpoint missing': (
        lambda b: b.checkpoint.unlink(),
        ['CHECKPOINT', 'epoch_1.pth does not exist'],
    ),
    'checkpoint a folder': (folder('epoch_1.pth'), ['CHECKPOINT', 'is a directory']),
    'checkpoint of 0 bytes': (content('epoch_1.pth', b''), ['epoch_1.pth', '0 bytes']),
    'checkpoint cut short': (
        shortened('epoch_1.pth', 0.6),
        ['epoch_1.pth', 'cut short'],
    ),
    'checkpoint a web page': (
        content('epoch_1.pth', b'<html>Not found'),
        ['epoch_1.pth', 'no checkpoint'],
    ),
    'checkpoint runs code': (
        state(lambda c: dict(state_dict=Malicious())),
        ['epoch_1.pth', 'refused', 'nothing in it was run'],
    ),
    'checkpoint without weights': (
        state(lambda c: dict(state_dict={})),
        ['epoch_1.pth', 'missing'],
    ),
    'weights of the head missing': (
        state(without_head),
        ['epoch_1.pth', 'bbox_head', 'Take the config'],
    ),
    'another width': (
        line(
            f"{BACKBONE}['arch']['width'] = 16;"
            "model['neck']['in_channels'] = [16, 32, 256, 512]"
        ),
        ['epoch_1.pth', 'of another shape'],
    ),
    'output of no kind': (option('--out', 'a.txt'), ['--out a.txt', '.pkl']),
    'crowd not told': (
        edit('annotations', iscrowd=None),
        ['annotations without "iscrowd" (id 1)'],
    ),
    'no images to test': (
        lambda b: b.annotate(lambda c: c.update(images=[], annotations=[])),
        ['no image is left to evaluate on'],
    ),
    'test image of 0 bytes': (
        content('data/images/2.png', b''),
        ['2.png', '0 bytes', 'skip_corrupt_images'],
    ),
}
OTHER = {  # tool and arguments, words of the error
    'convert nothing': (
        ['model_converters/convert_checkpoint.py', '--inspect', 'no.pth'],
        ['no.pth does not exist'],
    ),
    'convert a JSON': (
        [
            'model_converters/convert_checkpoint.py',
            'data/ann.json',
            'out.pth',
            '--to',
            'mm',
        ],
        ['ann.json is no checkpoint'],
    ),
    'subset of nothing': (
        ['dataset_converters/coco_subset.py', 'no.json', 'data/images', 'out'],
        ['no.json', 'No such file'],
    ),
    'subset into a folder': (
        [
            'dataset_converters/coco_subset.py',
            'data/ann.json',
            'data/images',
            'data',
            '--num-images',
            '1',
        ],
        ['data exists'],
    ),
    'subset of too many': (
        [
            'dataset_converters/coco_subset.py',
            'data/ann.json',
            'data/images',
            'out',
            '--num-images',
            '9',
        ],
        ['num_images is 9', 'has 2 images'],
    ),
    'subset without images': (
        [
            'dataset_converters/coco_subset.py',
            'data/ann.json',
            '.',
            'out',
            '--num-images',
            '1',
        ],
        ['1.png'],
    ),
    'labels of no JSON': (
        ['dataset_converters/coco_multilabel.py', 'config.py', 'out.json'],
        ['config.py', 'no whole JSON'],
    ),
    'demo data into a folder': (
        ['misc/make_demo_data.py', 'data'],
        ['data exists', 'choose another'],
    ),
    'demo data of none': (
        ['misc/make_demo_data.py', 'out', '--num-val', '0'],
        ['num_val=0'],
    ),
    'backbone unknown': (
        ['analysis_tools/benchmark.py', 'resnet51'],
        ["'resnet51'", 'resnet50'],
    ),
}


@pytest.mark.parametrize(
    'tool, case',
    [
        *(('train.py', name) for name in TRAINING),
        *(('test.py', name) for name in TESTING),
    ],
)
def test_refused(bench, capsys, tool, case):
    if case == 'checkpoint runs code' and not hasattr(
        torch.serialization, 'safe_globals'
    ):
        pytest.skip('before torch 2.6 mmengine itself reads checkpoints as programs')
    spoil, words = (TRAINING if tool == 'train.py' else TESTING)[case]
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_LOCAL_RANK'):
        bench.patch.delenv(name, raising=False)
    spoil(bench)
    before = written(bench.root)
    refused(bench, capsys, run(bench, tool, *bench.argument(tool)), words)
    assert written(bench.root) == before


@pytest.mark.parametrize('case', OTHER)
def test_other_tools(bench, capsys, case):
    (tool, *arguments), words = OTHER[case]
    bench.patch.chdir(bench.root)
    before = written(bench.root)
    refused(bench, capsys, run(bench, tool, *arguments), words)
    assert written(bench.root) == before


@pytest.mark.skipif(not hasattr(os, 'seteuid'), reason='no POSIX users')
def test_no_permission(bench, capsys):
    """Nobody may write into the folder of someone else."""
    bench.root.chmod(0o755)
    for path in (bench.root, *bench.root.parents):
        path.chmod(path.stat().st_mode | 0o555)
    bench.options.extend(['--work-dir', str(bench.root / 'mine')])
    root = os.geteuid() == 0  # who may write anywhere
    if not root:
        bench.root.chmod(0o555)
    else:
        os.seteuid(65534)
    try:
        stop = run(bench, 'train.py', *bench.argument('train.py'))
    finally:
        if root:
            os.seteuid(0)
    refused(bench, capsys, stop, ['mine cannot be written', '--work-dir'])
    assert not (bench.root / 'mine').exists()


def test_sound_bench_is_accepted(bench):
    """Else a case could be refused for another reason."""
    assert run(bench, 'train.py', *bench.argument('train.py')) is None
    assert (bench.work_dir / 'epoch_2.pth').exists()
    bench.options.extend(['--out', bench.root / 'a.pkl'])
    assert run(bench, 'test.py', *bench.argument('test.py')) is None
    assert (bench.root / 'a.pkl').exists()


def test_fine_tuning_may_lack_some_weights(bench):
    state(without_head)(bench)
    bench.configure(f'load_from = {str(bench.checkpoint)!r}')
    assert run(bench, 'train.py', *bench.argument('train.py')) is None
    assert (bench.work_dir / 'epoch_2.pth').exists()


def written(root):
    """All files but the logs of runs, each with its size."""
    return {
        path: path.stat().st_size
        for path in root.rglob('*')
        if path.is_file()
        and path.parts[len(root.parts)] != 'run'
        or path.suffix in ('.pth', '.pkl')
        or path.name == 'last_checkpoint'
    }
