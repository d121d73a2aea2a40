import pytest

from luss_mm.inference import feature_source
from luss_mm.inference.feature_source import FeatureSource


def source(**settings):
    return FeatureSource('config.py', 'final.pth', dict(pipeline=['loading']), **settings)


def set_machine(monkeypatch, device, fast):
    monkeypatch.setattr(feature_source, 'get_device', lambda: device)
    monkeypatch.setattr(feature_source, 'cpu_has_fast_bfloat16', lambda: fast)
    monkeypatch.setattr(
        feature_source.torch.cuda, 'is_bf16_supported', lambda including_emulation: fast
    )


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize('fast, meaning', [(True, 'bfloat16'), (False, 'float32')])
def test_auto_is_what_the_machine_is_fast_in(monkeypatch, device, fast, meaning):
    set_machine(monkeypatch, device, fast)
    assert source().precision == source(precision='auto').precision == meaning
    for asked in ('float32', 'bfloat16'):
        assert source(precision=asked).precision == asked


def test_other_devices_stay_in_float32(monkeypatch):
    set_machine(monkeypatch, 'mps', True)
    assert source().precision == 'float32'


def test_results_of_two_precisions_have_two_keys(monkeypatch):
    set_machine(monkeypatch, 'cpu', True)
    fast, asked, exact = (source(precision=p) for p in ('auto', 'bfloat16', 'float32'))
    settings = [s.loading_settings(s.dataset) for s in (fast, asked, exact)]
    assert settings[0] == settings[1] != settings[2]


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="inference_precision: 'auto' or.*not 'half'"):
        source(precision='half')
