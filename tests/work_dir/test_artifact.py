import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.dist import barrier

from luss_mm.version import __version__
from luss_mm.work_dir import artifact
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.atomic_files import temporary_path
from luss_mm.work_dir.manifest import artifact_key, read_manifest
from tests.two_ranks import run_on_two_ranks

INPUTS = dict(images='abc', model='def')


class Maker:
    """Fills a directory with one file and notes every call."""

    def __init__(self, content='made'):
        self.content = content
        self.calls = []

    def __call__(self, directory):
        self.calls.append(visible(directory))
        (directory / 'content.txt').write_text(self.content)


def visible(directory):
    return sorted(p.name for p in directory.iterdir() if not p.name.startswith('.'))


def make(directory, content, **settings):
    maker = Maker(content)
    assert produce(directory, maker, INPUTS, settings) == directory
    return maker


def tree(root):
    return {str(p.relative_to(root)) for p in root.rglob('*') if p.is_file()}


def content(directory):
    return (directory / 'content.txt').read_text()


def test_made_once(tmp_path):
    directory = tmp_path / 'deep' / 'features'
    assert make(directory, 'first', size=1).calls == [[]]
    assert make(directory, 'second', size=1).calls == []
    assert content(directory) == 'first'
    assert tree(tmp_path) == {'deep/features/content.txt', 'deep/features/manifest.json'}


def test_an_interrupted_make_goes_on_in_its_directory(tmp_path):
    directory = tmp_path / 'features'

    def interrupted(unfinished):
        (unfinished / 'shard-0').write_text('expensive')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(directory, interrupted, INPUTS, dict(size=1))
    assert not directory.exists()
    with pytest.raises(FileNotFoundError, match='features: not a finished output'):
        read_manifest(directory)
    other = make(directory, 'other settings', size=2)  # does not see the unfinished files
    assert other.calls == [[]]
    assert make(directory, 'resumed', size=1).calls == [['shard-0']]
    assert (directory / 'shard-0').read_text() == 'expensive'
    assert not list(tmp_path.glob('*partial*'))


