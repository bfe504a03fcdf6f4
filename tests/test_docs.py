"""What README, docs and the READMEs of configs say is so.

Their commands are run by tests, their snippets work, what they name exists.
"""

import ast
import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from markdown_it import MarkdownIt
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from one_step import check_one_step_and_one_prediction

import tresnet_det
from tresnet_det.environment.tested import TESTED
from tresnet_det.training.mmdet_tools import find_mmdet_tool

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
FAMILIES = sorted(ROOT.glob('configs/*/README.md'))
# Begin of a command -> where it is run: a file and a name in it. Environment
# variables before the command, and a path to the interpreter, are left out.
RUN_BY = {
    'make setup': '.ci/run::make setup',
    'make lint': '.ci/run::make lint',
    'make test': '.ci/run::make test',
    'make docs': '.ci/run::make docs',
    'bash .ci/run': '.ci/run::make setup',
    'make demo': 'tests/test_tools.py::test_demo_shows_progress_and_writes_what_it_'
    'names',
    'cp configs/own_data/': 'tests/configs/test_own_data.py::test_a_copy_takes_what_'
    'stands_above_the_ruler',
    'python -m tresnet_det.doctor': 'tests/environment/test_doctor.py::test_runs_'
    'where_the_package_does_not_import',
    'pip wheel': 'tests/test_wheel.py::installed',
    'python tools/train.py': 'tests/test_tools.py::test_wrong_class_name_stops_both_'
    'commands',
    'python tools/test.py': 'tests/test_tools.py::test_wrong_class_name_stops_both_'
    'commands',
    'python tools/own_data.py': 'tests/data/test_own_data_bad_input.py::test_'
    'the_command',
    'python tools/compare.py': 'tests/comparison/test_comparison.py::test_the_command',
    'python tools/analysis_tools/benchmark.py': 'tests/test_measuring.py::test_'
    'benchmark',
    'python tools/analysis_tools/kept_memory.py': 'tests/test_measuring.py::test_kept_'
    'memory',
    'python tools/analysis_tools/flops_table.py': 'tests/comparison/test_flops.py::'
    'test_table',
    'python tools/analysis_tools/compare_evaluators.py': 'tests/evaluation/test_'
    'faster_coco.py::test_tool',
    'python tools/dataset_converters/coco_subset.py': 'tests/test_tools.py::test_coco_'
    'subset',
    'python tools/misc/download_coco.py': 'tests/data/test_coco_download.py::test_tool',
    'python tools/model_converters/convert_checkpoint.py': 'tests/weights/test_convert_'
    'checkpoint.py::test_round_the_formats',
    'python tests/fuzz_checkpoints.py': 'tests/test_measuring.py::test_fuzzing',
    'python tests/trials/kill_and_resume.py': 'tests/trials/test_kill_and_resume.py::'
    'test_kills_hit_writes_and_damage_is_named',
    'python tests/trials/compare_processes.py': 'tests/trials/test_compare_processes.py'
    '::test_common_statistics_are_those_of_one_process',
    'python tests/trials/export_figures.py': 'tests/trials/test_export_figures.py::'
    'test_the_command',
    'python tests/trials/from_scratch.py': 'tests/trials/test_from_scratch.py::'
    'test_the_command',
    'python tests/trials/check_large.py': 'tests/trials/test_check_large.py::test_'
    'what_is_made_has_the_faults_that_are_asked_for',
    'python tests/trials/mend_and_train.py': 'tests/trials/test_mend_and_train.py::'
    'test_numbers_in_quotes_and_another_ending',
    'python tests/trials/long_run.py': 'tests/trials/test_usage.py::test_the_command',
    'python tools/setup/test_stack.py': 'tests/environment/test_setup.py::test_suite_'
    'of_a_stack',
    'tools/dist_train.sh': 'tests/training/test_dist_tools.py::test_torchrun_gets',
    'tools/dist_test.sh': 'tests/training/test_dist_tools.py::test_torchrun_gets',
    'torchrun': 'tests/training/test_dist_tools.py::test_two_processes_train_and_one_'
    'killed_ends_both',
    'tools/slurm_train.sh': 'tests/training/test_dist_tools.py::test_srun_gets',
    'tools/slurm_test.sh': 'tests/training/test_dist_tools.py::test_srun_gets',
    'python $MIM/train.py': 'tests/test_tools.py::test_mmdetections_train_resumes_and_'
    'its_test_evaluates',
    'python $MIM/test.py': 'tests/test_tools.py::test_mmdetections_train_resumes_and_'
    'its_test_evaluates',
    'python $MIM/tools/train.py': 'tests/test_wheel.py::test_trains',
    'python $MIM/analysis_tools/get_flops.py': 'tests/test_tools.py::test_get_flops_'
    'counts_every_conv_whatever_the_norm',
    'python $MIM/analysis_tools/browse_dataset.py': 'tests/test_tools.py::test_browse_'
    'dataset',
    'python tools/deployment/export.py': 'tests/deployment/test_export.py::test_the_'
    'commands',
    'python tools/deployment/verify.py': 'tests/deployment/test_export.py::test_the_'
    'commands',
    'python tools/check_data.py': 'tests/data/test_check_data.py::test_all_problems_'
    'at_once_and_mended',
    'python tools/model_converters/publish_model.py': 'tests/weights/test_publish.py::'
    'test_tool',
    'python tools/deployment/detect.py': 'tests/deployment/test_runtime_pictures.py::'
    'test_the_tool_needs_no_stack_and_no_bar',
    'python tools/deployment/make_page.py': 'tests/deployment/test_browser.py::test_'
    'the_tool_makes_the_page_and_makes_it_again',
    'python tools/deployment/latency.py': 'tests/deployment/test_latency.py::test_'
    'measures_all_in_one_run',
    'python runtime.py': 'tests/deployment/test_runtime.py::test_runs_alone_beside_its_'
    'model',
    # Snippets in Python that take a checkpoint or an exported file.
    'from runtime import Detector': 'tests/deployment/test_runtime.py::test_runs_alone_'
    'beside_its_model',
    'from mmdet.apis import DetInferencer': 'tests/test_tools.py::test_inferencer',
}
MINE = ('configs/mine/', 'configs/own_data/mine')  # the reader's own
NAMED = re.compile(
    r'(?<![\w/$.:-])(?:configs|docs|tools|tests|tresnet_det)/[\w./-]*\w\b(?![<*$])'
)
LINK = re.compile(r'\]\((?![a-z]+://)([^)\s]+)\)')


