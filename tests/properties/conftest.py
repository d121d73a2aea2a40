"""The same examples in every run; HYPOTHESIS_PROFILE=thorough draws many new ones."""

import os
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), 'luss_mm_hypothesis'))
COMMON = dict(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile('quick', max_examples=25, derandomize=True, **COMMON)
settings.register_profile('thorough', max_examples=2000, **COMMON)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'quick'))
