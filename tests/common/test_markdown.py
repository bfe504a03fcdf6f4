"""Names of others in Markdown."""

import pytest

from tresnet_det.common.markdown import as_code, as_code_block, as_text

NAMES = ['a|b', 'a\nb', '`a', '<b>a</b>', '*a*', '[a](b)', 'a\\', '\\|', '# a', '&lt;']


@pytest.mark.parametrize('name', NAMES)
def test_a_cell_stays_a_cell(name):
    for cell in (as_text(name), as_code(name)):
        assert '\n' not in cell
        bars = [k for k, character in enumerate(cell) if character == '|']
        assert all(cell[k - 1] == '\\' for k in bars)
    assert '<' not in as_text(name).replace('\\<', '')
    assert as_text(name).replace('\\', '') == ' '.join(name.split()).replace('\\', '')


def test_plain_names_stay():
    assert as_text('traffic light 2') == 'traffic light 2'
    assert as_text('seed_1') == 'seed_1'
    assert as_text('_a_b_') == '\\_a_b\\_'
    assert as_code('a_b') == '`a_b`'


def test_fences_are_longer_than_what_they_hold():
    assert as_code('a`b') == '``a`b``'
    assert as_code('`') == '`` ` ``'
    assert as_code_block('a\n```\nb') == ['````', 'a\n```\nb', '````']
