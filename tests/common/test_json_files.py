"""Files that are no plain JSON: what they are, and what helps."""

import json
import pickle
import subprocess

import pytest

from tresnet_det import UserError
from tresnet_det.common.json_files import read_json

TEXT = json.dumps(dict(name='é'), ensure_ascii=False)
FILES = {
    'empty': (b'', 'no whole JSON.*it is empty'),
    'spaces': (b' \n', 'no whole JSON.*it is empty'),
    'cut': (TEXT.encode()[:-3], 'no whole JSON.*cut short'),
    'a web page': (b'<!DOCTYPE html>', 'web page'),
    'XML': (b'<?xml version="1.0"?>', 'web page or XML'),
    'gzip': (b'\x1f\x8b\x08\x00', 'gunzip'),
    'zip': (b'PK\x03\x04....', 'unzip'),
    'pickle': (pickle.dumps([1, 2]), 'a pickle'),
    'Git LFS': (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
    'picture': (b'\x89PNG\r\n\x1a\n', 'it is binary'),
    'Python': (b"model = dict(type='FCOS')", "it begins with b'model = dict"),
    'deep': (b'[' * 100_000, 'no whole JSON'),
    'of Windows': (TEXT.encode('cp1252'), 'iconv -f WINDOWS-1252'),
}
ENCODINGS = ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32']


@pytest.mark.parametrize('case', FILES)
def test_no_json(tmp_path, case):
    content, words = FILES[case]
    file = tmp_path / 'a.json'
    file.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_json(file, 'list', 'Give its path')
    assert f'the list {file}' in str(error.value)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_remedy_for_encodings_helps(tmp_path, encoding):
    file = tmp_path / 'a.json'
    file.write_bytes(TEXT.encode(encoding))
    with pytest.raises(UserError, match='is whole, but written with') as error:
        read_json(file, 'list', 'Give its path')
    command = str(error.value).partition('To write it so: ')[2]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert read_json(tmp_path / 'plain.json', 'list', '') == json.loads(TEXT)


def test_no_file(tmp_path):
    for path in (tmp_path, tmp_path / 'no.json'):
        with pytest.raises(UserError, match='cannot be read.*Give its path'):
            read_json(path, 'list', 'Give its path')
