import json
import re
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from luss_mm.visualization.report import report_is_current, write_report
from luss_mm.visualization.report.clusters import use_of
from luss_mm.visualization.report.run_files import FinishedRun
from luss_mm.visualization.report.scores import (
    PairCounts,
    ScoredRun,
    match_rows,
    read_evaluation,
    top_confusions,
)

from .made_up_run import NASTY, make_run

VOID = {'meta', 'link', 'input', 'img', 'br'}


class Page(HTMLParser):
    """Elements with their attributes; every element must be closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ''
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {'style', 'script'} & set(self.open):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('report'))


@pytest.fixture(scope='module')
def written(run):
    return write_report(run, {'pretrain, view 1': np.array([9, 1, 0, 0])}).read_text()


@pytest.fixture(scope='module')
def page(written):
    return Page(written)


def test_every_part_is_there(page):
    sections = [attributes['id'] for attributes in page.all('section')]
    assert len(sections) == 14 and 'Left out. Nobody measured it' in page.text
    assert 'Left out. The run did not look for bad images' in page.text
    assert page.text.count('Left out.') == 2
    links = [attributes['href'] for attributes in page.all('a')]
    assert [f'#{section}' for section in sections] == links[1 : 1 + len(sections)]
    ids = [attributes['id'] for _, attributes in page.elements if 'id' in attributes]
    assert len(ids) == len(set(ids))


def test_names_are_text_and_nothing_else(written, page):
    for name in NASTY:
        assert name not in written and name in page.text
    assert '<img src=x>/000000.jpg' in page.text  # a folder's name
    assert [a for a in page.all('img') if a['src'] == 'x'] == []
    assert len(page.all('script')) == 1 and not page.all('b')


def test_the_page_needs_nothing_else(written, run):
    assert list((run / 'report').iterdir()) == [run / 'report' / 'index.html']
    assert not re.search(r'(https?:)?//[a-z]', re.sub(r'"data:[^"]*"', '', written))


def test_pictures_are_lazy_sized_and_described(page):
    images = page.all('img')
    assert len(images) == 3 * 4 + 15  # cluster 2 is empty
    for attributes in images:
        assert attributes['src'].startswith('data:image/') and attributes['loading'] == 'lazy'
        assert int(attributes['width']) > 0 and int(attributes['height']) > 0 and attributes['alt']


def test_many_pictures_lie_beside_the_page(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run', symlinks=True)
    page = Page(write_report(copy, largest_page=0).read_text())
    sources = {attributes['src'] for attributes in page.all('img')}
    files = {f'pictures/{path.name}' for path in (copy / 'report' / 'pictures').iterdir()}
    assert sources == files and len(files) == 27
    assert 'move both together' in page.text


def test_a_moved_run_without_its_images_says_so(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'moved', symlinks=True)
    settings = json.loads((copy / 'recipe.json').read_text())
    (copy / 'recipe.json').write_text(json.dumps(settings | dict(data_root=str(tmp_path / 'gone'))))
    page = Page(write_report(copy).read_text())
    assert f'Left out. The images are no longer in {tmp_path}/gone/train.' in page.text
    assert '000004_000004' in page.text  # strips without their folders


def test_other_training_images_than_were_clustered(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run', symlinks=True)
    assignment = np.load(copy / 'csd_clusters' / 'assignment.npy')
    np.save(copy / 'csd_clusters' / 'assignment.npy', assignment[1:])
    assert 'were made of 99 training images; there are 100 now' in write_report(copy).read_text()


def test_a_run_without_masks(tmp_path):
    page = Page(write_report(make_run(tmp_path, scored=False)).read_text())
    assert page.text.count('Nothing was scored: the run had no masks.') == 5
    assert 'Labels looked at' in page.text and 'Cluster 5' in page.text
    assert 'these are training images' in page.text and '<img src=x>/000004.jpg' in page.text
    assert 'Best and worst' not in page.text


def test_an_evaluation_without_image_counts_says_how_to_get_them(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run', symlinks=True)
    (copy / 'finetune' / 'evaluation' / 'image_counts.0.jsonl').unlink()
    page = Page(write_report(copy).read_text())
    assert page.text.count('python tools/test.py STAGE/config.py') == 2
    assert 'Best and worst are left out' in page.text


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no finished stage'):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_earlier_report(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run', symlinks=True)
    before = write_report(copy).read_text()
    (copy / 'finetune' / 'evaluation' / 'image_counts.0.jsonl').write_text('damaged')
    with pytest.raises(ValueError, match='line 1: damaged'):
        write_report(copy)
    assert (copy / 'report' / 'index.html').read_text() == before
    assert not list(copy.glob('.report*'))


def test_a_report_is_current_until_an_output_changes(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run', symlinks=True)
    assert not report_is_current(copy / 'nowhere')
    write_report(copy)
    assert report_is_current(copy)
    manifest = json.loads((copy / 'threshold' / 'manifest.json').read_text())
    (copy / 'threshold' / 'manifest.json').write_text(json.dumps(manifest | dict(key='another')))
    assert not report_is_current(copy)


def test_outputs_are_in_the_order_of_their_making(run):
    names = list(FinishedRun.read(run).manifests)
    assert names == [
        *('features', 'clusters', 'pretrain', 'attention', 'dff_f'),
        *('csd_clusters', 'threshold', 'pseudo_labels', 'finetune'),
    ]
    assert FinishedRun.read(run).last == 'finetune'


def test_collapse_raises_the_alarm(page):
    assert use_of('a', [10, 10, 10], 0.5, False).alarm is False
    assert use_of('a', [20, 10, 0], 0.5, False).alarm is True  # one is empty
    assert use_of('a', [20, 10, 0], 0.5, True).alarm is False
    assert use_of('a', [98, 1, 1], 0.5, False).alarm is True
    assert 'Collapse alarm' in page.text  # cluster 2 of the run is empty


def evaluation_of(images, pixels, category_of, rule='image_hungarian'):
    names = ['others', *(f'c{i}' for i in range(1, len(pixels[0]))), 'no category']
    counts = PairCounts(np.array(pixels), np.array(images), np.array(images).max(axis=1))
    scores = dict(matching=rule, matching_rule='rule')
    return ScoredRun(scores, np.array(category_of), names, counts)


def test_the_runner_up_is_the_best_other_category():
    images = [[9, 9, 9], [9, 3, 5], [9, 4, 0], [9, 0, 0]]
    rows = match_rows(evaluation_of(images, images, [0, 1, 2, 3]))
    assert [row[:2] + row[3:] for row in rows] == [
        (1, 'c1', 3, 'c2', 5, True),  # the other shares more
        (2, 'c2', 0, 'c1', 4, True),
        (3, 'no category', 0, None, 0, False),
    ]


def test_pixels_count_where_the_rule_counts_pixels():
    images, pixels = [[1, 1], [1, 1]], [[1, 1], [1, 70]]
    (row,) = match_rows(evaluation_of(images, pixels, [0, 1], 'majority'))
    assert row.shared == 70 and row.runner_up is None


def test_confusions_are_counted_after_matching():
    pixels = [[100, 7, 0], [5, 60, 30], [0, 3, 50], [2, 0, 20]]
    confusions = top_confusions(evaluation_of(pixels, pixels, [0, 1, 2, 3]))
    found = [(c.kind, c.truth, c.predicted, c.pixels) for c in confusions]
    assert found == [
        ('category', 'c2', 'c1', 30),
        ('category', 'c2', 'no category', 20),
        ('category', 'c1', 'c2', 3),
        ('missed', 'c1', 'others', 7),
        ('false', 'others', 'c1', 5),
        ('false', 'others', 'no category', 2),
    ]
    assert confusions[0].share == 30 / 100 and confusions[3].share == 7 / 70


def test_image_counts_add_up(run):
    evaluation = read_evaluation(FinishedRun.read(run))
    lines = (run / 'finetune/evaluation/image_counts.0.jsonl').read_text().splitlines()
    pixels = np.zeros((6, 6), int)
    for record in map(json.loads, lines):
        for cluster, row in zip(record['clusters'], record['pixels'], strict=True):
            for category, amount in zip(record['categories'], row, strict=True):
                pixels[cluster, category] += amount
    np.testing.assert_array_equal(evaluation.counts.pixels, pixels)


def test_a_run_that_has_probably_failed_says_so_first(tmp_path):
    run = make_run(tmp_path)
    outcomes = {'images': 100, 'mean foreground in %': 1.5, 'median foreground in %': 0.5}
    (run / 'pseudo_labels' / 'outcomes.json').write_text(json.dumps(outcomes))
    text = Page(write_report(run).read_text()).text
    assert text.index('Probably failed.') < text.index('0.5% of the median image is foreground')
    assert '1.5% of pseudo-labels' in text and 'of predictions (validation images)' in text


def test_label_quality_has_its_table_and_chart(tmp_path):
    run = make_run(tmp_path)
    folder = run / 'label_quality' / 'validation'
    steps = {'k-means': {'cluster accuracy': 50.0}, 'prediction': {'cluster accuracy': None}}
    quality = dict(split='validation', steps=steps, used_ground_truth='masks')
    folder.mkdir(parents=True)
    (folder / 'quality.json').write_text(json.dumps(quality))
    assert 'Looked at: masks.' in Page(write_report(run).read_text()).text  # an older one: no chart
    cv2.imwrite(str(folder / 'steps.png'), np.zeros((8, 8, 3), np.uint8))
    page = Page(write_report(run).read_text())
    assert 'mIoU of validation from step to step' in [i['alt'] for i in page.all('img')]
    assert re.search(r'prediction\s*-', page.text)
