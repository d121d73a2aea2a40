"""Files from elsewhere execute nothing: every way in, with every kind of malicious checkpoint.

way in                                        tested in
load_from, resume, init_cfg (with prefix)     here, tests/checkpoints/test_loading.py
http, torchvision://, open-mmlab://           tests/checkpoints/test_loading.py
tools/convert_checkpoint.py                   here, tests/checkpoints/test_conversion.py
checkpoint of SAM                             here, tests/models/test_sam_network.py
tools/test.py                                 here
LUSSInferencer, tools/infer.py                here, tests/inference/test_trained_segmentor.py
tools/export_segmentor.py                     here
tools/report.py, merging of receptive fields  here
config beside or within a checkpoint          here, tests/inference/test_trained_segmentor.py
.npy: centroids, features, clusters, scores   here
zip and tar archives                          tests/imagenet_s/test_safe_archives.py
zips for the server (make_submission --check) tests/imagenet_s/test_submission.py
paths in lists                                tests/datasets/test_image_list.py,
                                              tests/imagenet_s/test_lists.py
names in report pages                         tests/visualization/test_report_page.py
code that would load in another way           here
"""

import ast
import importlib.util
import io
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from luss_mm.checkpoints.conversion import convert_centroids
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from luss_mm.datasets.luss_dataset import ClassLabelDataset
from luss_mm.engine.receptive_fields import MergeReceptiveFields
from luss_mm.evaluation.folders import read_foreground_score
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.models.segmenters import SAMSegmenter, SegmenterError
from luss_mm.pipeline.reference_features import load_references
from luss_mm.recipes.config_file import ConfigError, parse_literal_config
from luss_mm.work_dir.run_folder import load_clusters, load_features
from tests.checkpoints.test_loading import Payload
from tests.engine.small_run import make_run
from tests.engine.tiny_training import CountingMetric, Points, TinyModel, make_runner
from tests.models.small_sam import SIZES

REPOSITORY = Path(__file__).parent.parent


def save_zip(content, path):
    torch.save(content, path)


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def save_tar(content, path):
    """torch's format of 2016, each of whose parts is a pickle."""
    data = pickle.dumps(content, protocol=2)
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        for name in ('storages', 'tensors', 'pickle'):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))


FORMATS = dict(zip=save_zip, legacy=save_legacy, pickle=save_pickle, tar=save_tar)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'executed'


@pytest.fixture(params=FORMATS)
def malicious(request, tmp_path, marker):
    """A checkpoint that looks whole, and writes the marker when somebody unpickles it."""
    path = tmp_path / 'evil.pth'
    weights = dict(a=torch.ones(2), extra=Payload(marker))
    FORMATS[request.param](dict(state_dict=weights, meta=dict(cfg='a = 1')), path)
    return path


