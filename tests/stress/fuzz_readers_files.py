"""Whole files of every kind that comes from elsewhere, for fuzz_readers to change."""

import io
import json
import tarfile
import zipfile

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from luss_mm.functional.label_codec import encode_label_map
from luss_mm.imagenet_s.submission import METHOD_LINES, method_text

LABELS = np.arange(1001).reshape(7, 143)
LIST = b'a/one.JPEG a/one.png\na/two.JPEG\nb/gr\xc3\xbcn.JPEG b/3.png\n'
OFFICIAL = b'n01443537/ILSVRC2012_val_00000236.JPEG n01443537/ILSVRC2012_val_00000236.JPEG\n' * 3
METHOD = method_text({line: 'a' for line in METHOD_LINES}).encode()
SCORES = json.dumps(dict(per_class=[dict(id=i, name=f'n{i}') for i in range(4)])).encode()


def png(labels):
    return cv2.imencode('.png', encode_label_map(labels)[..., ::-1])[1].tobytes()


def jpeg():
    x = np.linspace(0, 255, 48).astype(np.uint8)
    image = np.stack([*np.meshgrid(x, x[::2]), np.zeros((24, 48), np.uint8)], -1)
    return cv2.imencode('.jpg', image)[1].tobytes()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def checkpoint(zipped):
    file = io.BytesIO()
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    content = dict(
        state_dict=dict(a=torch.ones(3, 2), b=torch.nn.Parameter(torch.zeros(4).half())),
        meta=dict(cfg='a = 1', epoch=1, score=np.float64(0.5)),
        message_hub=dict(log_scalars={'train/loss': history}),
    )
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def sam_state(zipped):
    file = io.BytesIO()
    torch.save(dict(a=torch.ones(3, 2)), file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def zip_archive(compression):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as packed:
        packed.writestr('a/one.png', bytes(500))
        packed.writestr('two.png', b'2')
    return file.getvalue()


def tar_archive(mode):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name in ('a/one.png', 'two.png'):
            header = tarfile.TarInfo(name)
            header.size = 500
            packed.addfile(header, io.BytesIO(bytes(500)))
    return file.getvalue()


def config():
    model = dict(type='LUSSSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=50))
    pipeline = [dict(type='LoadBoundedImage', max_side=64), dict(type='PackSegInputs')]
    imports = dict(imports=['luss_mm'])
    values = dict(model=model, test_pipeline=pipeline, custom_imports=imports, a=[1, -2.5, (None,)])
    return Config(values).pretty_text.encode()


ARCHIVES = [
    *map(zip_archive, (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    *map(tar_archive, ('w', 'w:gz', 'w:bz2', 'w:xz')),
]
