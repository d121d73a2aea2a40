import pytest

from luss_mm.imagenet_s import lists as imagenet_s_lists
from luss_mm.imagenet_s.lists import NUM_IMAGES, read_list
from tests.imagenet_s.miniature_ilsvrc import PLAIN, WNIDS


def change(s50, split, old, new):
    path = s50.lists / imagenet_s_lists.LIST_FILES[split].format(subset=50)
    path.write_text(path.read_text().replace(old, new, 1))


def test_both_formats_of_train_semi(s50):
    two = read_list(s50.lists, 50, 'train-semi')
    for image in two:
        change(s50, 'train-semi', f' {image.mask}', '')
    assert read_list(s50.lists, 50, 'train-semi') == two
    assert [i.source for i in two] == [f'{w}/{w}_0.JPEG' for w in WNIDS]


def test_source_is_the_prefix_of_the_file_in_train_semi(s50):
    change(
        s50,
        'train-semi',
        f'{PLAIN}/{PLAIN}_0.JPEG {PLAIN}/{PLAIN}_0.png',
        f'{PLAIN}/n04356056_7.JPEG',
    )
    image = read_list(s50.lists, 50, 'train-semi')[-1]
    assert (image.source, image.target, image.mask) == (
        'n04356056/n04356056_7.JPEG',
        f'{PLAIN}/n04356056_7.JPEG',
        f'{PLAIN}/n04356056_7.png',
    )


@pytest.mark.parametrize(
    'split, old, new, message',
    [
        ('test', f' {PLAIN}/', ' ../../', 'line 4: .*is not <wnid>'),
        ('test', f' {PLAIN}/', ' n00000001/', 'line 4: n00000001 is no category'),
        ('test', f' {PLAIN}/', ' ', 'line 4'),
        ('train-semi', f'{PLAIN}_0.png', f'{PLAIN}_1.png', 'is not the mask'),
        ('train-semi', f'/{PLAIN}_0.JPEG', '/photo.JPEG', 'does not begin with a wnid'),
        ('validation', '\n', '\n\n', None),
    ],
)
def test_malformed_lines_are_named(s50, split, old, new, message):
    change(s50, split, old, new)
    if message is None:  # an empty line is none
        assert len(read_list(s50.lists, 50, split)) == s50.counts[split]
        return
    with pytest.raises(ValueError, match=message):
        read_list(s50.lists, 50, split)


def test_as_many_as_published(s50, monkeypatch):
    monkeypatch.setitem(NUM_IMAGES, 50, s50.counts | {'test': 1682})
    with pytest.raises(ValueError, match='lists 4 images, test of ImageNet-S50 has 1,682'):
        read_list(s50.lists, 50, 'test')


def test_a_repeated_image_is_named(s50):
    path = s50.lists / imagenet_s_lists.LIST_FILES['test'].format(subset=50)
    first, _, *rest = path.read_text().splitlines()
    path.write_text('\n'.join([first, first, *rest]))
    with pytest.raises(ValueError, match='line 2: .* listed twice'):
        read_list(s50.lists, 50, 'test')
