"""Images that are there under other names than the annotations say."""

import unicodedata
from pathlib import Path

import pytest
from small_runs import coco

from tresnet_det import UserError
from tresnet_det.data.image_checks import check_images_exist, leaves_folder
from tresnet_det.data.mending import mend_annotations

FORMS = [unicodedata.normalize(form, 'Bär') for form in ('NFC', 'NFD')]
NAMES = {  # in the file, in the folder, words of the error
    'ending': ('frame_0.png', 'frame_0.jpg', 'another ending'),
    'capitals': ('A.jpg', 'a.JPG', 'other capitals'),
    'backslashes': ('sub\\a.jpg', 'sub/a.jpg', 'backslashes'),
    'backslashes and ending': ('sub\\a.png', 'sub/a.jpg', 'ending'),
    'a folder too many': ('images/a.jpg', 'a.jpg', 'a folder in their names'),
    'absolute': ('/somewhere/else/a.jpg', 'a.jpg', 'a folder in their names'),
    'with its drive': ('C:\\x\\a.jpg', 'a.jpg', 'a folder in their names'),
    'the folder too': ('there/sub/a.jpg', 'sub/a.jpg', 'the folder itself'),
    'Unicode': (f'{FORMS[0]}.jpg', f'{FORMS[1]}.jpg', 'Unicode'),
}


@pytest.mark.parametrize('case', NAMES)
def test_told_and_mended(tmp_path, case):
    name, real, words = NAMES[case]
    folder = tmp_path / 'there'
    (folder / real).parent.mkdir(parents=True, exist_ok=True)
    (folder / real).touch()
    content = coco([], num_images=1)
    content['images'][0]['file_name'] = name
    with pytest.raises(UserError, match=f'1 of 1 images .*{words}') as error:
        check_images_exist(content, folder, 'ann.json')
    assert f'check_data.py ann.json {folder} --mend' in str(error.value)
    assert mend_annotations(content, folder) == ['1 file names were changed']
    assert content['images'][0]['file_name'] == real
    check_images_exist(content, folder, 'ann.json')


def test_no_guess_among_several(tmp_path):
    for ending in ('jpg', 'bmp'):
        (tmp_path / f'a.{ending}').touch()
    content = coco([], num_images=1)
    content['images'][0]['file_name'] = 'a.png'
    with pytest.raises(UserError, match='not there.*Set data_root'):
        check_images_exist(content, tmp_path, 'ann.json')
    assert not mend_annotations(content, tmp_path)


@pytest.mark.parametrize(
    'name', ['a.jpg', 'b/a.jpg', 'b/..a', '...', 'b\\a.jpg', '~/a']
)
def test_names_that_stay(name):
    assert not leaves_folder(name)
    assert Path('/x', name).resolve().is_relative_to('/x')
