"""Pieces of an interrupted output that were lost or cut are found and made again, and no others."""

import json

import numpy as np
import pytest
import torch
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from luss_mm.datasets import LUSSDataset
from luss_mm.inference.infer_folder import FolderInference
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.models import ViewsPreprocessor
from luss_mm.pipeline import check_images as checking
from luss_mm.pipeline import features as network_outputs
from luss_mm.pipeline.check_images import CheckedDataset, check_images
from luss_mm.pipeline.features import ScoringRule, extract_features, score_images
from luss_mm.pipeline.image_batches import JOINED, ShardedBatches
from luss_mm.pipeline.reference_features import extract_references, label_by_references
from luss_mm.pipeline.tagged_labels import NumberedImages, generate_tagged_labels
from luss_mm.work_dir.artifact import FinishedShards
from luss_mm.work_dir.manifest import MANIFEST
from tests.engine.small_run import make_run
from tests.pipeline import test_feature_maps as maps_of
from tests.pipeline.test_generate_labels import Labelling
from tests.pipeline.test_image_scores import make_classifier
from tests.pipeline.test_reference_features import make_extractor
from tests.pipeline.test_tagged_labels import PACKING, labeller
from tests.tiny_layout import write_image

NUMBER, SHARD = 10, 3  # four shards, the last of one image
DAMAGED = 1  # number of the shard


class Noise(Dataset):
    """Noise images."""

    def __len__(self):
        return NUMBER

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        inputs = torch.randint(256, (3, 32, 32), generator=generator, dtype=torch.uint8)
        return dict(inputs=inputs, index=index, ori_shape=(32, 32), class_label=index % 4)


class Averages(torch.nn.Module):
    """Stands for a network: colour averages as embeddings, brightness as foreground score."""

    data_preprocessor = ViewsPreprocessor()

    def forward(self, images, features=None):
        return images.mean((2, 3)), torch.sigmoid(images.mean(1))


def features(folder):
    batches = ShardedBatches(Noise(), 2, SHARD)
    extract_features(folder / 'out', Averages(), batches, {}, {})


def scores(folder):
    torch.manual_seed(0)
    batches = ShardedBatches(Noise(), 2, SHARD)
    score_images(folder / 'out', make_classifier(), batches, ScoringRule(), {})


# --- Each prepares what its step needs in a folder and returns the step. --------------------------


def make_features(data_root, folder):
    return features


def make_scores(data_root, folder):
    return scores


def make_maps(data_root, folder):
    model = maps_of.AttendedInference(
        maps_of.trained_model(data_preprocessor=dict(type='ViewsPreprocessor'))
    )
    batches = maps_of.batches_of(data_root)
    return lambda out: maps_of.cache(out / 'out', model, batches)


def make_labels(data_root, folder):
    run = Labelling(data_root, folder)

    def step(out):
        run.out = out
        run.run()

    return step


def batches_with_masks(data_root):
    prefix = dict(img_path='validation', seg_map_path='validation-segmentation')
    masks = dict(type='LoadLabelMap', match_image=False)
    pipeline = [dict(type='LoadBoundedImage'), masks, dict(type='PackImage')]
    return ShardedBatches(LUSSDataset(str(data_root), prefix, pipeline=pipeline), 2, 2)


def make_references(data_root, folder):
    batches, extractor = batches_with_masks(data_root), make_extractor(upsample=16)
    return lambda out: extract_references(out / 'out', extractor, batches, {}, {})


def make_votes(data_root, folder):
    extractor = make_extractor(upsample=16)
    references = extract_references(folder, extractor, batches_with_masks(data_root), {}, {})
    batches = maps_of.batches_of(data_root)
    arguments = extractor, batches, references, {}, {}
    return lambda out: label_by_references(out / 'out', *arguments)


def make_tagged_labels(data_root, folder):
    part = dict(type='LUSSDataset', data_root=str(data_root))
    load, mask = dict(type='LoadBoundedImage'), dict(type='LoadLabelMap', match_image=False)
    tag = [dict(type='SetImageTags'), dict(type='MarkValidPixels'), PACKING]
    prefix = dict(img_path='validation', seg_map_path='validation-segmentation')
    labelled = dict(part, data_prefix=prefix, pipeline=[load, mask, *tag])
    tagged = dict(part, data_prefix=dict(img_path='train'), tags='folders', pipeline=[load, *tag])
    dataset = DATASETS.build(dict(type='SemiDataset', labelled=labelled, unlabelled=tagged))
    batches, made = ShardedBatches(NumberedImages(dataset), 2, SHARD), labeller()
    return lambda out: generate_tagged_labels(out / 'out', made, batches, {}, {})


