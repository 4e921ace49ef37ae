"""The socket that the kernels plug into: ``kernels/`` of the checkout, or the files installed here.

In a checkout the kernels lie in the top-level folder ``kernels/``, where a reader looks for them; it is no importable
package of its own, because another package of that name exists. This module appends that folder to its own search
path. In an installed tree the operation folders lie beside this file, and the guard (is this project's ``setup.py``
two levels up?) keeps an unrelated ``kernels`` package from being picked up.
"""

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
_setup = _root / "setup.py"
if _setup.is_file() and "minivgg" in _setup.read_text(encoding="utf-8"):
    __path__.append(str(_root / "kernels"))