def tool(name):
    """main of a tool; `sys.path` is left alone."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_the_payloads_are_live(malicious, marker):
    try:
        torch.load(malicious, weights_only=False)
    except Exception:  # what follows the payload need not be whole
        pass
    assert marker.exists()


def infer_run(path, folder):
    """As the weights of a run that somebody passes on."""
    run = make_run(folder / 'run')
    path.replace(run / 'finetune' / 'final.pth')
    LUSSInferencer(str(run))


def infer_checkpoint(path, folder):
    tool('infer')([str(path), str(folder), '--out', str(folder / 'out')])


def export(path, folder):
    tool('export_segmentor')([str(path), '--out', str(folder / 'a.ts')])


def convert(path, folder):
    tool('convert_checkpoint')(['dino', str(path), str(folder / 'target.pth')])


def init_with_prefix(path, folder):
    TinyModel(init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='a')).init_weights()


def resume(path, folder):
    path.replace(folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    make_runner(folder, resume=True).train()


def score(path, folder, monkeypatch):
    """tools/test.py with a config of a model that needs no data."""
    testing = importlib.util.spec_from_file_location('test_tool', REPOSITORY / 'tools/test.py')
    module = importlib.util.module_from_spec(testing)
    testing.loader.exec_module(module)

    def from_cfg(config):
        loader = dict(
            dataset=Points(), batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False)
        )
        settings = dict(test_dataloader=loader, test_cfg={}, test_evaluator=[CountingMetric()])
        return make_runner(folder, load_from=config.load_from, **settings)

    monkeypatch.setattr(Runner, 'from_cfg', staticmethod(from_cfg))
    config = folder / 'config.py'
    part = "dict(type='A')"
    config.write_text(f'model = {part}\ntest_dataloader = {part}\ntest_evaluator = {part}\n')
    monkeypatch.setattr(sys, 'argv', ['test.py', str(config), str(path)])
    module.main()


WAYS = dict(
    load=lambda path, folder: load_checkpoint(path),
    load_from=lambda path, folder: make_runner(folder, load_from=str(path)).train(),
    resume=resume,
    resume_from=lambda path, folder: make_runner(folder, load_from=str(path), resume=True).train(),
    init_with_prefix=init_with_prefix,
    convert=convert,
    sam=lambda path, folder: SAMSegmenter(path, model_type=SIZES).check(),
    sam_weights=lambda path, folder: SAMSegmenter(path, model_type=SIZES).sam,
    infer_run=infer_run,
    infer_checkpoint=infer_checkpoint,
    export=export,
    merge=lambda path, folder: MergeReceptiveFields(str(path))(folder),
)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('way', WAYS)
def test_every_way_in_refuses(malicious, marker, tmp_path, way):
    with pytest.raises((CheckpointError, SegmenterError, SystemExit)) as stop:
        WAYS[way](malicious, tmp_path)
    assert not marker.exists()
    assert '.pth: refused' in str(stop.value) or '.pth: damaged' in str(stop.value)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_scoring_refuses(malicious, marker, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r'evil\.pth: (refused|damaged)'):
        score(malicious, tmp_path, monkeypatch)
    assert not marker.exists()


@pytest.mark.filterwarnings('ignore:.*TorchScript')
@pytest.mark.parametrize('way', [w for w in WAYS if not w.startswith('resume')])
def test_programs_of_torchscript_are_no_checkpoints(tmp_path, way):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / 'program.pth')
    with pytest.raises((CheckpointError, SegmenterError, SystemExit)):
        WAYS[way](tmp_path / 'program.pth', tmp_path)


ARRAYS = {
    'foreground score': read_foreground_score,
    'centroids': lambda path: convert_centroids(path, path.with_name('ours.npy')),
    'features': lambda path: load_features(path.parent),
    'clusters': lambda path: load_clusters(path.parent),
    'references': lambda path: load_references(path.parent),
    'class labels': lambda path: ClassLabelDataset(str(path), data_root=str(path.parent))[0],
}
ARRAY_NAMES = ('embeddings', 'centroids', 'directions', 'evil')


@pytest.mark.parametrize('kind', ['object array', 'pickle'])
@pytest.mark.parametrize('reader', ARRAYS)
def test_arrays_execute_nothing(tmp_path, marker, reader, kind):
    (tmp_path / 'train' / 'a').mkdir(parents=True)
    (tmp_path / 'train' / 'a' / '0.jpg').touch()
    for name in ARRAY_NAMES:
        path = tmp_path / f'{name}.npy'
        if kind == 'pickle':
            path.write_bytes(pickle.dumps(Payload(marker)))
        else:
            np.save(path, np.array([[Payload(marker)]], dtype=object), allow_pickle=True)
    with pytest.raises((ValueError, CheckpointError), match='(?i)object|pickle'):
        ARRAYS[reader](path)
    assert not marker.exists()


@pytest.mark.parametrize(
    'line',
    [
        "test_pipeline = [dict(type='LoadBiomedicalData', decode_backend='pickle')]",
        "test_pipeline = [dict(type='mmseg.LoadBiomedicalImageFromFile', decode_backend='pickle')]",
        "model = dict(type='mmpretrain.RAMNormal')",
        "model = dict(type='mmpretrain.ImageToImageRetriever', prototype='x.pth')",
        "model = dict(type='mmpretrain.HuggingFaceClassifier', model_name='x')",
        "model = dict(backbone=dict(type='VPD', diffusion_cfg=dict(base_cfg='x.yaml')))",
    ],
)
def test_registered_types_that_load_more_are_refused(line):
    with pytest.raises(ConfigError, match='loads more by itself.*--config'):
        parse_literal_config(line, 'config.py')


@pytest.mark.parametrize(
    'text',
    ['a = {[]}', 'filename = 1', 'custom_imports = 1', 'a = ' + '1+' * 900 + '1', 'a = -' * 9],
)
def test_configs_of_nonsense_are_named(text):
    with pytest.raises(ConfigError, match='config.py'):
        parse_literal_config(text, 'config.py')


def test_dumped_configs_still_read():
    text = Config.fromfile(REPOSITORY / 'configs/_base_/models/resnet18.py').pretty_text
    assert parse_literal_config(text, 'config.py')


# Where the package itself is careful; each has a test above.
LOADERS = {'luss_mm/checkpoints/loading.py', 'luss_mm/models/segmenters/sam_segmenter.py'}
FORBIDDEN = {
    *('eval', 'exec', 'os.system', 'os.popen', 'pickle.load', 'pickle.loads', 'torch.load'),
    *('torch.jit.load', 'mmengine.load', 'yaml.load', 'joblib.load', 'torch.hub.load'),
    *('subprocess.run', 'subprocess.Popen', 'subprocess.check_output', 'shutil.unpack_archive'),
}


def test_the_package_loads_in_no_other_way():
    found = []
    for path in [*(REPOSITORY / 'luss_mm').rglob('*.py'), *(REPOSITORY / 'tools').glob('*.py')]:
        name = path.relative_to(REPOSITORY).as_posix()
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            function = ast.unparse(call.func)
            pickles = any(
                k.arg == 'allow_pickle' and ast.unparse(k.value) != 'False' for k in call.keywords
            )
            safe = name in LOADERS and any(
                k.arg == 'weights_only' and ast.unparse(k.value) == 'True' for k in call.keywords
            )
            if pickles or (function in FORBIDDEN and not safe) or function.endswith('extractall'):
                found.append(f'{name}:{call.lineno}: {function}')
    assert not found
