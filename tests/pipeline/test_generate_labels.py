"""Label maps of a folder against one image at a time, and what errors leave behind."""

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS
from torch.nn import functional as F

from luss_mm.datasets import LUSSDataset
from luss_mm.functional.label_codec import decode_label_map
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.pipeline.features import extract_features
from luss_mm.pipeline.generate_labels import PixelLabeller, generate_labels
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.work_dir.manifest import read_manifest
from tests.models.small_sam import SIZES, write_sam
from tests.models.test_attended_inference import trained_model

SHARD, K = 4, 6
pytestmark = pytest.mark.usefixtures('mmseg_scope')


def batches_of(data_root):
    resize = dict(type='Resize', scale=(64, 40), keep_ratio=False)
    keep = dict(type='KeepLoadedImage')  # for segmenters
    pipeline = [dict(type='LoadBoundedImage'), keep, resize, dict(type='PackImage')]
    dataset = LUSSDataset(str(data_root), dict(img_path='train'), pipeline=pipeline)
    return ShardedBatches(dataset, 2, SHARD)


def centroids_of(embeddings):
    return np.array(embeddings[:K])


class Labelling:
    """Features and label maps of the small data set, and where they lie."""

    def __init__(self, data_root, out, precision='float32'):
        self.model = trained_model(data_preprocessor=dict(type='ViewsPreprocessor'))
        self.inference = AttendedInference(self.model, precision)
        self.batches = batches_of(data_root)
        self.out = out
        settings = dict(precision=precision)
        self.features = extract_features(
            out / 'features', self.inference, self.batches, {}, settings
        )
        self.settings = settings
        images = torch.stack([self.batches.dataset[i]['inputs'] for i in range(6)])
        _, scores = self.inference(self.model.data_preprocessor.normalize(images))
        self.threshold = scores.median().item()  # half is foreground

    def run(self, **transform):
        embeddings = self.features.embeddings
        transform = TRANSFORMS.build(dict(type='GeneratePseudoLabel') | transform)
        centroids = centroids_of(embeddings)
        labeller = PixelLabeller(self.inference, centroids, self.threshold, transform)
        return generate_labels(
            self.out / 'labels', labeller, self.batches, embeddings, {}, self.settings
        )

    @torch.no_grad()
    def slow_label(self, index):
        """Cosine on enlarged features; scores and labels drawn large pixel by pixel."""
        sample = self.batches.dataset[index]
        image = self.model.data_preprocessor.normalize(sample['inputs'][None])
        features, gates = self.model.attend(image)
        centroids = torch.from_numpy(centroids_of(self.features.embeddings))
        cosine = F.cosine_similarity(features[0][None], centroids[:, :, None, None])  # (K, h, w)
        labels = cosine.argmax(0) + 1
        height, width = sample['ori_shape']
        score = F.interpolate(gates.mean(1)[:, None], (height, width), mode='bilinear')[0, 0]
        result = np.zeros((height, width), np.int64)
        for y in range(height):
            for x in range(width):
                if score[y, x] >= self.threshold:
                    row = int((y + 0.5) * labels.shape[0] / height)
                    column = int((x + 0.5) * labels.shape[1] / width)
                    result[y, x] = labels[row, column]
        return result


def read(path):
    return decode_label_map(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1])


def maps_in(folder):
    return {path.name: read(path) for path in sorted(folder.rglob('*.png'))}


def test_equals_one_image_at_a_time(data_root, tmp_path):
    labelling_run = Labelling(data_root, tmp_path)
    folder = labelling_run.run()
    shown = set()
    for index in range(6):
        path = (folder / labelling_run.batches.dataset.relative_path(index)).with_suffix('.png')
        expected = labelling_run.slow_label(index)
        assert (read(path) == expected).mean() > 0.999  # a score may round to the threshold
        shown |= set(np.unique(expected))
    assert len(shown) > 2 and 0 in shown


def test_uo_sam_refines_the_label_maps_of_a_folder(data_root, tmp_path):
    write_sam(tmp_path / 'small.pth')
    segmenter = dict(type='SAMSegmenter', checkpoint=tmp_path / 'small.pth', model_type=SIZES)
    run = Labelling(data_root, tmp_path)
    folder = run.run(type='OrganizePseudoLabel', segmenter=segmenter, points_per_side=2)
    manifest = read_manifest(folder)
    assert manifest['used_sam'] and manifest['settings']['transform']['method'] == 'UO-SAM'
    for index in range(6):
        labels = read((folder / run.batches.dataset.relative_path(index)).with_suffix('.png'))
        assert labels.shape == run.slow_label(index).shape and labels.max() <= K


def test_the_precision_is_part_of_the_key_and_changes_little(data_root, tmp_path):
    exact, rounded = (
        Labelling(data_root, tmp_path / precision, precision)
        for precision in ('float32', 'bfloat16')
    )
    folders = exact.run(), rounded.run()
    keys = [read_manifest(folder)['key'] for folder in folders]
    assert keys[0] != keys[1]
    first, second = (maps_in(folder) for folder in folders)
    assert first.keys() == second.keys()
    assert np.mean([(first[name] == second[name]).mean() for name in first]) > 0.85
    cosine = (exact.features.embeddings * rounded.features.embeddings).sum(1)
    assert cosine.min() > 0.999 and cosine.min() < 1