def test_changed_settings_set_the_old_output_aside_and_bring_it_back(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(artifact, 'print_log', lambda text, logger: said.append(text))
    directory = tmp_path / 'features'
    make(directory, 'small', model=dict(depth=18), epochs=3)
    small_key = read_manifest(directory)['key']
    assert not said
    make(directory, 'large', model=dict(depth=50), epochs=3)
    (explanation,) = said
    assert explanation.endswith('Changed (old -> new):\n  settings.model.depth: 18 -> 50')
    assert f'kept as features.{small_key}' in explanation
    assert content(directory) == 'large'
    assert content(tmp_path / f'features.{small_key}') == 'small'
    everything = tree(tmp_path)

    assert make(directory, 'never', model=dict(depth=18), epochs=3).calls == []
    assert f'taken up again from features.{small_key}' in said[-1]
    assert content(directory) == 'small'
    assert {Path(p).name for p in tree(tmp_path)} == {Path(p).name for p in everything}
    assert len(tree(tmp_path)) == len(everything)


@pytest.mark.parametrize('changed', ['inputs', 'settings', 'seed'])
def test_every_part_of_the_recipe_counts(tmp_path, changed):
    recipe = dict(inputs=dict(images='a'), settings=dict(size=1), seed=0)
    produce(tmp_path / 'out', Maker(), **recipe)
    recipe[changed] = 5 if changed == 'seed' else dict(recipe[changed], more=2)
    maker = Maker()
    produce(tmp_path / 'out', maker, **recipe)
    assert len(maker.calls) == 1


def test_a_strange_directory_does_not_stop_an_output_from_coming_back(tmp_path):
    directory = tmp_path / 'out'
    make(directory, 'first', number=1)
    make(directory, 'second', number=2)
    directory.rename(tmp_path / 'elsewhere')
    directory.mkdir()
    (directory / 'mine.txt').write_text('a stranger')
    assert make(directory, 'never', number=1).calls == []
    assert content(directory) == 'first'
    assert len(list(tmp_path.glob('out.foreign-*/mine.txt'))) == 1


def test_manifest(tmp_path):
    directory = produce(
        tmp_path / 'out',
        Maker(),
        dict(images='abc'),
        dict(path=Path('a/b'), sizes=(1, 2), nested={3: None}),
        seed=7,
        used_ground_truth=('validation masks: threshold',),
        used_sam=True,
    )
    manifest = read_manifest(directory)
    assert manifest['inputs'] == dict(images='abc')
    assert manifest['settings'] == {'path': 'a/b', 'sizes': [1, 2], 'nested': {'3': None}}
    assert manifest['seed'] == 7 and manifest['used_sam'] is True
    assert manifest['used_ground_truth'] == ['validation masks: threshold']
    assert manifest['versions']['luss_mm'] == __version__
    assert manifest['versions']['torch'] == torch.__version__
    assert re.fullmatch(r'[0-9a-f]{12}', manifest['key'])
    recipe = {name: manifest[name] for name in ('inputs', 'settings', 'seed')}
    assert artifact_key(recipe) == manifest['key']  # the manifest explains its own name
    assert manifest['seconds'] >= 0 and manifest['finished'].startswith('20')
    plain = read_manifest(produce(tmp_path / 'plain', Maker(), {}, {}))
    assert plain['used_ground_truth'] == [] and plain['used_sam'] is False


def test_what_has_no_lasting_name_is_refused():
    """An address would make every process start from nothing, unnoticed."""
    for value in (object(), repr(object()), [dict(deep=str(Maker()))], lambda: 0):
        with pytest.raises(TypeError, match='describe it by its config'):
            artifact_key(dict(settings=dict(transforms=value)))
    artifact_key(dict(settings=dict(path=Path('x'), text='<b> at 0x12 <c>')))


def test_killed_between_manifest_and_rename(tmp_path, monkeypatch):
    directory = tmp_path / 'features'
    with monkeypatch.context() as patch:
        patch.setattr(artifact.os, 'rename', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(directory, 'first', size=1)
    assert not directory.exists()
    assert make(directory, 'again', size=1).calls == [['content.txt', 'manifest.json']]
    assert content(directory) == 'again'


def test_what_a_kill_left_is_not_in_the_output(tmp_path):
    directory = tmp_path / 'labels'

    def leave(unfinished):
        temporary_path(unfinished / 'n01' / 'a.png').parent.mkdir()
        temporary_path(unfinished / 'n01' / 'a.png').touch()
        (unfinished / '.finished-shards').mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(directory, leave, {}, {})
    found = []
    produce(directory, lambda unfinished: found.extend(tree(unfinished)), {}, {})
    assert found == ['.recipe.json'] and tree(tmp_path) == {'labels/manifest.json'}
    assert (directory / '.finished-shards').is_dir()


def _produce_on_a_rank(rank, root):
    """Twice the same, then other settings; what each call had to make."""
    made = []

    def maker(unfinished):
        made.append(rank)
        (unfinished / f'rank-{rank}').write_text('x')

    counts = []
    for size in (1, 1, 2, 1):
        directory = produce(Path(root) / 'out', maker, INPUTS, dict(size=size))
        counts.append(len(made))
        assert sorted(p.name for p in directory.iterdir()) == ['manifest.json', 'rank-0', 'rank-1']
        barrier()  # the next call may rename what the other rank looks at
    return counts, json.loads((directory / 'manifest.json').read_text())['settings']


def test_two_ranks_produce_together(tmp_path):
    for counts, settings in run_on_two_ranks(_produce_on_a_rank, str(tmp_path)):
        assert counts == [1, 1, 2, 2] and settings == dict(size=1)
    assert len(list(tmp_path.iterdir())) == 2
