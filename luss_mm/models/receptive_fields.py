"""Dilated convolutions whose dilations are searched for, trained side by side, and merged."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmcv.cnn import RFSearchHook
from mmcv.cnn.rfsearch import Conv2dRFSearchOp
from mmcv.cnn.rfsearch.utils import expand_rates, get_single_padding
from mmseg.registry import MODELS
from torch import Tensor, nn

from luss_mm.models.luss_segmentor import LUSSSegmentor

Dilation = tuple[int, int]
MODES = dict(  # ours to mmcv's
    search='search', single='fixed_single_branch', multiple='fixed_multi_branch', merge=None
)


def branch_dilations(dilation: Dilation, num_branches: int, expansion: float) -> list[Dilation]:
    """Dilations of the branches around a dilation, smallest first, each once, all >= 1."""
    rates = dict(exp_rate=expansion, num_branches=num_branches, mmin=1, mmax=None)
    return [tuple(pair) for pair in expand_rates(tuple(dilation), rates)]


def branch_shares(branch_weights: Tensor, num_dilations: int) -> Tensor:
    """What each of the first branches counts; they sum to 1. Shape (num_dilations,)."""
    sizes = branch_weights[:num_dilations].abs()
    return sizes / sizes.sum()


def merge_dilated_kernels(
    weight: Tensor, dilations: Sequence[tuple[int, int]], shares: Tensor
) -> Tensor:
    """Kernel W' with W' * x = sum_i shares_i (W *_{dilations_i} x), all of them centred.

    Args:
        weight: W, float. Shape (O, I, h, w), h and w odd.
        dilations: Rows and columns of each branch, >= 1. Length R.
        shares: What each branch counts. Shape (R,).

    Returns:
        W' of the same dtype. Shape (O, I, (h - 1) max_rows + 1, (w - 1) max_columns + 1).

    Source: Gao et al. 2022 (RF-Next), merged branches.
    """
    kernel = weight.shape[2:]
    sides = [
        (s - 1) * max(d) + 1 for s, d in zip(kernel, zip(*dilations, strict=True), strict=True)
    ]
    merged = weight.new_zeros(*weight.shape[:2], *sides)
    for dilation, share in zip(dilations, shares, strict=True):
        rows, columns = (_spread(k, s, d) for k, s, d in zip(kernel, sides, dilation, strict=True))
        merged[:, :, rows, columns] += share * weight
    return merged


def _spread(side: int, merged_side: int, dilation: int) -> slice:
    """Where the taps of a dilated kernel lie along an axis of the merged one."""
    first = (merged_side - 1 - (side - 1) * dilation) // 2
    return slice(first, merged_side - first, dilation)


@MODELS.register_module()
class ReceptiveFieldSegmentor(LUSSSegmentor):
    """`LUSSSegmentor` in whose backbone every convolution with an odd kernel gets a dilation.

    Modes, one training each:
        search: branches of several dilations share a kernel; `search_step` moves them.
        single: one dilation for each convolution, found before.
        multiple: the branches around the dilations found before.
        merge: the branches of `multiple` as one larger kernel. Only changed convolutions (dilation
            over 1), final norms and the head are trained.

    The backbone's weights keep the names that they have without branches, so any checkpoint of the
    backbone fits. Dilations and branch weights are saved beside them, as
    `receptive_field.<mode>.<convolution>.dilation` and `.branch_weights`. They belong to a mode:
    another mode that starts from such a checkpoint takes the backbone alone.

    Args:
        *args: As `LUSSSegmentor`.
        mode: See above.
        structure: {name of a convolution in the backbone: (row, column) dilation} of all of them,
            or the path of a JSON file with it; needed except by 'search'.
        num_branches: 2 or 3.
        expansion: Branches lie at (1 - expansion), 1 (with 3 branches) and (1 + expansion) times
            the dilation.
        initial_weight: Initial weight of every branch.
        **kwargs: As `LUSSSegmentor`.

    Raises:
        ValueError: If there is no such mode, or the structure is missing or of another network.
        FileNotFoundError: If the structure's file is missing.

    Source: Gao et al. 2022 (RF-Next) on mmcv's RFSearchHook, which it builds the model with.
    """

    def __init__(
        self,
        *args: object,
        mode: str,
        structure: Mapping[str, Dilation] | str | Path | None = None,
        num_branches: int = 3,
        expansion: float = 0.5,
        initial_weight: float = 0.01,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)
        if mode not in MODES:
            raise ValueError(f'mode is one of {", ".join(MODES)}, not {mode!r}')
        self.mode = mode
        names = [name for name, conv in self.backbone.named_modules() if _is_searchable(conv)]
        self.structure = _structure_of(names, structure, mode)
        self.searcher = RFSearchHook(
            mode=MODES[mode] or 'search',
            config=dict(
                search=dict(
                    num_branches=num_branches,
                    exp_rate=expansion,
                    init_alphas=initial_weight,
                    mmin=1,
                    mmax=None,
                    skip_layer=[],
                )
            ),
            verbose=False,
        )
        if mode == 'merge':
            self._enlarge_kernels(num_branches, expansion)
            self._freeze_unchanged()
        else:
            # mmcv names a convolution as a module wrapped by DDP would.
            self.searcher.config['structure'] = {
                f'module.{name}': list(pair) for name, pair in self.structure.items()
            }
            self.searcher.init_model(self.backbone)
        self._names = names
        self._register_state_dict_hook(_rename_saved)
        self.register_load_state_dict_pre_hook(_rename_loaded)

    def search_step(self) -> None:
        """Move every convolution to the mean of its branches and branch around it again."""
        self.searcher.estimate_and_expand(self.backbone)

    def dilations(self) -> dict[str, Dilation]:
        """Dilation of every convolution that branches are around."""
        if self.mode == 'merge':
            return dict(self.structure)
        return {name: tuple(self._convolution(name).dilation) for name in self._names}

    def estimated_dilations(self) -> dict[str, Dilation]:
        """Mean dilation of the branches of every convolution, as they are weighted now."""
        found = {}
        for name in self._names:
            branches = copy.deepcopy(self.backbone.get_submodule(name))
            branches.estimate_rates()
            found[name] = tuple(branches.op_layer.dilation)
        return found

    def searched_parameters(self) -> frozenset[str]:
        """Names of the parameters that train at rates of their own.

        Branch weights of all convolutions, and the kernels of those whose given dilation is over 1.
        """
        changed = {name for name, dilation in self.structure.items() if max(dilation) > 1}
        kernels = tuple(f'backbone.{name}.' for name in changed)
        return frozenset(
            name
            for name, _ in self.named_parameters()
            if name.endswith('.branch_weights') or name.startswith(kernels)
        )

    def _convolution(self, name: str) -> nn.Conv2d:
        module = self.backbone.get_submodule(name)
        return module.op_layer if isinstance(module, Conv2dRFSearchOp) else module

    def _set_dilation(self, name: str, dilation: Dilation) -> None:
        conv = self._convolution(name)
        conv.dilation = dilation
        conv.padding = tuple(map(get_single_padding, conv.kernel_size, conv.stride, dilation))
        module = self.backbone.get_submodule(name)
        if isinstance(module, Conv2dRFSearchOp):
            search = self.searcher.config['search']
            module.dilation_rates = branch_dilations(
                dilation, search['num_branches'], search['exp_rate']
            )

    def _enlarge_kernels(self, num_branches: int, expansion: float) -> None:
        for name, dilation in self.structure.items():
            conv = self.backbone.get_submodule(name)
            reach = branch_dilations(dilation, num_branches, expansion)[-1]
            kernel = tuple((k - 1) * r + 1 for k, r in zip(conv.kernel_size, reach, strict=True))
            merged = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                kernel,
                stride=conv.stride,
                padding=tuple(map(get_single_padding, kernel, conv.stride)),
                groups=conv.groups,
                bias=conv.bias is not None,
            )
            parent, _, child = name.rpartition('.')
            setattr(self.backbone.get_submodule(parent), child, merged)

    def _freeze_unchanged(self) -> None:
        changed = self.searched_parameters()
        for name, parameter in self.named_parameters():
            is_final_norm = name.startswith(('backbone.norm', 'backbone.ln'))
            if name.startswith('backbone.') and name not in changed and not is_final_norm:
                parameter.requires_grad_(False)


def _is_searchable(module: nn.Module) -> bool:
    """Whether mmcv would search this layer."""
    return isinstance(module, nn.Conv2d) and any(k > 1 and k % 2 for k in module.kernel_size)


def _structure_of(
    names: list[str], structure: Mapping[str, Dilation] | str | Path | None, mode: str
) -> dict[str, Dilation]:
    if structure is None:
        if mode != 'search':
            raise ValueError(f'mode {mode!r} needs the structure that a search has found')
        return {}
    if isinstance(structure, (str, Path)):
        if not Path(structure).is_file():
            raise FileNotFoundError(f'{structure}: no such structure. Run the search first.')
        structure = json.loads(Path(structure).read_text())
    if set(structure) != set(names):
        odd = sorted(set(structure) ^ set(names))
        raise ValueError(
            f'the structure has {len(structure)} convolutions, the backbone {len(names)}; only one '
            f'of them has {odd[0]}: take the structure that was found for this backbone'
        )
    return {name: tuple(structure[name]) for name in names}


def _rename_saved(
    model: ReceptiveFieldSegmentor, state: dict, prefix: str, local_metadata: dict
) -> None:
    """The backbone's names as without branches; what is searched for under names of its own."""
    for name in () if model.mode == 'merge' else model._names:
        place, own = f'{prefix}backbone.{name}', f'{prefix}receptive_field.{model.mode}.{name}'
        state[f'{own}.dilation'] = torch.tensor(model._convolution(name).dilation)
        if model.mode == 'single':
            continue
        for part in _parts(model, name):
            state[f'{place}.{part}'] = state.pop(f'{place}.op_layer.{part}')
        state[f'{own}.branch_weights'] = state.pop(f'{place}.branch_weights')


