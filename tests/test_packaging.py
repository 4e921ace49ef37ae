"""The package as a stranger installs it: a wheel in an empty environment, with another package named `kernels` beside it."""

import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "minivgg"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():  # a copy, so that the build leaves nothing in the checkout
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source], check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return path


def run(program, path, folder):
    """A fresh interpreter that finds packages in ``path`` first and knows nothing else of this environment's variables."""
    environment = {"PYTHONPATH": str(path), "PATH": "", "HOME": str(folder)}
    return subprocess.run([sys.executable, "-c", program, str(path)], env=environment, cwd=folder, capture_output=True, text=True)


def test_wheel_holds_the_kernels_and_no_top_level_kernels_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"minivgg"}
    expected = {f"minivgg/{path.relative_to(ROOT)}" for pattern in ("*.py", "*.cu", "*.cuh") for path in ROOT.glob(f"kernels/*/{pattern}")}
    assert expected <= set(names)
    assert "minivgg/py.typed" in names
    assert any(name.startswith("minivgg/data/") and name.endswith(".npz") for name in names)


def test_wheel_works_in_an_environment_with_another_package_named_kernels(wheel, tmp_path):
    """Installed by pip into an empty folder, beside a foreign `kernels`; only the dependencies come from this environment."""
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel], check=True, capture_output=True)
    foreign = site / "kernels" / "conv2d"
    foreign.mkdir(parents=True)
    (site / "kernels" / "__init__.py").write_text("raise ImportError('the foreign package was imported')\n")
    (site / "setup.py").write_text("# somebody else's\n")
    (foreign / "__init__.py").write_text("raise ImportError('the foreign kernel was imported')\n")
    program = textwrap.dedent(
        """
        import sys
        import minivgg
        assert minivgg.__file__.startswith(sys.argv[1]), minivgg.__file__
        x = minivgg.ones(1, 1, 4, 4, requires_grad=True)
        out = minivgg.nn.functional.conv2d(x, minivgg.ones(1, 1, 3, 3), padding=1)
        out.sum().backward()
        assert x.grad.numpy()[0, 0].tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]
        from minivgg.registry import algorithms
        files = {sys.modules[a.run.__module__].__file__ for a in algorithms("conv2d").values()}
        assert len(files) >= 5 and all(f.startswith(sys.argv[1]) for f in files), files
        print("it works")
        """
    )
    result = run(program, site, tmp_path)
    assert result.stdout == "it works\n", result.stderr


def test_uninstalled_checkout_finds_its_kernels(tmp_path):
    program = "import minivgg, minivgg.registry as r; print(sorted(r.algorithms('conv2d')))"
    result = run(program, ROOT, tmp_path)
    assert "im2col" in result.stdout, result.stderr
