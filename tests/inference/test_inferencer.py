import json

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import inference_model, init_model
from mmseg.models import EncoderDecoder
from mmseg.registry import INFERENCERS, MODELS
from PIL import Image

from luss_mm.checkpoints.loading import CheckpointError
from luss_mm.inference.inferencer import BadImageError, LUSSInferencer, count_ids
from luss_mm.recipes.image_preparation import ImagePreparation, image_transforms
from tests.engine.small_run import PIPELINE, make_run, random_model, run_config
from tests.tiny_layout import write_image

SIZES = [(40, 50), (64, 32), (40, 50), (33, 70), (80, 100), (50, 40), (40, 50), (64, 32)]


def smooth_image(size, seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images of several sizes, in folders with accents and spaces."""
    root = tmp_path_factory.mktemp('images')
    for number, size in enumerate(SIZES):
        name = f'été {number % 2}/日本 {number}.png' if number else 'first.png'
        write_image(root / name, smooth_image(size, number))
    return root


@pytest.fixture(scope='module')
def inferencer(run):
    return LUSSInferencer(run, device='cpu')


def images_of(folder):
    return sorted(str(path) for path in folder.rglob('*.png'))


def one_at_a_time(run, paths, config=None):
    """Label maps by mmseg's own function, which takes one size at a time."""
    config = run_config() if config is None else config
    config.test_pipeline = image_transforms(PIPELINE)
    model = init_model(config, str(run / 'finetune' / 'final.pth'), 'cpu')
    return [inference_model(model, path).pred_sem_seg.data[0].numpy() for path in paths]


@pytest.mark.parametrize('batch_size', [1, 3, 16])
def test_equals_mmseg_one_at_a_time(run, folder, inferencer, batch_size):
    paths = images_of(folder)
    result = inferencer(paths, batch_size=batch_size)
    for ours, theirs, path in zip(
        result['predictions'], one_at_a_time(run, paths), paths, strict=True
    ):
        assert ours.dtype == np.uint16 and ours.shape == cv2.imread(path).shape[:2]
        np.testing.assert_array_equal(ours, theirs)
    assert max(labels.max() for labels in result['predictions']) > 255


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
@pytest.mark.parametrize('stored_pixels', [False, True])
def test_photographs_on_their_side_are_segmented_as_seen(run, tmp_path, orientation, stored_pixels):
    """Also by a network that was scored on stored pixels, as those of ImageNet-S."""
    path, exif = tmp_path / 'a.png', Image.Exif()
    exif[274] = orientation
    Image.fromarray(smooth_image(SIZES[0], 3)).save(path, exif=exif)
    inferencer = LUSSInferencer(run, device='cpu')
    config = [dict(t) for t in PIPELINE]
    config[0]['stored_pixels'] = stored_pixels
    inferencer.pipeline = ImagePreparation(config)
    (from_file,) = inferencer(str(path))['predictions']
    (from_array,) = inferencer(cv2.imread(str(path)))['predictions']
    assert from_file.shape == cv2.imread(str(path)).shape[:2]
    np.testing.assert_array_equal(from_file, from_array)


def test_arrays_files_and_folders_agree(folder, inferencer):
    paths = images_of(folder)
    from_files = inferencer(paths)['predictions']
    from_arrays = inferencer([cv2.imread(path) for path in paths])['predictions']
    from_folder = inferencer(str(folder))['predictions']
    assert len(from_folder) == len(paths)
    for ours, theirs in zip(from_files, from_arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {labels.tobytes() for labels in from_folder} == {ids.tobytes() for ids in from_files}
    single = inferencer(cv2.imread(paths[0]))['predictions']
    np.testing.assert_array_equal(single[0], from_files[0])
    np.testing.assert_array_equal(inferencer(paths[0])['predictions'][0], from_files[0])


def test_an_array_is_bounded_as_a_file_is(tmp_path):
    pipeline = [dict(type='LoadBoundedImage', max_side=48), *PIPELINE[1:]]
    inferencer = LUSSInferencer(make_run(tmp_path, pipeline=pipeline), device='cpu')
    image = smooth_image((60, 90), 0)
    path = write_image(tmp_path / 'a.png', image)
    ours, theirs = inferencer([image, path])['predictions']
    assert ours.shape == (60, 90)
    np.testing.assert_array_equal(ours, theirs)


def test_folder_names_play_no_role(folder, inferencer, tmp_path):
    image = smooth_image((40, 50), 3)
    paths = [write_image(tmp_path / name / 'a.png', image) for name in ('cat', 'dog')]
    ours, theirs = inferencer(paths)['predictions']
    np.testing.assert_array_equal(ours, theirs)


def test_shares_and_pictures(folder, inferencer):
    paths = images_of(folder)
    result = inferencer(paths, return_vis=True, batch_size=4)
    for labels, shares, picture in zip(
        result['predictions'], result['shares'], result['visualization'], strict=True
    ):
        assert picture.shape == (*labels.shape, 3) and picture.dtype == np.uint8
        expected = {i: (labels == i).mean() for i in np.unique(labels)}
        assert shares == pytest.approx(expected)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    untouched = result['predictions'][0] == 0
    original = cv2.imread(paths[0])[..., ::-1]
    np.testing.assert_array_equal(result['visualization'][0][untouched], original[untouched])
    assert (result['visualization'][0][~untouched] != original[~untouched]).any()


def test_counts_of_ids():
    assert list(count_ids(np.array([[7, 300], [300, 2]], np.uint16)).items()) == [
        (300, 2),
        (2, 1),
        (7, 1),
    ]


def test_bad_images(folder, inferencer, tmp_path):
    (tmp_path / 'bad.jpg').write_bytes(b'no image')
    good = images_of(folder)[0]
    images = [good, tmp_path / 'bad.jpg', tmp_path / 'gone.png', np.zeros((4, 4), np.uint8), good]
    result = inferencer(images, on_bad_image='skip')
    assert [labels is None for labels in result['predictions']] == [False, True, True, True, False]
    assert result['shares'][1] is None and set(result['problems']) == {1, 2, 3}
    assert 'bad.jpg: not a readable image' in result['problems'][1]
    assert 'BGR uint8 (H, W, 3)' in result['problems'][3]
    np.testing.assert_array_equal(result['predictions'][0], result['predictions'][4])
    with pytest.raises(BadImageError, match=r"bad.jpg: not .* on_bad_image='skip'"):
        inferencer(images[:2])
    with pytest.raises(BadImageError, match='image 0: an image is BGR'):
        inferencer(images[3])
    with pytest.raises(ValueError, match='on_bad_image is one of'):
        inferencer(images, on_bad_image='ignore')


def test_stream_takes_inputs_as_it_goes(inferencer):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield smooth_image(SIZES[len(taken) % len(SIZES)], 0)

    results = inferencer.stream(endless(), batch_size=2, num_workers=1, window=6)
    seen = [next(results).index for _ in range(40)]
    results.close()
    assert len(set(seen)) == 40 and len(taken) < 40 + 6 + 2 * (2 + 1)


def test_data_samples_and_registry(folder, inferencer):
    assert INFERENCERS.get('LUSSInferencer') is LUSSInferencer
    result = inferencer(images_of(folder)[:1], return_datasamples=True)
    sample = result['predictions'][0]
    expected = inferencer(images_of(folder)[0])['predictions'][0]
    np.testing.assert_array_equal(sample.pred_sem_seg.data[0].numpy(), expected)
    assert sample.img_path == images_of(folder)[0]


def test_any_segmentor_of_mmseg(folder, tmp_path):
    config = run_config('EncoderDecoder', num_ids=21)
    run = make_run(tmp_path, kind='EncoderDecoder', num_ids=21)
    paths = images_of(folder)
    ours = LUSSInferencer(run, device='cpu')(paths)['predictions']
    for labels, expected in zip(ours, one_at_a_time(run, paths, config), strict=True):
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize('kind, name', [('DSSNSegmentor', 'student'), ('PCTSegmentor', 'hybrid')])
def test_segmentors_of_two_networks(folder, tmp_path, inferencer, kind, name):
    model = run_config().model
    inner = {key: model[key] for key in ('backbone', 'decode_head', 'train_cfg', 'test_cfg')}
    preprocessor = dict(model.data_preprocessor, type='SemiPreprocessor')
    config = run_config()
    config.model = dict(
        type=kind,
        segmentor=dict(type='EncoderDecoder', **inner),
        predict_with=name,
        data_preprocessor=preprocessor,
    )
    two = MODELS.build(config.model.copy())
    own = {k: v for k, v in inferencer.model.state_dict().items() if 'preprocessor' not in k}
    two.get_submodule(name).load_state_dict(own, strict=False)
    torch.save(dict(state_dict=two.state_dict()), tmp_path / 'two.pth')
    paths = images_of(folder)
    ours = LUSSInferencer(config, tmp_path / 'two.pth', device='cpu')(paths, batch_size=4)
    for labels, expected in zip(ours['predictions'], inferencer(paths)['predictions'], strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_label_loaders_of_all_kinds_are_left_out():
    kinds = ['LoadImageFromFile', 'LoadAnnotations', 'Resize', 'LoadLabelMap', 'PackSegInputs']
    kept = image_transforms([dict(type=kind) for kind in kinds])
    assert [transform['type'] for transform in kept] == kinds[::2]


def test_a_model_without_label_maps_is_named(folder, tmp_path, inferencer, monkeypatch):
    @MODELS.register_module(force=True)
    class NoLabelMaps(EncoderDecoder):
        def predict(self, inputs, data_samples=None):
            return data_samples

    run = make_run(tmp_path, kind='NoLabelMaps')
    with pytest.raises(ValueError, match='NoLabelMaps.predict fills no pred_sem_seg'):
        LUSSInferencer(run, device='cpu')(images_of(folder))


@pytest.mark.parametrize('names, expected', [('run', 'bee'), ('none', 'cluster 2')])
def test_names(tmp_path, names, expected):
    match = {str(i): (0, 1, 2, 3)[i] for i in range(4)}
    run = make_run(tmp_path, match=match, names=['others', 'ant', 'bee'], num_ids=4)
    inferencer = LUSSInferencer(run, device='cpu', names=names)
    assert inferencer.name_of(2) == expected
    assert inferencer.name_of(3) == 'cluster 3'  # matched to no category
    (tmp_path / 'names.json').write_text(json.dumps({'2': 'Gänse'}))
    named = LUSSInferencer(run, device='cpu', names=tmp_path / 'names.json')
    assert [named.name_of(i) for i in range(3)] == ['others', 'cluster 1', 'Gänse']


def test_config_and_checkpoint_as_in_mmseg(run, folder, inferencer):
    ours = LUSSInferencer(run_config(), run / 'finetune' / 'final.pth', device='cpu')
    path = images_of(folder)[0]
    expected = inferencer(path)['predictions'][0]
    np.testing.assert_array_equal(ours(path)['predictions'][0], expected)


def test_weights_of_another_model_are_refused(run):
    with pytest.raises(CheckpointError, match='does not fit the model'):
        LUSSInferencer(run_config(num_ids=7), run / 'finetune' / 'final.pth', device='cpu')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_agrees(run, folder, inferencer):
    paths = images_of(folder)
    there = LUSSInferencer(run, device='cuda')(paths, batch_size=4)['predictions']
    for ours, theirs in zip(there, inferencer(paths)['predictions'], strict=True):
        assert (ours != theirs).mean() < 0.01  # ties within rounding


def test_weights_are_the_runs_own(run, folder, inferencer):
    other = random_model(run_config(), seed=1)
    path = images_of(folder)[0]
    before = inferencer(path)['predictions'][0]
    state = inferencer.model.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    inferencer.model.load_state_dict(other.state_dict())
    try:
        assert (inferencer(path)['predictions'][0] != before).any()
    finally:
        inferencer.model.load_state_dict(kept)


def test_images_of_pillow_are_turned_as_files_are(inferencer, tmp_path):
    path, exif = tmp_path / 'a.png', Image.Exif()
    exif[274] = 6
    Image.fromarray(smooth_image(SIZES[0], 3)).save(path, exif=exif)
    expected = inferencer(path)['predictions'][0]
    with Image.open(path) as image:
        np.testing.assert_array_equal(inferencer(image)['predictions'][0], expected)
        np.testing.assert_array_equal(inferencer([image])['predictions'][0], expected)


@pytest.mark.parametrize('inputs', [None, [None], 3])
def test_what_is_no_image_is_one_line(inferencer, inputs):
    with pytest.raises(TypeError, match='an image is a path, an array'):
        inferencer(inputs)


def test_clusters_of_one_name_become_one(run, folder, tmp_path):
    paths = images_of(folder)[:2]
    plain = LUSSInferencer(run, device='cpu', names='none')(paths)['predictions']
    ids = np.unique(plain[0])[:2].tolist()
    (tmp_path / 'names.json').write_text(json.dumps({str(i): 'thing' for i in ids}))
    merged = LUSSInferencer(run, device='cpu', names=tmp_path / 'names.json')
    for labels, before in zip(merged(paths)['predictions'], plain, strict=True):
        expected = np.where(before == ids[1], ids[0], before)
        np.testing.assert_array_equal(labels, expected)
    assert merged.name_of(ids[0]) == 'thing'
