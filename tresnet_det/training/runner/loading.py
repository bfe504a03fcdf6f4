"""Loading images with errors that tell, or without the images that fail."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS as MMDET_TRANSFORMS
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from ...common.errors import UserError
from ...data.image_reading import check_size, decoded

__all__ = ['LoadCheckedImage', 'check_when_loading']


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """MMCV's loading, which also refuses images cut short or of a wrong size.

    OpenCV 4 decodes a JPEG that is cut short into a picture that ends in
    grey, without an error (5 refuses). All else is left to it: grey, palette,
    CMYK and 16-bit images become 8-bit BGR, an alpha channel is dropped, the
    orientation in EXIF is applied.

    Args:
        skip_log: File to which a line is added for each image that cannot be
            used, in place of an error. The data set then takes another image
            at random; it must not be in test mode, see ``blank``.
        blank: Rather than another image take a black one of the annotated
            size.

    Raises:
        UserError: The image cannot be used; the message names it.
    """

    def __init__(
        self,
        *args: Any,
        skip_log: str | None = None,
        blank: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.skip_log = skip_log
        self.blank = blank

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        try:
            image = self._load(path, results)
        except UserError as error:
            if self.ignore_empty:
                return None
            if self.skip_log is None:
                raise UserError(
                    f'the image {path} {error}. Mend or remove it, or set '
                    'skip_corrupt_images = True in the config'
                ) from error
            kind = 'taken as black' if self.blank else 'left out'
            line = f'{kind}: {path} {error}'.replace('\n', '\\n')
            _add_line(self.skip_log, f'{line}\n')
            if not self.blank:
                return None
            image = np.zeros((results['height'], results['width'], 3), np.uint8)
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _load(self, path: str, results: Mapping[str, Any]) -> np.ndarray:
        try:
            if self.file_client_args is None:
                content = fileio.get(path, backend_args=self.backend_args)
            else:  # deprecated, yet MMCV's heeds it
                content = fileio.FileClient.infer_client(
                    self.file_client_args, path
                ).get(path)
        except ImportError:  # of the backend: no image's fault
            raise
        except Exception as error:  # each backend has errors of its own
            text = getattr(error, 'strerror', None) or error
            raise UserError(f'cannot be read: {text}') from error
        image = decoded(content, self.color_type, self.imdecode_backend)
        check_size(image, results)
        return image


def check_when_loading(cfg: Any, skip_log: str | None = None) -> Any:
    """The config of a data set with ``LoadCheckedImage`` in its pipelines.

    Args:
        cfg: A data set, in any nesting; left as it is.
        skip_log: As for ``LoadCheckedImage``; data sets in test mode get
            black images.
    """

    def changed(value: Any, blank: bool) -> Any:
        if isinstance(value, Mapping):
            blank = value.get('test_mode', blank)
            value = {key: changed(item, blank) for key, item in value.items()}
            kind = value.get('type')
            if isinstance(kind, str) and 'LoadImageFromFile' in kind:
                kind = MMDET_TRANSFORMS.get(kind)
            if kind is LoadImageFromFile:
                value.update(type=LoadCheckedImage, skip_log=skip_log, blank=blank)
        elif isinstance(value, (list, tuple)):
            value = type(value)(changed(item, blank) for item in value)
        return value

    return changed(cfg, False)


def _add_line(file: str, line: str) -> None:
    try:
        # One short write at the end: safe among several processes.
        with open(file, 'a') as log:
            log.write(line)
    except OSError as error:  # its number is lost on the way from a worker
        raise UserError(f'{file} cannot be written: {error.strerror}') from error
