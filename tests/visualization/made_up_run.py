"""The work directory of a finished PDSO run that never ran, of any number of clusters."""

import json
from pathlib import Path

import cv2
import numpy as np

from luss_mm.visualization.pictures import save_picture
from luss_mm.visualization.run_pictures import STRIPS, strip_name
from luss_mm.work_dir.manifest import MANIFEST

NASTY = ('<script>alert(1)</script>', 'a & "b"', "it's <b>bold</b>")  # names of the first classes
STAGES = ('pretrain', 'attention', 'dff_f', 'finetune')
BETWEEN = ('features', 'clusters', 'csd_clusters', 'threshold', 'pseudo_labels')
IMAGES_PER_CLUSTER = 20
VALIDATION = 30


def make_run(root, num_clusters=5, scored=True, different_images=12):
    """Write a run.

    Args:
        root: Gets `run` and `data`.
        num_clusters: K, of clusters and of categories.
        scored: Whether there were masks.
        different_images: Training images that are files of their own; the others are links.

    Returns:
        The work directory.
    """
    rng = np.random.default_rng(0)
    run, data = Path(root, 'run'), Path(root, 'data')
    num_images = IMAGES_PER_CLUSTER * num_clusters
    write_images(data, num_images, different_images, rng)
    for number, name in enumerate([*BETWEEN[:2], *STAGES[:3], *BETWEEN[2:], 'finetune']):
        (run / name).mkdir(parents=True)
        write_manifest(run / name, number, scored)
    for name in STAGES:
        (run / name / 'config.py').write_text('raise RuntimeError("nobody executes this")')
        write_losses(run / name, rng)
    settings = dict(data_root=str(data), seed=7, work_dir=str(run))
    (run / 'recipe.json').write_text(json.dumps(settings))
    write_clusters(run / 'clusters', num_clusters, num_images, rng)
    write_clusters(run / 'csd_clusters', num_clusters, num_images, rng, dropped=True)
    counts = rng.normal(0.5, 0.1, 100_000)
    np.save(run / 'features' / 'foreground_score_counts.npy', np.histogram(counts, 1000, (0, 1))[0])
    (run / 'threshold' / 'threshold.json').write_text('{"rule": "otsu", "threshold": 0.5}')
    (run / 'pseudo_labels' / 'outcomes.json').write_text('{"images": 100, "images kept_coarse": 3}')
    (run / 'pretrain' / 'prototype_use.json').write_text('[[9, 1, 0, 0]]')
    if scored:
        write_evaluation(run / 'finetune' / 'evaluation', data, num_clusters, rng)
    for index in range(0, VALIDATION, 2):
        strip = rng.integers(0, 255, (60, 300, 3), np.uint8)
        save_picture(run / 'pictures' / STRIPS / strip_name(index, f'{index:06d}.jpg'), strip)
    return run


def class_names(num_clusters):
    plain = (f'category {number}' for number in range(len(NASTY) + 1, num_clusters + 1))
    return ['others', *NASTY[:num_clusters], *plain]


def write_images(data, num_images, different, rng):
    for split, count in (('train', num_images), ('validation', VALIDATION)):
        folder = data / split / '<img src=x>'
        folder.mkdir(parents=True)
        for number in range(count):
            path = folder / f'{number:06d}.jpg'
            if number < different or split == 'validation':
                grey = rng.integers(0, 255, (8, 8, 3), np.uint8)
                cv2.imwrite(str(path), cv2.resize(grey, (90, 70)))
            else:
                path.symlink_to(folder / f'{number % different:06d}.jpg')


def write_manifest(directory, number, scored):
    is_last = directory.name == 'finetune'
    settings = dict(train_dataloader=dict(dataset=dataset('train'))) if is_last else {}
    if is_last and scored:
        settings['val_dataloader'] = dict(dataset=dataset('validation'))
    elif is_last:
        hook = dict(type='PicturesHook', unscored_dataset=dataset('train'))
        settings['custom_hooks'] = [hook]
    inputs = dict(features='key-features') if number else dict(task={'of': 'many'})
    if directory.name == 'pseudo_labels':
        inputs['clusters'] = 'key-csd_clusters'
    manifest = dict(
        key=f'key-{directory.name}',
        inputs=inputs,
        settings=settings,
        used_ground_truth=['validation masks: matching'] if is_last and scored else [],
        used_sam=directory.name == 'pseudo_labels',
        seconds=12.3 * number**3,
        finished=f'2026-01-01 10:{number:02d}:00',
        versions=dict(luss_mm='0.1.0'),
    )
    (directory / MANIFEST).write_text(json.dumps(manifest))


def dataset(split):
    return dict(data_root='<data_root>', data_prefix=dict(img_path=split))


def write_losses(stage, rng):
    folder = stage / '20260101_100000' / 'vis_data'
    folder.mkdir(parents=True)
    values = np.exp(-np.arange(400) / 100) + 0.05 * rng.random(400)
    lines = [
        json.dumps(dict(loss=v, loss_part=v / 2, iter=i, step=i)) for i, v in enumerate(values)
    ]
    (folder / 'scalars.json').write_text('\n'.join(lines))


def write_clusters(directory, num_clusters, num_images, rng, dropped=False):
    assignment = rng.permutation(np.arange(num_images, dtype=np.int32) % num_clusters)
    assignment[assignment == 1] = 0  # cluster 2 is empty
    np.save(directory / 'assignment.npy', assignment)
    np.save(directory / 'squared_distances.npy', rng.random(num_images, np.float32))
    np.save(directory / 'centroids.npy', np.zeros((num_clusters, 4), np.float32))
    if dropped:
        np.save(directory / 'kept.npy', rng.random(num_images) < 0.6)
        np.save(directory / 'quality.npy', rng.random(num_images, np.float32))


def write_evaluation(directory, data, num_clusters, rng):
    directory.mkdir()
    names = class_names(num_clusters)
    match = {str(cluster): cluster for cluster in range(num_clusters + 1)}
    scores = dict(
        {'mIoU': 24.5, 'b-mIoU': 10.0, 'ImgAcc': 50.0, 'F-beta': 48.0},
        **dict(S=None, MS=20.0, ML=30.0, L=40.0, BS=None, BMS=1.0, BML=2.0, BL=3.0),
        size_classes=dict(S=0, MS=3, ML=3, L=3),
        num_images=VALIDATION,
        num_clusters=num_clusters,
        num_categories=num_clusters,
        matching='image_hungarian',
        matching_rule='one to one',
        unmatched_clusters=[],
        per_class=[
            {'id': i, 'name': n, 'clusters': [i], 'IoU': 100 - i * 100 / len(names), 'b-IoU': 1.0}
            for i, n in enumerate(names)
        ],
    )
    (directory / 'scores.json').write_text(json.dumps(scores))
    (directory / 'match.json').write_text(json.dumps(match))
    lines = []
    for index, path in enumerate(sorted((data / 'validation').rglob('*.jpg'))):
        right = 60 * index
        own, other = 1 + index % num_clusters, 1 + (index + 1) % num_clusters
        clusters = sorted({0, own, other})
        pixels = [[1000, 0] if c == 0 else [10, right if c == own else 900] for c in clusters]
        line = dict(image=str(path), clusters=clusters, categories=[0, own], pixels=pixels)
        lines.append(json.dumps(line))
    (directory / 'image_counts.0.jsonl').write_text('\n'.join(lines) + '\n')
