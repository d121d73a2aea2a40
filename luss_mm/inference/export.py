"""A trained segmentor as an ONNX, torch.export or TorchScript file, checked against PyTorch."""

import importlib.util
import io
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from luss_mm.work_dir.atomic_files import refuse_unwritable, temporary_path

CHECKED_SIZES = ((64, 64), (96, 128), (75, 101), (160, 97))
RELATIVE_TOLERANCE = 1e-4  # float32 sums in another order differ by less
ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
Network = Callable[[Tensor], Tensor]


class ExportError(RuntimeError):
    """A segmentor cannot be exported, or its export is wrong."""


@dataclass(frozen=True)
class ExportCheck:
    """How an exported file was checked.

    Attributes:
        largest_difference: For `logits`, absolute, to PyTorch's; for `labels`, how far the logit of
            the exported label is below PyTorch's largest at that pixel; 0 if all labels agree.
        tolerance: It may be this large.
        sizes: (H, W) of the images that were tried, in batches of 1 and 2.
        num_ids: Logits of a pixel.
    """

    largest_difference: float
    tolerance: float
    sizes: tuple[tuple[int, int], ...]
    num_ids: int


class LogitsNetwork(nn.Module):
    """Image to logits at the decode head's resolution.

    Args:
        segmentor: Segmentor of mmseg, in eval mode.
    """

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K + 1, h, w) of normalised RGB images (B, 3, H, W)."""
        return self.segmentor(image, mode='tensor')


class LabelsNetwork(LogitsNetwork):
    """Image to label map at the image's size. Holds K + 1 maps of that size for a moment."""

    def forward(self, image: Tensor) -> Tensor:
        """Ids (B, H, W), int64, of normalised RGB images (B, 3, H, W)."""
        return enlarge(super().forward(image), image, self.segmentor).argmax(dim=1)


NETWORKS = dict(logits=LogitsNetwork, labels=LabelsNetwork)


def enlarge(logits: Tensor, image: Tensor, segmentor: nn.Module) -> Tensor:
    """Logits at the size of the image, resized as the segmentor's own prediction does it."""
    return F.interpolate(
        logits, size=image.shape[2:], mode='bilinear', align_corners=segmentor.align_corners
    )


