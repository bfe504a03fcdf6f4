"""Pages and figures of the site that are made from the project itself.

What a page repeats of configs, tables or code would be out of date one day.
"""

import shutil
from pathlib import Path

import figures
import model_zoo
from wings import WINGS

import tresnet_det
from tresnet_det.environment.tested import TESTED

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
INTO = DOCS / 'generated'
# The list of pages. A page that is not named here comes last.
NAV = {
    'First steps': ['start', 'own_data', 'check_data', 'configs', 'weights'],
    'Train and evaluate': [
        'training',
        'resume',
        'trouble',
        'compare',
        'distillation',
        'deployment',
        'deployment_runtime',
    ],
    'How it works': [
        'architecture',
        'norm',
        'measured',
        'other_libraries',
        'api',
        'changing',
    ],
}


def nav() -> str:
    """The lists of the pages that are there, for the side bar."""
    pages = {path.stem for path in DOCS.glob('*.md')} - {'index'}
    lists = {
        caption: [p for p in names if p in pages] for caption, names in NAV.items()
    }
    rest = sorted(pages - {page for names in lists.values() for page in names})
    lists['More'] = rest
    return '\n'.join(
        '\n'.join(
            ['```{toctree}', f':caption: {caption}', ':hidden:', '', *names, '```\n']
        )
        for caption, names in lists.items()
        if names
    )


def families() -> str:
    """What is written in configs/, under short names, for the side bar."""
    pages = sorted(Path(name).stem for name in model_zoo.family_pages(ROOT))
    entries = [f'{page.replace("-", ", ")} <generated/{page}>' for page in pages]
    return '\n'.join(['```{toctree}', ':hidden:', '', *entries, '```\n'])


def tested() -> str:
    """The stacks on which the whole suite was run."""
    rows = ['| stack | versions | date | result |', '|---|---|---|---|']
    return '\n'.join([*rows, *map(str, TESTED)]) + '\n'


def api() -> str:
    """Every public name with its docstring, in the wing that it comes from."""
    wings: dict[str, list[str]] = {wing: [] for wing in WINGS}
    for name in sorted(tresnet_det.__all__):
        module = getattr(getattr(tresnet_det, name), '__module__', None)
        if module:  # not the version, a string
            wings[module.split('.')[1]].append(f'{module}.{name}')
    text = []
    for wing, names in reversed(wings.items()):
        if names:
            text.append(f'## {wing}\n\n{WINGS[wing].holds.capitalize()}.\n')
        for name in names:
            kind = 'class' if name.rpartition('.')[2][0].isupper() else 'function'
            lines = [f'.. auto{kind}:: {name}']
            if kind == 'class':
                lines += ['   :members:']
            text.append('\n'.join(['```{eval-rst}', *lines, '```\n']))
    return '\n'.join(text)


def wings_table() -> str:
    """The wings, what they hold and where their floor is."""
    rows = ['| floor | wing | holds |', '|---|---|---|']
    rows += [
        f'| {wing.floor} | `tresnet_det/{name}/` | {wing.holds} |'
        for name, wing in WINGS.items()
    ]
    return '\n'.join(rows) + '\n'


def main() -> None:
    """Writes all anew; a file that did not change keeps its time."""
    made = {
        'nav.md.inc': nav(),
        'families.md.inc': families(),
        'tested.md.inc': tested(),
        'api.md.inc': api(),
        'wings.md.inc': wings_table(),
        'zoo.md.inc': model_zoo.zoo(ROOT),
        **model_zoo.family_pages(ROOT),
        'stages.svg': figures.stages(),
        'wings.svg': figures.wings(),
    }
    INTO.mkdir(exist_ok=True)
    for old in INTO.iterdir():
        if old.name not in made:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name, text in made.items():
        path = INTO / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == '__main__':
    main()
