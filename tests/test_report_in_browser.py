"""The report as people use it: in a headless Chromium, from disk, by mouse, keys and words.

Skipped where there is no browser. LUSS_BROWSER names one that must be there.
"""

import os
import shutil

import pytest

from luss_mm.visualization.report import write_report
from tests.visualization.made_up_run import NASTY, make_run

playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = os.environ.get('LUSS_BROWSER') or next(filter(None, map(shutil.which, BROWSERS)), None)
ARGUMENTS = ('--no-sandbox', '--disable-gpu', '--disable-background-networking')
NUM_CLUSTERS = 6
ALL = f'{NUM_CLUSTERS} of {NUM_CLUSTERS}'
LOADED = '[...document.images].filter((image) => image.complete && image.naturalWidth).length'
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f'no browser: {", ".join(BROWSERS)}')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('browser'), NUM_CLUSTERS)


@pytest.fixture(scope='module')
def address(run):
    return write_report(run).as_uri()


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens a page; what it says, asks or fetches from elsewhere fails the test in the end."""
    contexts, complaints = [], []

    def open_(address=address, **settings):
        context = browser.new_context(**dict(viewport=dict(width=1280, height=900)) | settings)
        contexts.append(context)
        page = context.new_page()
        page.on('console', lambda message: complaints.append(message.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('dialog', lambda dialog: complaints.append(f'dialog {dialog.message}'))
        page.on('requestfailed', lambda request: complaints.append(f'failed {request.url}'))
        page.on(
            'request',
            lambda request: (
                request.url.startswith(('file:', 'data:'))
                or complaints.append(f'request {request.url}')
            ),
        )
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def shown(page, target):
    """Texts of the rows or cards that are visible."""
    items = page.locator(f'#{target} [data-text]')
    return [' '.join(i.text_content().split()) for i in items.all() if i.is_visible()]


def count(page, target):
    return page.locator(f'output[data-target="{target}"]').inner_text()


def column(page, table, number):
    return page.locator(f'#{table} tbody tr > :nth-child({number})').all_inner_texts()


# ---------------------------------------------------------------- search, filter, sort


def test_search_narrows_clusters_by_name_and_number(open_page):
    page = open_page()
    field = page.get_by_label('Search clusters')
    assert count(page, 'cluster-cards') == ALL
    field.fill('BÓLD cluster')  # neither case nor accents matter, all words must fit
    (card,) = shown(page, 'cluster-cards')
    assert f'Cluster 3 → {NASTY[2]}' in card and count(page, 'cluster-cards') == f'1 of {ALL[5:]}'
    field.fill('nobody')
    assert shown(page, 'cluster-cards') == []
    field.press('Escape')
    assert len(shown(page, 'cluster-cards')) == NUM_CLUSTERS and field.input_value() == ''


def test_a_heading_sorts_its_column_both_ways(open_page):
    page = open_page()
    heading = page.locator('#class-table th', has=page.get_by_role('button', name='IoU')).first
    before = [float(text) for text in column(page, 'class-table', 3)]
    heading.get_by_role('button').click()
    assert [float(text) for text in column(page, 'class-table', 3)] == sorted(before)[::-1]
    assert heading.get_attribute('aria-sort') == 'descending'
    heading.get_by_role('button').click()
    assert [float(text) for text in column(page, 'class-table', 3)] == sorted(before)
    assert heading.get_attribute('aria-sort') == 'ascending'
    assert page.locator('#class-table [aria-sort]').count() == 1


# ---------------------------------------------------------------- keys and words


def test_all_works_by_keys(open_page):
    page = open_page()
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.className') == 'skip'
    assert page.locator('.skip').bounding_box()['x'] >= 0
    page.keyboard.press('Enter')
    assert page.evaluate('document.activeElement.id') == 'content'
    page.keyboard.press('/')
    assert page.evaluate('document.activeElement.dataset.target') == 'cluster-cards'
    page.keyboard.type('a/')  # within a field it is a letter
    assert page.get_by_label('Search clusters').input_value() == 'a/'
    button = page.locator('#class-table').get_by_role('button', name='b-IoU')
    button.focus()
    page.keyboard.press('Enter')
    assert page.locator('#class-table th[aria-sort=descending]').inner_text().startswith('b-IoU')


def test_a_screen_reader_finds_its_way(open_page):
    page = open_page()
    assert page.get_by_role('heading', level=1).count() == 1
    parts = page.locator('main section').count()
    assert page.get_by_role('heading', level=2).count() == parts > 10
    assert page.get_by_role('navigation', name='Contents').get_by_role('link').count() == parts
    named = (
        """(e) => e.alt || e.ariaLabel || e.labels?.[0] || (e.type === 'button' && e.textContent)"""
    )
    things = 'input, select, button, img, svg, .scroll'
    every = f'[...document.querySelectorAll("{things}")]'
    assert page.evaluate(f'{every}.filter((e) => !({named})(e)).map((e) => e.outerHTML)') == []
    assert page.evaluate(f'{every}.length') > 50
    assert page.locator('html').get_attribute('lang') == 'en'


def test_without_script_everything_is_shown(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator('#cluster-cards article').count() == NUM_CLUSTERS
    assert not page.get_by_label('Search clusters').is_visible()
    assert page.locator('#class-table tbody tr').last.is_visible()


# ---------------------------------------------------------------- looks


# ---------------------------------------------------------------- pictures


def test_pictures_beside_the_page_are_loaded_when_they_come_into_view(run, open_page):
    page = open_page(write_report(run, largest_page=0).as_uri())
    assert page.evaluate(LOADED) < page.evaluate('document.images.length')
    first = page.locator('#cluster-cards img').first
    first.scroll_into_view_if_needed()
    page.wait_for_function(
        'image => image.complete && image.naturalWidth > 0', arg=first.element_handle()
    )
