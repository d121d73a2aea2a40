"""Weights from elsewhere that a training starts from are looked for before anything runs."""

from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from luss_mm.packaged_weights import checkpoint_file


@HOOKS.register_module()
class PretrainedWeightsHook(Hook):
    """Refuses a training whose files from elsewhere are missing.

    Args:
        files: {setting that names it: path, or `package:name`}. Addresses (https://...) are not
            looked up.
    """

    def __init__(self, files: dict[str, str | None]) -> None:
        self.files = dict(files)

    def check(self) -> None:
        """Look for the files; `engine.data_check` calls this.

        Raises:
            FileNotFoundError: Naming the setting and the fix.
            ValueError: If a setting names no file at all.
        """
        for setting, path in self.files.items():
            if not isinstance(path, str):
                raise ValueError(
                    f'{setting}={path!r}: this training starts from weights. Name their file, or '
                    'leave out init_cfg of the backbone in a config of your own'
                )
            if '://' not in path and not checkpoint_file(path).is_file():
                raise FileNotFoundError(
                    f'{path}: no such file. Set {setting} to a file that '
                    'tools/convert_checkpoint.py or an earlier training has written'
                )
