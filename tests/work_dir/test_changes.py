"""What becomes of outputs that were made, or begun, with other settings."""

import pytest

from luss_mm.work_dir import artifact
from luss_mm.work_dir.artifact import ChangedOutputError, on_change, produce
from luss_mm.work_dir.manifest import read_manifest


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(artifact, 'print_log', lambda text, logger: lines.append(text))
    return lines


def make(directory, **settings):
    """Number of times that the output had to be made."""
    calls = []

    def fill(unfinished):
        calls.append(unfinished)
        (unfinished / 'content.txt').write_text(str(settings))

    produce(directory, fill, {}, settings)
    return len(calls)


def begin(directory, **settings):
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(directory, interrupted, {}, settings)


def names(directory):
    return {path.name for path in directory.iterdir()}


def test_keep_goes_on_with_what_is_finished(tmp_path, said):
    directory = tmp_path / 'features'
    make(directory, size=1)
    key = read_manifest(directory)['key']
    with on_change('keep'):
        assert make(directory, size=2) == 0
        assert make(tmp_path / 'other', size=2) == 1
    assert read_manifest(directory)['key'] == key and names(tmp_path) == {'features', 'other'}
    assert said[0].endswith(
        'kept as it is (on_change=keep). Changed (old -> new):\n  settings.size: 1 -> 2'
    )
    assert make(directory, size=2) == 1  # the rule is over


def test_stop_touches_nothing(tmp_path):
    directory = tmp_path / 'features'
    make(directory, size=1)
    before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    with on_change('stop'):
        assert make(directory, size=1) == 0
        message = r'made with other inputs or settings \(settings.size: 1 -> 2\). Change them back'
        with pytest.raises(ChangedOutputError, match=message):
            make(directory, size=2)
    assert {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()} == before


def test_what_was_begun_with_other_settings_is_named(tmp_path, said):
    directory = tmp_path / 'features'
    begin(directory, size=1)
    with on_change('stop'), pytest.raises(ChangedOutputError, match=r'begun .*size: 1 -> 2\)'):
        make(directory, size=2)
    assert not said and len(names(tmp_path)) == 1
    with on_change('keep'):
        assert make(directory, size=2) == 1
    assert said[0].endswith('stays there. Changed (old -> new):\n  settings.size: 1 -> 2')
    (begun,) = tmp_path.glob('features.partial-*')
    said.clear()
    assert make(directory, size=1) == 1 and not begun.exists()  # gone on with, without a word of it
    assert not any(' was begun ' in line for line in said)


def test_stop_at_other_versions(tmp_path, monkeypatch):
    directory = tmp_path / 'features'
    make(directory, size=1)
    monkeypatch.setattr(artifact, 'installed_versions', lambda: dict(torch='99'))
    for rule in ('redo', 'keep'):
        with on_change(rule):
            assert make(directory, size=1) == 0
    with on_change('stop'), pytest.raises(ChangedOutputError, match='other versions .*torch.*99'):
        make(directory, size=1)