def make_check(data_root, folder):
    dataset = LUSSDataset(str(data_root), dict(img_path='train'))
    (data_root / 'train' / 'ant' / 'train_ant_1.JPEG').write_bytes(b'bad')
    return lambda out: check_images(out / 'out', dict(train=CheckedDataset(dataset)), {})


def make_inference(data_root, folder):
    images = folder / 'images'
    for number in range(NUMBER):
        colours = np.random.default_rng(number).integers(0, 256, (40, 40, 3))
        write_image(images / f'{number}.png', colours)
    (images / '4.png').write_bytes(b'bad')
    inferencer = LUSSInferencer(make_run(folder / 'run'), device='cpu')
    job = FolderInference(inferencer, images, shard_size=SHARD)
    return lambda out: job.write(out / 'out')


def contents(folder):
    """Every file of the only output in a folder but its manifest and hidden ones."""
    (output,) = folder.iterdir()
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob('*')
        if path.is_file()
        and path.name != MANIFEST
        and not any(part.startswith('.') for part in path.relative_to(output).parts)
    }


MAKERS = {
    'features': make_features,
    'scores': make_scores,
    'maps': make_maps,
    'labels': make_labels,
    'references': make_references,
    'votes': make_votes,
    'tagged labels': make_tagged_labels,
    'image check': make_check,
    'inference': make_inference,
}
DAMAGES = dict(
    empty=lambda path: path.write_bytes(b''),
    cut=lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    gone=lambda path: path.unlink(),
)


@pytest.mark.usefixtures('mmseg_scope')
@pytest.mark.parametrize(  # every step, and every damage of one: what finds it is the same
    ('name', 'damage'),
    [*((name, 'cut') for name in MAKERS), ('labels', 'empty'), ('labels', 'gone')],
)
def test_exactly_the_damaged_shard_is_made_again(data_root, tmp_path, monkeypatch, name, damage):
    """All shards were finished when the power was lost; then one file after another is damaged."""
    monkeypatch.setattr(checking, 'SHARD_SIZE', 2)
    step = MAKERS[name](data_root, tmp_path / 'prepared')
    added, add = [], FinishedShards.add
    kill_after = None

    def note(finished, shard, *record, **content):
        add(finished, shard, *record, **content)
        added.append(shard)
        if len(added) == kill_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(FinishedShards, 'add', note)
    step(tmp_path / 'whole')
    expected = contents(tmp_path / 'whole')
    *shards, last = added
    shards += [last] * (last != JOINED)
    assert len(shards) > DAMAGED

    def killed(number):
        nonlocal kill_after
        added.clear()
        kill_after = number
        with pytest.raises(KeyboardInterrupt):
            step(tmp_path / 'damaged')

    killed(len(shards))
    (partial,) = (tmp_path / 'damaged').iterdir()
    damaged = shards[DAMAGED]
    record = partial / '.finished-shards' / f'{damaged}.json'
    files = [partial / file for file in json.loads(record.read_text())['files']]
    assert bool(files) == (name != 'image check')
    for path in (*files, record):
        DAMAGES[damage](path)
        killed(1)
        assert added == [damaged]
    added.clear()
    kill_after = None
    step(tmp_path / 'damaged')
    assert added == [JOINED] * (last == JOINED)
    assert contents(tmp_path / 'damaged') == expected


@pytest.mark.parametrize(
    'make, joining, file',
    [
        (features, '_join_features', 'embeddings.npy'),
        (scores, '_join_scores', 'losses.npy'),
        (scores, '_join_scores', 'labels.npy'),
    ],
)
def test_a_cut_join_of_shards_is_made_again(tmp_path, monkeypatch, make, joining, file):
    make(tmp_path / 'whole')
    join = getattr(network_outputs, joining)

    def interrupt(*args):
        join(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(network_outputs, joining, interrupt)
        make(tmp_path / 'cut')
    (piece,) = (tmp_path / 'cut').glob(f'*.partial-*/{file}')
    DAMAGES['cut'](piece)
    make(tmp_path / 'cut')
    assert contents(tmp_path / 'cut') == contents(tmp_path / 'whole')


def test_a_record_of_another_version_is_none(tmp_path):
    finished = FinishedShards(tmp_path)
    finished.add(3, content=dict(images=2))
    assert 3 in finished and finished.content(3) == dict(images=2)
    (tmp_path / '.finished-shards' / '3.json').write_text('{"images": 2}')
    assert 3 not in finished


def test_a_removed_piece_takes_its_files_along_at_any_moment(tmp_path):
    finished = FinishedShards(tmp_path)
    files = [tmp_path / 'a' / 'b.png', tmp_path / 'c.png']
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'content')
    finished.add('x', files)
    files[0].unlink()  # as if a kill had interrupted the removal
    for _ in range(2):
        finished.remove('x')
        assert 'x' not in finished and not files[1].exists()
