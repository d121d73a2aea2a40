import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from luss_mm.models.segmenters import SAMSegmenter
from luss_mm.models.segmenters.sam_network import SAMSizes
from luss_mm.models.segmenters.sam_segmenter import BoxPrompt
from tests.models.small_sam import SIZES, prompt

TOOL = Path(__file__).parents[2] / 'tools' / 'train_small_sam.py'
SETTINGS = (
    '--steps 6 --images-per-step 2 --prompts-per-image 2 --num-validation 3 --image-size 64 '
    '--encoder-channels 16 --encoder-depth 2 --encoder-heads 2 --prompt-channels 32 --warmup 2'
).split()


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('train_small_sam', TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules['train_small_sam'] = module  # its dataclasses look there for their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules['train_small_sam']


def test_scenes_show_what_is_prompted_for(tool):
    for seed in range(30):
        scene = tool.draw_scene(np.random.default_rng(seed), 96, num_prompts=3)
        assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
        assert len(scene.masks) == len(scene.boxes) == len(scene.points) == 3
        for mask, box, ((x, y),) in zip(scene.masks, scene.boxes, scene.points, strict=True):
            assert mask.mean() >= tool.MIN_AREA and mask[int(y), int(x)]
            rows, columns = np.argwhere(mask).T
            exact = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
            sides = np.tile(exact[2:] - exact[:2] + 1, 2)
            assert (np.abs(box - exact) <= 2 * tool.BOX_ERROR * sides + 1e-3).all()
            assert (box >= 0).all() and (box <= 95).all()


def test_loss_equals_the_sum_over_masks_by_hand(tool):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4, 3, 5, 5, generator=generator)
    quality = torch.rand(4, 3, generator=generator)
    targets = torch.rand(4, 5, 5, generator=generator)
    total = 0
    for prompt_logits, prompt_quality, target in zip(logits, quality, targets, strict=True):
        losses, errors = [], []
        for one, guess in zip(prompt_logits, prompt_quality, strict=True):
            share = 1 / (1 + (-one).exp())
            entropy = -(target * share.log() + (1 - target) * (1 - share).log()).mean()
            dice = 1 - (2 * (share * target).sum() + 1) / (share.sum() + target.sum() + 1)
            losses.append(entropy + dice)
            first, second = one > 0, target > 0.5
            errors.append((guess - (first & second).sum() / (first | second).sum()) ** 2)
        total += min(losses) + sum(errors) / 3
    torch.testing.assert_close(tool.mask_loss(logits, quality, targets), total / 4)


def test_both_passes_are_those_of_the_segmenter(tool, tmp_path):
    torch.manual_seed(0)
    sam = tool.build_sam(SAMSizes(**SIZES)).eval()
    torch.save(sam.state_dict(), tmp_path / 'small.pth')
    segmenter = SAMSegmenter(tmp_path / 'small.pth', SIZES)
    scene = tool.draw_scene(np.random.default_rng(0), 64, num_prompts=3)
    encoded = segmenter.encode([scene.image])[0]
    for with_point in (False, True):
        with torch.no_grad():
            passes = tool.run_both_passes(sam, [scene], [with_point])
        assert passes.first[0].shape == (3, 3, 32, 32)
        points = [tuple(p[0].tolist()) if with_point else None for p in scene.points]
        for box, point, logits in zip(scene.boxes, points, passes.second[0], strict=True):
            with torch.inference_mode():
                ours = segmenter._decode_twice(encoded, [BoxPrompt(0, box, point)])
            torch.testing.assert_close(ours[0], logits, rtol=0, atol=1e-4)


def test_a_few_steps_make_a_checkpoint_that_loads(tool, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'out' / 'small.pth'
    monkeypatch.setattr(sys, 'argv', ['train_small_sam.py', str(path), *SETTINGS])
    tool.main()
    description = json.loads(path.with_suffix('.json').read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == description['iou']
    assert set(description['iou']) == {'box', 'first_pass', 'second_pass'}
    assert sorted(p.name for p in path.parent.iterdir()) == ['small.json', 'small.pth']
    segmenter = SAMSegmenter(path, description['sizes'])
    segmenter.check()
    image = np.zeros((40, 50, 3), np.uint8)
    (mask,) = segmenter.segment(segmenter.encode([image])[0], [prompt((40, 50), (0, 0, 1, 1))])
    assert mask.shape == (40, 50)


def test_every_weight_that_the_segmenter_uses_is_trained(tool):
    sizes = SAMSizes(**SIZES)
    torch.manual_seed(0)
    before = {name: p.clone() for name, p in tool.build_sam(sizes).named_parameters()}
    training = tool.Training(steps=2, images_per_step=4, prompts_per_image=2, weight_decay=0.0)
    after = dict(tool.train(sizes, training).named_parameters())
    unused = {'prompt_encoder.point_embeddings.0.weight', 'prompt_encoder.not_a_point_embed.weight'}
    kept = {name for name in before if torch.equal(before[name], after[name])}
    # Of the three masks, only those that were the best of a prompt have learnt.
    alternatives = {
        name for name in before if 'hypernetworks_mlps' in name and 'mlps.0' not in name
    }
    assert kept - alternatives == unused and kept & alternatives < alternatives


def test_training_lowers_the_loss_and_repeats_itself(tool, capsys):
    training = tool.Training(steps=3, images_per_step=1, prompts_per_image=2, warmup=3)
    printed = []
    for steps in (30, 3, 3):
        tool.train(SAMSizes(**SIZES), replace(training, steps=steps))
        printed.append(capsys.readouterr().out)
    first, last = (float(text.split()[-1]) for text in printed[1::-1])
    assert last < first - 0.05
    assert printed[1] == printed[2]
