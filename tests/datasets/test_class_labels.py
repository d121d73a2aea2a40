import numpy as np
import pytest

from luss_mm.datasets import ClassLabelDataset
from tests.tiny_layout import write_image

pytestmark = pytest.mark.usefixtures('mmseg_scope')
PIPELINE = [dict(type='LoadBoundedImage'), dict(type='PackImage')]


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        write_image(tmp_path / 'train' / f'{number}.png', np.full((4, 4, 3), 10 * number))
    np.save(tmp_path / 'labels.npy', np.array([3, 1, 4, 1, 5, 918], np.int32))
    np.save(tmp_path / 'losses.npy', np.array([0.1, 9, 0.2, 8, 0.3, 0.4], np.float32))
    return tmp_path


def make(folder, **settings):
    settings = dict(class_labels=str(folder / 'labels.npy'), pipeline=PIPELINE) | settings
    return ClassLabelDataset(data_root=str(folder), **settings)


def test_labels_may_be_written_after_the_data_set_was_built(folder):
    (folder / 'labels.npy').rename(folder / 'later.npy')
    dataset = make(folder)
    assert len(dataset) == 6 and dataset.fingerprint()
    with pytest.raises(FileNotFoundError, match=r'labels\.npy: missing'):
        dataset[0]
    (folder / 'later.npy').rename(folder / 'labels.npy')
    assert dataset[5]['class_label'] == 918


@pytest.mark.parametrize('name', ['labels', 'losses'])
def test_files_of_other_images_are_refused(folder, name):
    np.save(folder / f'{name}.npy', np.zeros(7, np.float32))
    with pytest.raises(ValueError, match=rf'{name}\.npy: \(7,\) values for 6 images'):
        make(folder, losses=str(folder / 'losses.npy'), small_loss=dict(rule='mean'))[0]


@pytest.mark.parametrize('settings', [dict(losses='x.npy'), dict(small_loss=dict(rule='mean'))])
def test_half_a_selection_is_refused(folder, settings):
    with pytest.raises(ValueError, match='give both or neither'):
        make(folder, **settings)
