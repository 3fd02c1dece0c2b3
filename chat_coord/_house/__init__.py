"""The product's packages under names that nobody else has: ``_house.client`` and ``_house.protocol``.

They lie beside this package under names so common that a program may have its own of the same (ADR 11). A second copy
of them is imported here, in which ``import client`` and ``import protocol`` mean these, and neither side sees what is
the other's.
"""

import builtins
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = frozenset({"client", "protocol"})


def _import(
    name: str,
    globals_: Mapping[str, object] | None = None,
    locals_: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """What ``import`` does in the copy: the two packages' names are those here, all others are everybody's."""
    first = name.partition(".")[0]
    if level or first not in PACKAGES:
        return builtins.__import__(name, globals_, locals_, fromlist or (), level)
    importlib.import_module(f"{__name__}.{name}")
    here = f"{__name__}.{name if fromlist else first}"
    return builtins.__import__(here, globals_, locals_, fromlist or ("*",), 0)


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        # The interpreter looks ``import`` up in a module's __builtins__; one that is there already is kept.
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, name = fullname.rpartition(".")
        if parent != __name__ and not parent.startswith(f"{__name__}."):
            return None
        if parent == __name__ and name not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, [str(ROOT)] if parent == __name__ else path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
