"""What mim expects of an installed package: configs, tools and model index in `.mim`."""

from configparser import ConfigParser
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parent.parent
FOLDER = REPOSITORY / 'luss_mm' / '.mim'


def test_the_package_takes_them_along():
    setup = ConfigParser()
    setup.read(REPOSITORY / 'setup.cfg')
    assert '.mim/**/*' in setup['options.package_data']['luss_mm']


def test_every_config_of_the_index_is_found_from_there():
    index = yaml.safe_load((FOLDER / 'model-index.yml').read_text())
    metafiles = [yaml.safe_load((FOLDER / name).read_text()) for name in index['Import']]
    configs = [model['Config'] for metafile in metafiles for model in metafile['Models']]
    assert len(configs) > 20
    assert [config for config in configs if not (FOLDER / config).is_file()] == []


def test_no_two_configs_have_one_name():
    """`mim train luss_mm luss/pass_s50.py` looks for the last part of the path anywhere."""
    names = [path.name for path in (FOLDER / 'configs').resolve().rglob('*.py')]
    assert len(names) > 100 and len({*names}) == len(names)