@torch.no_grad()
def export_segmentor(
    segmentor: nn.Module,
    path: str | Path,
    output: str = 'logits',
    sizes: Sequence[tuple[int, int]] = CHECKED_SIZES,
) -> ExportCheck:
    """Write a file that gives what the segmentor gives, or none.

    Args:
        segmentor: Segmentor of mmseg, in eval mode, on the CPU.
        path: Ends in .onnx, .pt2 (torch.export) or .ts (TorchScript).
        output: 'logits' or 'labels', see `NETWORKS`.
        sizes: (H, W) to check. With several, the file takes any size and batch; with one, images of
            that size in any batch.

    Raises:
        ExportError: If predictions are refined, a package is missing, the network cannot be
            exported, or the file's results differ by more than 1e-4 of the largest logit (of 1, if
            that is larger).
        ValueError: If suffix or output are unknown.
    """
    path, sizes = Path(path), tuple((int(h), int(w)) for h, w in sizes)
    if path.suffix not in WRITERS:
        raise ValueError(f'{path}: exports end in {", ".join(WRITERS)}, not {path.suffix!r}')
    if output not in NETWORKS or not sizes:
        raise ValueError(f'output is one of {", ".join(NETWORKS)}, and sizes are at least one')
    network = NETWORKS[output](segmentor).eval()
    if refined_by := getattr(segmentor, 'refined_by', None):
        raise ExportError(
            f'predictions refined by {refined_by} cannot be exported: take model.refine out of the '
            'config'
        )
    refuse_unwritable(path)
    partial = temporary_path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # tracing warns of every `if`; the check decides
            WRITERS[path.suffix](network, _images(2, *sizes[-1], seed=0), partial, len(sizes) > 1)
        check = _check(READERS[path.suffix](partial), segmentor, output, sizes)
        if not check.largest_difference <= check.tolerance:  # also if it is NaN
            raise ExportError(
                f'{path}: not kept, since it differs from PyTorch by '
                f'{check.largest_difference:.3g} (allowed: {check.tolerance:.3g}). A network that '
                'depends on the image size can be exported for one size only; if that fails too, '
                'try another format.'
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return check


def _check(
    exported: Network, segmentor: nn.Module, output: str, sizes: tuple[tuple[int, int], ...]
) -> ExportCheck:
    """Compare on noise of every size, alone and in a batch of two."""
    reference = LogitsNetwork(segmentor)
    differences, largest, num_ids = [], 1.0, 0
    for number, (height, width) in enumerate(sizes):
        for batch in (1, 2):
            images = _images(batch, height, width, seed=number + 1)
            logits = reference(images)  # (B, K + 1, h, w)
            largest, num_ids = max(largest, logits.abs().max().item()), logits.shape[1]
            try:
                result = exported(images)
            except Exception as error:  # each format has errors of its own
                raise ExportError(
                    f'the file fails at {height} x {width} pixels: {_first_line(error)}. '
                    'Name that size alone to export for one size.'
                ) from error
            if output == 'logits':
                wrong = (result - logits).abs() if result.shape == logits.shape else None
            else:
                wrong = _label_gap(result, enlarge(logits, images, segmentor))
            differences.append(torch.inf if wrong is None else wrong.max().item())
    difference = torch.tensor(differences).max().item()  # NaN stays NaN
    return ExportCheck(difference, RELATIVE_TOLERANCE * largest, sizes, num_ids)


def _label_gap(labels: Tensor, logits: Tensor) -> Tensor | None:
    """How much less than the largest logit the labelled one is, (B, H, W)."""
    if labels.shape != logits[:, 0].shape or labels.min() < 0 or labels.max() >= logits.shape[1]:
        return None
    return logits.amax(dim=1) - logits.gather(1, labels[:, None].long())[:, 0]


def _images(batch: int, height: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator)


def _write_onnx(network: nn.Module, image: Tensor, path: Path, any_size: bool) -> None:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f'.onnx needs: pip install {" ".join(missing)}')
    _exporting(
        lambda: torch.onnx.export(
            network,
            (image,),
            path,
            input_names=['image'],
            output_names=['output'],
            dynamic_shapes=(_dynamic(any_size),),
            dynamo=True,
            external_data=False,  # one file
            verbose=False,
        )
    )


def _write_torch_export(network: nn.Module, image: Tensor, path: Path, any_size: bool) -> None:
    program = _exporting(
        lambda: torch.export.export(network, (image,), dynamic_shapes=(_dynamic(any_size),))
    )
    content = io.BytesIO()
    _exporting(lambda: torch.export.save(program, content))  # not all that is exported can be saved
    path.write_bytes(content.getbuffer())


def _write_torchscript(network: nn.Module, image: Tensor, path: Path, any_size: bool) -> None:
    traced = _exporting(lambda: torch.jit.trace(network, image, check_trace=False))
    torch.jit.save(traced, path)


def _read_onnx(path: Path) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=['CPUExecutionProvider'])
    return lambda images: torch.from_numpy(session.run(None, {'image': images.numpy()})[0])


def _read_torch_export(path: Path) -> Network:
    # The guards are those of the example's size (max-pooling adds one on its remainder), the
    # graph itself is for all; whether it is right for others is checked.
    return torch.export.load(path).module(check_guards=False)


def _exporting(export: Callable[[], object]) -> object:
    try:
        return export()
    except Exception as error:  # the exporters have errors of many kinds
        raise ExportError(
            f'PyTorch cannot export this network: {_first_line(error)}. Another format or a single '
            'size may do.'
        ) from error


def _dynamic(any_size: bool) -> dict[int, object]:
    free = torch.export.Dim.DYNAMIC
    return {0: free, 2: free, 3: free} if any_size else {0: free}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[0] if lines else ""}'


WRITERS = {'.onnx': _write_onnx, '.pt2': _write_torch_export, '.ts': _write_torchscript}
READERS = {'.onnx': _read_onnx, '.pt2': _read_torch_export, '.ts': torch.jit.load}
