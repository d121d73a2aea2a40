import pytest

from luss_mm.recipes.settings import Settings, SettingsError, did_you_mean

VALUES = dict(
    number=14,
    rate=0.5,
    flag=True,
    nothing=None,
    name='ant',
    sizes=(1, 2),
    backbone=dict(type='ResNet', depth='${depth}', inner=dict(sides=['${number}', 3])),
    depth=18,
    data_root='${name}/data',
    train='${data_root}/train',
)


@pytest.fixture
def settings():
    return Settings(VALUES)


@pytest.mark.parametrize('name', ['number', 'rate', 'flag', 'nothing', 'name', 'sizes'])
def test_a_whole_reference_keeps_its_type(settings, name):
    found = settings.resolve(f'${{{name}}}')
    assert found == VALUES[name] and type(found) is type(VALUES[name])


@pytest.mark.parametrize(
    ('expression', 'value'),
    [
        ('number + 1', 15),
        ('number - 1', 13),
        ('number * 2', 28),
        ('number / 4', 3.5),
        ('number // 4', 3),
        ('1 + number * 2', 29),
        ('(1 + number) * 2', 30),
        ('number > 0', True),
        ('number > 14', False),
        ('backbone.depth // 2', 9),
        ('  number  ', 14),
        ('3', 3),
        ("number if flag else 'none'", 14),
        ("'a' if nothing else 'b'", 'b'),
        ('backbone.depth if number > 20 else None', None),
        ('name', 'ant'),
    ],
)
def test_arithmetic_and_choices(settings, expression, value):
    found = settings.resolve(f'${{{expression}}}')
    assert found == value and type(found) is type(value)


def test_a_choice_refers_to_both_of_its_branches():
    settings = Settings(dict(use_it=False, it=dict(a='${b}'), b=1, other=[2]))
    assert settings.resolve('${it if use_it else other}') == [2]
    assert not settings.unused()
    with pytest.raises(SettingsError, match="'gone', which is not set"):
        settings.resolve('${gone if use_it else other}')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('${nmber}', "stages.a refers to the setting 'nmber', which is not set; .* 'number'"),
        ('${something_else}', "'something_else', which is not set$"),
        ('x/${backbne.depth}', "did you mean 'backbone'"),
        ('${backbone.dept}', 'stages.a: backbone.dept does not exist'),
        ('${number.depth}', 'number.depth does not exist'),
        ('${number + name}', 'stages.a: number . name: unsupported operand'),
        ('${number / 0}', 'stages.a: number / 0: division by zero'),
        ('${number // (number - 14)}', 'stages.a: .*zero'),
        ('${number +}', 'is not a reference'),
        ('${number ** 2}', 'only names, numbers'),
        ('${-1}', 'only names, numbers'),
        ('${sizes[0]}', 'only names, numbers'),
        ("${__import__('os').system('true')}", 'only names, numbers'),
        ('${name < 3}', 'only names, numbers'),
        ('${number', 'stages.a: .*unfinished reference'),
        ('a ${} b', 'unfinished reference'),
    ],
)
def test_mistakes_name_their_place(settings, value, message):
    with pytest.raises(SettingsError, match=message):
        settings.resolve(value, 'stages.a')


def test_places_inside_of_structures_are_named(settings):
    with pytest.raises(SettingsError, match=r'stages\.a\.model\.heads\[1\]\.size refers to'):
        settings.resolve(dict(model=dict(heads=[0, dict(size='${gone}')])), 'stages.a')
    with pytest.raises(SettingsError, match='^backbone.depth refers to .*gone'):
        Settings(dict(backbone=dict(depth='${gone}'))).resolve('${backbone}', 'stages.a')


@pytest.mark.parametrize(
    'values',
    [
        dict(a='${a}'),
        dict(a='x${a}'),
        dict(a='${b}', b='${c}', c='${a + 1}'),
        dict(a=dict(inner='${a.inner}')),
    ],
)
def test_self_reference(values):
    with pytest.raises(SettingsError, match="the setting 'a' refers to itself"):
        Settings(values).resolve('${a}')


def test_unused_settings(settings):
    assert settings.unused() == sorted(VALUES)
    settings.resolve(dict(a='${train}', b='${backbone}'))
    assert settings.unused() == ['flag', 'nothing', 'rate', 'sizes']


def test_close_matches_only():
    assert did_you_mean('num_categorys', ['num_categories', 'seed']) == (
        "; did you mean 'num_categories'?"
    )
    assert did_you_mean('zzz', {'num_categories': 1}) == ''
