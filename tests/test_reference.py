"""docs/reference is what the records say today."""

import subprocess
import sys
from pathlib import Path


def test_reference_pages_are_up_to_date():
    script = Path(__file__).parents[1] / "docs" / "make_reference.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
