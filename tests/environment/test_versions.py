"""The ranges checked at import, and what pip is told about them."""

import sys
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType

import pytest

from tresnet_det.environment.versions import RANGES, check_versions


def test_this_environment_is_in_range() -> None:
    check_versions()


@pytest.mark.parametrize(
    'found, fits',
    [
        ('2.0.1', False),
        ('2.1.0', True),
        ('2.1.0+cu118', True),
        ('2.14.1', True),
        ('2.15.0a0+git1', True),
    ],
)
def test_torch_range(monkeypatch: pytest.MonkeyPatch, found: str, fits: bool) -> None:
    module = ModuleType('some_torch')
    module.__version__ = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'some_torch', module)
    wanted = {'some_torch': RANGES['torch']}
    if fits:
        check_versions(wanted)
    else:
        with pytest.raises(ImportError, match=rf'>=2\.1, but {found} is'):
            check_versions(wanted)


def test_missing_package_names_both_stacks() -> None:
    with pytest.raises(ImportError, match=r'\[openmmlab\].*\[onedl\]'):
        check_versions({'no_such_package': '>=1'})


def test_refusal_at_import_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """mmdet asserts the range of mmcv when it is imported."""
    (tmp_path / 'picky_mmdet.py').write_text("assert False, 'mmcv 9 is bad.'")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match='mmcv 9 is bad'):
        check_versions({'picky_mmdet': '>=3'})


def test_plain_install_pulls_no_stack() -> None:
    plain = [r for r in requires('tresnet_det') or [] if 'extra ==' not in r]
    assert any(r.startswith('numpy') for r in plain)
    assert not [r for r in plain if r.startswith(('torch', 'mm', 'onedl', 'opencv'))]