class Block(NamedTuple):
    """A block of code of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.line}'


@cache
def blocks(pages: tuple[Path, ...] = (*PAGES, *FAMILIES)) -> list[Block]:
    return [
        Block(page, token.map[0] + 1, token.info.partition(' ')[0], token.content)
        for page in pages
        for token in MarkdownIt().parse(page.read_text())
        if token.type in ('fence', 'code_block')
    ]


def of(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]


def commands(block: Block) -> list[str]:
    """The commands of a block that are not marked; what a mark says:

    'not run' on the first line counts for the block, on another for that line.
    """
    lines = block.text.replace('\\\n', ' ').splitlines()
    if re.fullmatch(r'# not run.*', lines[0]):
        return []
    found = []
    for line in lines:
        line, _, comment = f'{line} '.partition('# ')
        if re.match(r'[A-Z_]+=\$\(.*\)\S*\s*$', line):
            continue
        for part in line.split(' && '):
            words = shlex.split(part)
            while words and re.match(r'[A-Z_]+=', words[0]):
                words.pop(0)
            if words and 'not run' not in comment:
                words[0] = re.sub(r'.*/?(pip|python)[\d.]*$', r'\1', words[0])
                found.append(' '.join(words))
    return [line for line in found if line.split()[0] not in ('for', 'done')]


def told(begin: str) -> str | None:
    """Where a command is run."""
    known = [key for key in RUN_BY if f'{begin} '.startswith(key)]
    return RUN_BY[max(known, key=len)] if known else None


def test_pages_are_found():
    assert len(PAGES) > 12 and len(FAMILIES) > 9
    assert len(of('bash')) > 30 and len(of('python')) > 8
    assert sum(len(commands(block)) for block in of('bash')) > 60


@pytest.mark.parametrize('block', blocks(), ids=str)
def test_blocks_say_what_they_are(block):
    assert block.language in ('bash', 'python', 'text') or block.language[0] == '{'


@pytest.mark.parametrize('block', of('bash'), ids=str)
def test_commands_are_run_by_tests_or_marked(block):
    assert [line for line in commands(block) if told(line) is None] == []


@pytest.mark.parametrize('where', sorted({*RUN_BY.values()}))
def test_what_runs_them_exists(where):
    file, _, name = where.partition('::')
    text = (ROOT / file).read_text()
    if file.endswith('.py'):
        assert name in {
            node.name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef)
        }
    else:
        assert name in text.splitlines()


def test_no_entry_is_left_over():
    said = [told(line) for block in of('bash') for line in commands(block)]
    snippets = ''.join(block.text for block in of('python'))
    unused = {
        begin for begin in RUN_BY if RUN_BY[begin] not in said and begin not in snippets
    }
    assert unused == set()


@pytest.mark.parametrize('block', of('bash'), ids=str)
def test_options_of_tools_exist(block):
    for line in commands(block):
        names = re.findall(r'(?:tools|tests)/[\w/.]+', line)
        if not names or '$MIM' in line:
            continue
        text = (ROOT / names[0]).read_text()
        if re.search(r'(?:train|test)\.(?:py|sh)$', names[0]):
            text += find_mmdet_tool(
                'train.py' if 'train' in names[0] else 'test.py'
            ).read_text()
        for option in re.findall(r' (--[a-z][a-z-]+)', line.partition(names[0])[2]):
            assert option in text, line


@pytest.mark.parametrize(
    'text, found',
    [
        ('make demo  # set-up', ['make demo']),
        ('pip install .   # not run', []),
        ('# not run: no network\ngit clone x\nmake y', []),
        (
            'A=1 B="2 3" .venv/bin/python \\\n    tools/train.py X',
            ['python tools/train.py X'],
        ),
        ('CONFIG=a.py\npython3.11 b.py', ['python b.py']),
        ("MIM=$(python -c 'import x')/.mim\npip wheel .", ['pip wheel .']),
        ('rm -rf x', ['rm -rf x']),
    ],
)
def test_commands_of_a_block(text, found):
    assert commands(Block(ROOT, 1, 'bash', text)) == found


@pytest.fixture
def configs(tmp_path):
    """A folder beside ours, so that '../fcos/...' is found from it."""
    for path in (ROOT / 'configs').iterdir():
        if path.is_dir():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / 'mine').mkdir()
    return tmp_path / 'mine'


@pytest.mark.parametrize(
    'block', [b for b in of('python') if b.page not in FAMILIES], ids=str
)
def test_snippets_work(block, configs):
    if told(block.text.partition('\n')[0]):
        return
    init_default_scope('mmdet')
    if block.text.startswith('_base_ = '):
        (configs / 'snippet.py').write_text(block.text)
        assert Config.fromfile(configs / 'snippet.py').model.backbone.type == 'TResNet'
        return
    names: dict = {}
    exec(block.text, names)
    if 'backbone' in names:
        MODELS.build(dict(names['backbone'], init_cfg=None))
    if 'data_preprocessor' in names:
        MODELS.build(dict(names['data_preprocessor'], type='DetDataPreprocessor'))


def test_first_config_trains_and_predicts(tmp_path):
    block = re.search(r'```python\n(_base_ = .*?)```', README, re.S).group(1)
    file = tmp_path / 'config.py'
    file.write_text(block)
    cfg = Config.fromfile(file)
    cfg.model.backbone.init_cfg = None  # the published weights: no network
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    assert model.backbone.out_channels == tuple(cfg.model.neck.in_channels)
    assert cfg.runner_type == 'CheckedRunner'
    check_one_step_and_one_prediction(model, cfg.model.bbox_head.num_classes)


@pytest.mark.parametrize(
    'page', [*PAGES, *FAMILIES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_named_paths_exist(page):
    named = {*NAMED.findall(page.read_text())}
    missing = {
        path
        for path in named
        if not path.startswith(MINE) and not (ROOT / path).exists()
    }
    # The built site, which need not be there, and patterns.
    missing -= {path for path in missing if re.search('NAME|MODULE|_build', path)}
    assert missing == set()


@pytest.mark.parametrize(
    'page', [*PAGES, *FAMILIES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        target, _, anchor = link.replace('\\', '').partition('#')
        path = page.parent / target if target else page
        if 'generated' in path.parts:
            continue  # the build of the site checks these
        assert path.exists(), link
        if anchor:
            headings = re.findall(r'^#+ (.*)$', path.read_text(), re.M)
            slugs = [
                re.sub(r'[^\w -]', '', h.lower()).replace(' ', '-') for h in headings
            ]
            assert anchor in slugs, link


def test_readme_is_one_screen():
    assert len(README.splitlines()) <= 220
    configs = [
        path
        for path in ROOT.glob('configs/*/*_coco.py')
        if path.parent.name not in ('_base_', 'classification', 'segmentation')
    ]
    assert f'{len(configs)} configs' in README


def test_every_public_name_has_a_docstring_for_the_api_page():
    assert all(
        getattr(tresnet_det, name).__doc__
        for name in tresnet_det.__all__
        if name != '__version__'
    )


@pytest.mark.parametrize('tested', TESTED, ids=lambda tested: tested.stack)
def test_tested_versions_are_the_doctors(tested):
    """The page is made from them; see docs/generate.py."""
    assert (
        '{include} generated/tested.md.inc'
        in (ROOT / 'docs' / 'measured.md').read_text()
    )
    assert f'`{tested.stack}`' in (ROOT / 'docs' / 'measured.md').read_text()
    # Printed by tools/setup/test_stack.py, not said in words.
    assert re.fullmatch(r'\d+ passed, \d+ skipped, \d+ failed', tested.result)
