"""A finished stage in mmseg's own tools and functions, which know nothing of recipes."""

from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot
from mmseg.registry import DATASETS, MODELS, TRANSFORMS, VISUALIZERS

from luss_mm.evaluation import UnsupervisedIoUMetric
from luss_mm.evaluation.cluster_names import run_names
from luss_mm.functional.label_codec import category_palette
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.recipes.stage_config import bounded_loading, plain_loading
from tests import small_recipe
from tests.killable_tools import run_tool
from tests.tiny_layout import write_image

MIM = Path(mmseg.__file__).parent / '.mim'
TOOLS = MIM / 'tools'
# A config of mmseg whose data sets, loading and metric are ours, on the label maps of a run.
PLAIN = """
_base_ = {runtime!r}
custom_imports = dict(imports=['luss_mm'], allow_failed_imports=False)
bn, size = dict(type='BN'), (48, 48)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=size, seg_pad_val=1000),
    backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4, norm_cfg=bn),
    decode_head=dict(type='FCNHead', in_channels=32, in_index=3, channels=8, num_convs=1,
                     num_classes={num_ids}, ignore_index=1000, norm_cfg=bn),
    test_cfg=dict(mode='whole'))
load = [dict(type='LoadImageFromFile'), dict(type='LoadLabelMap')]
mask = dict(type='LoadLabelMap', match_image=False)
test_pipeline = [load[0], dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type='InfiniteSampler'),
    dataset=dict(type='RepeatDataset', times=2, dataset=dict(
        type='LUSSDataset', data_root={run!r},
        data_prefix=dict(img_path='data/train', seg_map_path='pseudo_labels'),
        pipeline=[*load, dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')])))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='LUSSDataset', data_root={data!r}, categories='folders', test_mode=True,
        data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
        pipeline=[load[0], mask, dict(type='PackSegInputs')]))
test_evaluator = dict(type='UnsupervisedIoUMetric', num_clusters={num_ids} - 1)
test_cfg = dict(type='TestLoop')
tta_model = dict(type='SegTTAModel')
tta_pipeline = [load[0], dict(type='TestTimeAug', transforms=[
    [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0., 1.)],
    [mask], [dict(type='PackSegInputs')]])]
custom_hooks = [dict(type='ClassNamesHook')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=3)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.01))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False),
                     visualization=dict(type='SegVisualizationHook'))
"""
NUM_IDS = small_recipe.NUM_CATEGORIES + 1


@pytest.fixture(scope='module')
def stage():
    return small_recipe.finished_run() / 'finetune'


@pytest.fixture(scope='module')
def image(stage):
    return str(next(iter(sorted(stage.parent.glob('data/validation/*/*')))))


def files_of(run):
    return {path: path.stat().st_mtime_ns for path in sorted(run.rglob('*'))}


@pytest.fixture(autouse=True)
def nothing_is_written_into_the_run(stage):
    before = files_of(stage.parent)
    yield
    assert files_of(stage.parent) == before


def load(stage, **options):
    return init_model(str(stage / 'config.py'), str(stage / 'final.pth'), 'cpu', options or None)


def test_init_model_and_inference_model_on_a_file_and_an_array(stage, image):
    expected = LUSSInferencer(stage, device='cpu')(image)['predictions'][0]
    model = load(stage)
    from_file = inference_model(model, image).pred_sem_seg.data[0]
    np.testing.assert_array_equal(from_file.numpy(), expected)
    from_array = inference_model(model, cv2.imread(image))
    np.testing.assert_array_equal(from_array.pred_sem_seg.data[0].numpy(), expected)
    assert 'seg_logits' not in from_array


def test_names_and_colours_are_those_of_the_matched_categories(stage, image, tmp_path):
    model = load(stage)
    names = run_names(stage)
    assert len(names) == NUM_IDS  # every cluster is matched
    assert list(model.dataset_meta['classes']) == [names[i] for i in range(NUM_IDS)]
    assert model.dataset_meta['palette'] == category_palette(NUM_IDS).tolist()
    out = tmp_path / 'drawn.jpg'
    show_result_pyplot(model, image, inference_model(model, image), show=False, out_file=str(out))
    assert out.is_file()


