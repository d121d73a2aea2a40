import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from luss_mm.visualization.report import report_is_current, write_report

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
    return write_report(run).read_text()


@pytest.fixture(scope='module')
def page(written):
    return Page(written)


def test_every_part_is_there(page):
    sections = [attributes['id'] for attributes in page.all('section')]
    assert len(sections) == 14 and 'Left out. Nobody measured it' in page.text
    assert 'Left out. The run did not look for bad images' in page.text
    assert (
        page.text.count('Left out.') == 2 and 'Use of the prototypes: pretrain, view 1' in page.text
    )
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


def test_many_pictures_lie_beside_the_page(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'run', symlinks=True)
    page = Page(write_report(copy, largest_page=0).read_text())
    images = {attributes['src'] for attributes in page.all('img')}
    sources = {source for source in images if not source.startswith('data:image/svg')}
    files = {f'pictures/{path.name}' for path in (copy / 'report' / 'pictures').iterdir()}
    assert sources == files and len(files) == 27
    assert 'move both together' in page.text


def test_a_run_without_masks(tmp_path):
    page = Page(write_report(make_run(tmp_path, scored=False)).read_text())
    assert page.text.count('Nothing was scored: the run had no masks.') == 5
    assert 'Labels looked at' in page.text and 'Cluster 5' in page.text
    assert 'these are training images' in page.text and '<img src=x>/000004.jpg' in page.text
    assert 'Best and worst' not in page.text


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


def test_a_run_that_has_probably_failed_says_so_first(tmp_path):
    run = make_run(tmp_path)
    outcomes = {'images': 100, 'mean foreground in %': 1.5, 'median foreground in %': 0.5}
    (run / 'pseudo_labels' / 'outcomes.json').write_text(json.dumps(outcomes))
    text = Page(write_report(run).read_text()).text
    assert text.index('Probably failed.') < text.index('0.5% of the median image is foreground')
    assert '1.5% of pseudo-labels' in text and 'of predictions (validation images)' in text
