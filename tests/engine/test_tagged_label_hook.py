"""What the hook refuses before anything trains, and which images it labels."""

import pytest

from luss_mm.engine.hooks import TaggedLabelHook
from tests.tiny_layout import write_image


def hook(root, **settings):
    part = dict(type='LUSSDataset', data_root=str(root), pipeline=[dict(type='PackImage')])
    return TaggedLabelHook(
        'work',
        config='pct/config.py',
        checkpoint='pct/final.pth',
        dataset=dict(
            type='SemiDataset',
            labelled=dict(part, data_prefix=dict(img_path='train-semi')),
            unlabelled=dict(part, data_prefix=dict(img_path='train')),
        ),
        replaced={k: dict(pipeline=[dict(type=k)]) for k in ('labelled', 'unlabelled')},
        **settings,
    )


def test_missing_images_are_named(tmp_path, mmseg_scope):
    write_image(tmp_path / 'train-semi/a/0.png', [[0]])
    made = hook(tmp_path)
    made.dataset['labelled']['pipeline'] = []
    with pytest.raises(FileNotFoundError, match='train: no such folder'):
        made.check()
