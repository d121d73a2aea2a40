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


def test_small_losses_are_kept_with_their_own_labels(folder):
    rule = dict(rule='mean')
    dataset = make(folder, losses=str(folder / 'losses.npy'), small_loss=rule)
    samples = [dataset[i] for i in range(len(dataset))]
    assert [s['class_label'] for s in samples] == [3, 4, 5, 918]
    assert [int(s['inputs'][0, 0, 0]) for s in samples] == [0, 20, 40, 50]
    assert [dataset.relative_path(i) for i in range(4)] == ['0.png', '2.png', '4.png', '5.png']
    assert dataset.kept.tolist() == [True, False, True, False, True, True]
    assert len(dataset.labels) == 6
    other = make(
        folder, losses=str(folder / 'losses.npy'), small_loss=dict(rule='quantile', value=0.5)
    )
    assert len(other) == 3 and other.fingerprint() != dataset.fingerprint()


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
