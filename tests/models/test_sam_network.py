import pickle
import subprocess
import sys

import pytest
import torch
from segment_anything import sam_model_registry

from luss_mm.models.segmenters import SAMSegmenter, SegmenterError, sam_segmenter
from luss_mm.models.segmenters.sam_segmenter import SIZES as PUBLISHED
from luss_mm.models.segmenters.sam_segmenter import build_sam
from tests.models.small_sam import SIZES, random_image, write_sam


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('sam') / 'small.pth'
    write_sam(path)
    return path


def segmenter_of(checkpoint, **settings):
    return SAMSegmenter(checkpoint, model_type=SIZES, **settings)


@pytest.mark.parametrize('name', PUBLISHED)
def test_sizes_are_those_of_segment_anything(name):
    with torch.device('meta'):
        ours, theirs = build_sam(PUBLISHED[name]), sam_model_registry[name]()
    assert str(ours) == str(theirs)
    shapes = [{k: v.shape for k, v in sam.state_dict().items()} for sam in (ours, theirs)]
    assert shapes[0] == shapes[1]
    for ours_block, theirs_block in zip(
        ours.image_encoder.blocks, theirs.image_encoder.blocks, strict=True
    ):
        assert ours_block.window_size == theirs_block.window_size
        assert ours_block.attn.scale == theirs_block.attn.scale
    for ours_part, theirs_part in zip(ours.modules(), theirs.modules(), strict=True):
        assert getattr(ours_part, 'num_heads', None) == getattr(theirs_part, 'num_heads', None)
        assert getattr(ours_part, 'eps', None) == getattr(theirs_part, 'eps', None)
    assert torch.equal(ours.pixel_mean, theirs.pixel_mean)
    assert torch.equal(ours.pixel_std, theirs.pixel_std)


class Danger:
    def __reduce__(self):
        return (print, ('executed',))


def refusal(segmenter):
    """The message of check, which must also be that of encode."""
    with pytest.raises(SegmenterError) as checked:
        segmenter.check()
    with pytest.raises(SegmenterError) as encoded:
        segmenter.encode([random_image((8, 8))])
    assert str(checked.value) == str(encoded.value)
    return str(checked.value)


@pytest.mark.parametrize('share', [0, 0.1, 0.5, 0.99])
def test_truncated_checkpoint(checkpoint, tmp_path, share):
    content = checkpoint.read_bytes()
    (tmp_path / 'cut.pth').write_bytes(content[: int(share * len(content))])
    message = refusal(segmenter_of(tmp_path / 'cut.pth'))
    assert 'cut.pth: refused: damaged, cut short' in message and 'Copy it again' in message


def test_checkpoint_that_executes_code(tmp_path, capsys):
    torch.save(dict(a=Danger()), tmp_path / 'bad.pth')
    (tmp_path / 'pickle.pth').write_bytes(pickle.dumps(dict(a=Danger()), protocol=2))
    for name in ('bad.pth', 'pickle.pth'):
        assert 'refused' in refusal(segmenter_of(tmp_path / name))
    assert 'executed' not in capsys.readouterr().out


def test_missing_checkpoint_names_key_and_address(tmp_path):
    message = refusal(SAMSegmenter(tmp_path / 'no.pth'))
    assert "no.pth: no such SAM checkpoint (key 'checkpoint'" in message
    assert 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth' in message


def test_wrong_keys_and_wrong_sizes_are_named(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    del state['prompt_encoder.no_mask_embed.weight']
    torch.save({**state, 'more': torch.ones(2)}, tmp_path / 'keys.pth')
    message = refusal(segmenter_of(tmp_path / 'keys.pth'))
    assert '2 of' in message and 'more: file (2,), model nothing' in message
    assert 'prompt_encoder.no_mask_embed.weight: file nothing, model (1, 32)' in message
    message = refusal(SAMSegmenter(checkpoint, model_type={**SIZES, 'patch_size': 16}))
    assert 'does not fit model_type' in message
    torch.save(dict(model=state), tmp_path / 'nested.pth')
    assert 'Save the state dict alone' in refusal(segmenter_of(tmp_path / 'nested.pth'))


def test_published_checkpoint_of_another_type(checkpoint, monkeypatch):
    monkeypatch.setitem(sam_segmenter.SIZES, 'vit_l', sam_segmenter.resolve_sizes(SIZES))
    message = refusal(SAMSegmenter(checkpoint, model_type='vit_b'))
    assert "holds SAM vit_l, but another is configured. Set model_type='vit_l'" in message


WITHOUT_PACKAGE = """
import sys
import luss_mm.models.segmenters as segmenters
assert not any(name.partition('.')[0] == 'segment_anything' for name in sys.modules)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name == 'segment_anything' else found(name, *rest)
)
segmenter = segmenters.SAMSegmenter('x.pth')
try:
    segmenter.check()
except segmenters.SegmenterError as error:
    print(error)
"""


def test_segment_anything_is_imported_late_and_asked_for(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_PACKAGE], capture_output=True, text=True, check=True
    )
    assert "pip install 'segment-anything==1.0', or use GrabCutSegmenter" in done.stdout
