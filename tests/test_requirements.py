from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SETUP = ConfigParser()
SETUP.read(ROOT / 'setup.cfg')
EXTRAS = SETUP['options.extras_require']
LINES = (ROOT / 'requirements.txt').read_text().splitlines() + EXTRAS['photos'].splitlines()
REQUIREMENTS = [Requirement(line) for line in LINES if line and not line.startswith('#')]
LOWER, UPPER = {'>=', '==', '~='}, {'<', '<=', '==', '~='}


@pytest.mark.parametrize('requirement', REQUIREMENTS, ids=lambda r: r.name)
def test_every_package_is_bounded_on_both_sides(requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators & LOWER and operators & UPPER, f'{requirement}: needs >= and <'


@pytest.mark.parametrize('requirement', REQUIREMENTS, ids=lambda r: r.name)
def test_the_tests_run_within_the_bounds(requirement):
    names = [requirement.name, requirement.name.replace('faiss-gpu', 'faiss-cpu')]
    found = []
    for name in names:
        try:
            found.append(version(name))
        except PackageNotFoundError:
            pass
    assert found and found[0] in requirement.specifier, f'{requirement}: found {found}'
