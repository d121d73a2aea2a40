import cv2
import pytest
from mmengine.config import Config

from luss_mm.recipes.recipe import Recipe
from tests.engine.test_browse_samples import recipe


@pytest.fixture
def config(data_root, tmp_path):
    path = tmp_path / 'recipe.py'
    recipe(data_root, tmp_path / 'run').dump(path)
    return path


def test_pictures_of_a_recipe_and_of_its_finished_stage(call_tool, config, tmp_path, capsys):
    call_tool('browse_dataset', config, '--count', 3, '--epoch', 2)
    folder = tmp_path / 'run' / 'browse' / 'pretrain-epoch-2'
    files = sorted(folder.iterdir())
    printed = capsys.readouterr().out
    assert len(files) == 3 and f'3 pictures: {folder}' in printed and 'pass 2' in printed
    stage = tmp_path / 'run' / 'pretrain'
    Config(Recipe(Config.fromfile(config)).stage('pretrain', stage)).dump(tmp_path / 'stage.py')
    options = '--count', 3, '--epoch', 2, '--out', tmp_path / 'again'
    call_tool('browse_dataset', tmp_path / 'stage.py', *options)
    again = sorted((tmp_path / 'again').iterdir())
    assert [f.name for f in files] == [f.name for f in again]
    for ours, theirs in zip(files, again, strict=True):
        assert (cv2.imread(str(ours)) == cv2.imread(str(theirs))).all()