def test_the_inferencer_of_mmseg(stage, image):
    inferencer = MMSegInferencer(str(stage / 'config.py'), str(stage / 'final.pth'), device='cpu')
    expected = LUSSInferencer(stage, device='cpu')(image)['predictions'][0]
    result = inferencer(image, return_vis=True)
    np.testing.assert_array_equal(result['predictions'], expected)
    assert result['visualization'].shape == cv2.imread(image).shape
    np.testing.assert_array_equal(inferencer(cv2.imread(image))['predictions'], expected)
    assert 'road' not in inferencer.visualizer.dataset_meta['classes']


def test_the_inferencer_of_mmseg_writes_no_ids_that_8_bits_cut(stage, image, tmp_path):
    inferencer = MMSegInferencer(str(stage / 'config.py'), str(stage / 'final.pth'), device='cpu')
    predicted = inferencer(image, out_dir=str(tmp_path / 'few'))['predictions']
    written = cv2.imread(str(next((tmp_path / 'few/pred').iterdir())), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, predicted)
    names = [f'cluster {i}' for i in range(300)]
    inferencer.model.dataset_meta |= dict(classes=names, palette=category_palette(300).tolist())
    with pytest.raises(ValueError, match='out_dir: MMSegInferencer saves .* 8 bits.* 300 ids'):
        inferencer(image, out_dir=str(tmp_path / 'many'))
    assert not list((tmp_path / 'many').rglob('*.png'))
    np.testing.assert_array_equal(inferencer(image, return_vis=True)['predictions'], predicted)


