"""The model zoo: metafiles, cost tables and READMEs of configs/ as pages."""

import re
from pathlib import Path

from mmengine.fileio import load

LINK = re.compile(r'\]\(\s*<?(?![a-z]+://|#)([^)\s>]+)>?\s*\)')


def table(readme: str, first: str) -> list[dict[str, str]]:
    """The rows of the table whose first column is called ``first``."""
    lines = iter(readme.splitlines())
    for line in lines:
        if line.startswith(f'| {first} |'):
            head = cells(line)
            break
    else:
        return []
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith('|'):
            break
        rows.append(dict(zip(head, cells(line), strict=True)))
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip('|').split('|')]


def metafiles(root: Path) -> list[Path]:
    """In the order of model-index.yml."""
    return [root / name for name in load(root / 'model-index.yml')['Import']]


def zoo(root: Path) -> str:
    """A table for each family: configs, schedule, cost and result."""
    text = []
    for path in metafiles(root):
        family = path.parent.name
        readme = (path.parent / 'README.md').read_text()
        meta = load(path)
        rows = [row(model, readme) for model in meta['Models']]
        columns = [name for name in rows[0] if any(one[name] for one in rows)]
        text += [
            f'### [{meta["Collections"][0]["Name"]}](generated/{family}.md)\n',
            '| ' + ' | '.join(columns) + ' |',
            '|' + '---|' * len(columns),
        ]
        text += ['| ' + ' | '.join(r[name] for name in columns) + ' |' for r in rows]
        text.append('')
    return '\n'.join(text)


def row(model: dict, readme: str) -> dict[str, str]:
    """One config: what its metafile and its README's tables say."""
    name, meta = model['Name'], model['Metadata']
    detector, _, rest = name.partition('_')
    arch = rest.partition('_fpn')[0].upper().replace('_', '-')
    backbone = arch.replace('TRESNET', 'TResNet').replace('R50', 'ResNet-50')
    cost = [
        one
        for one in table(readme, 'detector')
        if one['detector'] == detector and one['backbone'].split(',')[0] == backbone
    ]
    results = [
        one
        for one in (table(readme, 'config') or table(readme, 'arm'))
        if name in one.get('config', one.get('arm', ''))
    ]
    found = {**(cost[0] if cost else {}), **(results[0] if results else {})}
    schedule = (
        f'{meta["Epochs"]} epochs'
        if 'Epochs' in meta
        else f'{meta["Iterations"]} iterations'
        if 'Iterations' in meta
        else ''
    )
    return {
        'config': f'[{name}](../{model["Config"]})',
        'schedule': schedule,
        'parameters, M': found.get('parameters (M)', ''),
        'multiply-adds, G': found.get('multiply-adds (G)', ''),
        **{
            measure: found.get(measure, '')
            for measure in ('box AP', 'mask AP', 'mIoU', 'ours')
        },
    }


def family_pages(root: Path) -> dict[str, str]:
    """File -> text: what is written in configs/, its links turned."""
    return {
        page_name(path, root): LINK.sub(
            lambda found, folder=path.parent: f']({turned(found[1], folder, root)})',
            path.read_text(),
        )
        for path in sorted(root.glob('configs/**/*.md'))
    }


def page_name(path: Path, root: Path) -> str:
    """configs/bccd/README.md: bccd.md; configs/a/b/c.md: a-b-c.md."""
    parts = path.relative_to(root / 'configs').with_suffix('').parts
    return '-'.join(part for part in parts if part != 'README') + '.md'


def turned(link: str, folder: Path, root: Path) -> str:
    """A link of a page in configs, as it is said in docs/generated."""
    target, mark, anchor = link.partition('#')
    path = (folder / target.replace('\\', '')).resolve()
    if path.suffix == '.md' and root / 'configs' in path.parents:
        return page_name(path, root) + mark + anchor
    return f'../../{path.relative_to(root)}{mark}{anchor}'