def _rename_loaded(
    model: ReceptiveFieldSegmentor, state: dict, prefix: str, *ignored: object
) -> None:
    """Undo `_rename_saved`; weights without branches leave branches and dilations as they are."""
    for name in () if model.mode == 'merge' else model._names:
        place, own = f'{prefix}backbone.{name}', f'{prefix}receptive_field.{model.mode}.{name}'
        dilation = state.pop(f'{own}.dilation', None)
        if dilation is not None:
            _adopt(model, name, tuple(dilation.tolist()))
        if model.mode == 'single':
            continue
        for part in _parts(model, name):
            if f'{place}.{part}' in state:
                state[f'{place}.op_layer.{part}'] = state.pop(f'{place}.{part}')
        own_weights = model.backbone.get_submodule(name).branch_weights.detach()
        state[f'{place}.branch_weights'] = state.pop(f'{own}.branch_weights', own_weights)


def _adopt(model: ReceptiveFieldSegmentor, name: str, dilation: Dilation) -> None:
    """A search goes on where it was; elsewhere the structure is given and must be the same."""
    if model.mode != 'search' and dilation != model.structure[name]:
        raise ValueError(
            f'{name} has dilation {dilation} in the checkpoint and {model.structure[name]} in the '
            'structure: take the structure that the checkpoint was trained with'
        )
    model._set_dilation(name, dilation)


def _parts(model: ReceptiveFieldSegmentor, name: str) -> list[str]:
    return [part for part, _ in model._convolution(name).named_parameters()]