def test_browsing_draws_what_the_stage_learnt_from(stage, tmp_path):
    """As mmseg's browse_dataset.py does; label maps of clusters have no names."""
    config = Config.fromfile(stage / 'config.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        sample = DATASETS.build(config.train_dataloader.dataset)[0]
        visualizer = VISUALIZERS.build(config.visualizer | dict(vis_backends=[], save_dir=None))
    visualizer.dataset_meta = {}
    image, drawn = sample['inputs'].permute(1, 2, 0).numpy(), tmp_path / 'drawn.png'
    labels = sample['data_samples'].numpy()
    visualizer.add_datasample('image', image, labels, draw_pred=False, out_file=str(drawn))
    shown, ids = cv2.imread(str(drawn)), labels.gt_sem_seg.data[0]
    colours = {tuple(c) for c in shown[ids == ids.max()]}
    assert shown.shape == image.shape and colours != {(0, 0, 0)}


def test_the_tool_that_tests(stage, tmp_path):
    arguments = [stage / 'config.py', stage / 'final.pth', '--work-dir', tmp_path / 'work']
    extra = ['--show-dir', tmp_path / 'shown', '--out', tmp_path / 'out']
    output = run_tool(TOOLS / 'test.py', *arguments, *extra, log=tmp_path / 'log')
    scores = small_recipe.final_scores(stage.parent)
    assert f'mIoU: {scores["mIoU"]:.4f}' in output
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 13
    assert len(list((tmp_path / 'shown').rglob('vis_image/*.png'))) == 13
    assert 'mIoU: ' in run_tool(TOOLS / 'test.py', *arguments, '--tta', log=tmp_path / 'log')


def test_all_tools_on_a_plain_config_with_our_parts(stage, image, tmp_path):
    config, work_dir = tmp_path / 'plain.py', tmp_path / 'work'
    runtime, run = str(MIM / 'configs/_base_/default_runtime.py'), str(stage.parent)
    data = str(stage.parent / 'data')
    config.write_text(PLAIN.format(runtime=runtime, run=run, data=data, num_ids=NUM_IDS))
    weights = work_dir / 'iter_3.pth'
    # Without a GPU mixed precision is what the machine has.
    for tool, *extra in ((TOOLS / 'train.py',), (Path('tools/train.py'), '--amp')):
        weights.unlink(missing_ok=True)
        run_tool(tool, config, '--work-dir', work_dir, *extra, log=tmp_path / 'log')
        assert weights.is_file()
    scores = set()
    for number, tool in enumerate((TOOLS / 'test.py', Path('tools/test.py'))):
        out, shown = tmp_path / f'out{number}', tmp_path / f'shown{number}'
        arguments = [config, weights, '--work-dir', work_dir, '--tta']
        extra = ['--show-dir', shown, '--out', out]
        output = run_tool(tool, *arguments, *extra, log=tmp_path / 'log')
        scores |= {output.partition('mIoU: ')[2].split()[0]}
        assert len(list(out.rglob('*.png'))) == len(list(shown.rglob('vis_image/*.png'))) == 13
    assert len(scores) == 1
    model = init_model(str(config), str(weights), 'cpu')
    predicted = inference_model(model, image).pred_sem_seg.data[0].numpy()
    inferred = MMSegInferencer(str(config), str(weights), device='cpu')(image)['predictions']
    np.testing.assert_array_equal(inferred, predicted)
    out = str(tmp_path / 'drawn.jpg')
    show_result_pyplot(model, image, inference_model(model, image), show=False, out_file=out)
    assert model.dataset_meta['classes'][1] == 'cluster 1'


def test_augmentation_is_the_mean_of_an_image_and_its_mirror_image(stage, image):
    config = Config.fromfile(stage / 'config.py')
    model = load(stage, **{'model.seg_logits': True})
    plain = inference_model(model, image).seg_logits.data.softmax(dim=0)
    mirrored = inference_model(model, np.ascontiguousarray(cv2.imread(image)[:, ::-1]))
    expected = plain + mirrored.seg_logits.data.softmax(dim=0).flip(-1)
    augmented = MODELS.build(config.tta_model | dict(module=load(stage))).eval()
    pipeline = [t for t in config.tta_pipeline if t['type'] != 'TestTimeAug']
    steps = [s for s in config.tta_pipeline[-1].transforms if s[0]['type'] != 'LoadLabelMap']
    results = dict(img_path=image)
    for transform in [*pipeline, dict(type='TestTimeAug', transforms=steps)]:
        results = TRANSFORMS.build(transform)(results)
    batch = {key: [[value] for value in values] for key, values in results.items()}
    with torch.no_grad():
        merged = augmented.test_step(batch)[0]
    torch.testing.assert_close(merged.pred_sem_seg.data.squeeze(0), expected.argmax(dim=0))


@pytest.mark.parametrize(
    'tool', [TOOLS / 'train.py', pytest.param(Path('tools/train.py'), marks=pytest.mark.slow)]
)
def test_the_tool_that_trains(stage, tmp_path, tool):
    work_dir = tmp_path / 'again'
    run_tool(tool, stage / 'config.py', '--work-dir', work_dir, log=tmp_path / 'log')
    ours = small_recipe.weights(stage.parent, 'finetune')
    theirs = torch.load(work_dir / 'epoch_3.pth', weights_only=False)['state_dict']
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize('max_side', [30, None])
def test_plain_loading_gives_the_same_pixels(image, tmp_path, mmseg_scope, max_side):
    pipeline = [dict(type='LoadBoundedImage', max_side=max_side), dict(type='PackSegInputs')]
    plain = plain_loading(pipeline)
    assert plain[0]['type'] == 'LoadImageFromFile' and bounded_loading(plain) == pipeline
    line = tmp_path / 'line.png'
    write_image(line, np.zeros((1, 700, 3), np.uint8))
    for path in (image, str(line)):
        results = [dict(img_path=path), dict(img_path=path)]
        for result, transforms in zip(results, (pipeline, plain), strict=True):
            for transform in transforms[:-1]:
                result.update(TRANSFORMS.build(transform)(result))
        np.testing.assert_array_equal(results[0].pop('img'), results[1].pop('img'))
        assert results[0] == results[1]


@pytest.mark.parametrize('kind', ['LUSSDataset', 'BaseSegDataset'])
def test_mmsegs_loader_of_masks_is_refused_where_they_hold_ids_in_colours(data_root, kind):
    suffixes = dict(img_suffix='.JPEG', metainfo=dict(classes=('others', 'ant', 'bee')))
    dataset = dict(
        type=kind,
        data_root=str(data_root),
        data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        **(suffixes if kind == 'BaseSegDataset' else {}),
    )
    metric = UnsupervisedIoUMetric(2, 2)
    message = r'colours, but holds id = R \+ 256 \* G: put LoadLabelMap in the place'
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(ValueError, match=message):
        sample = DATASETS.build(dataset)[0]['data_samples']
        sample.pred_sem_seg = PixelData(data=torch.zeros(1, *sample.ori_shape, dtype=torch.int64))
        metric.process(None, [sample.to_dict()])
